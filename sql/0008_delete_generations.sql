-- Whoever deletes old records deletes them one table at a time; a job outlives its analytics row.
alter table public.generation_jobs
    drop constraint generation_jobs_generation_id_fkey,
    add constraint generation_jobs_generation_id_fkey
        foreign key (generation_id) references public.generations (id) on delete set null;
create index generation_jobs_generation_id on public.generation_jobs (generation_id) where generation_id is not null;
