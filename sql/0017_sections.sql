-- Decks of texts that are longer than a call may be: their sections are asked one after another.
alter table public.generation_jobs
    drop constraint generation_jobs_source_text_length_check,
    add constraint generation_jobs_source_text_length_check check (source_text_length between 1 and 1000000),
    add column sections jsonb check (jsonb_typeof(sections) = 'array');
comment on column public.generation_jobs.sections is
    'of a long text, in its order: title, start and end in characters, cards so far, outcome once it is asked no more';
alter table public.generations
    drop constraint generations_source_text_length_check,
    add constraint generations_source_text_length_check
        check (source_text_length between case when is_topic then 1 else 1000 end and 1000000);
alter table public.generation_error_logs
    drop constraint generation_error_logs_source_text_length_check,
    add constraint generation_error_logs_source_text_length_check
        check (source_text_length between case when is_topic then 1 else 1000 end and 1000000);

-- A title is a part of the text: it goes with its suggestion.
alter table public.ai_suggestions
    add column section integer check (section >= 1),
    add column section_title text;
comment on column public.ai_suggestions.section is 'of the text''s sections, from 1; null if the text was not split';

create or replace view recto.jobs with (security_invoker = true) as
    select job.id, job.user_id, job.kind, job.status, job.deck_id, job.session_id,
        (job.payload ->> 'count')::integer as count, job.payload ->> 'prompt_version' as prompt_version, job.has_text,
        job.source_text_hash, job.source_text_length, job.attempts, job.attempts_left, job.retries, job.in_background,
        spent.model, spent.tokens_input, spent.tokens_output, spent.cost_usd,
        job.error, job.lease_until, job.created_at, job.started_at, job.finished_at, job.erased_at,
        (select count(*) from public.ai_suggestions suggestion where suggestion.job_id = job.id) as suggestions_count,
        job.dropped, job.incomplete, job.language, job.sections
    from public.generation_jobs job
    cross join lateral (
        select sum(tokens_input) as tokens_input, sum(tokens_output) as tokens_output, sum(cost_usd) as cost_usd,
            (array_agg(model order by number desc, call desc) filter (where outcome = 'succeeded'))[1] as model
        from public.generation_attempts attempt where attempt.job_id = job.id
    ) spent
    where job.kind not in ('synchronous', 'image');

create or replace function recto.erase_jobs(job_ids uuid[]) returns void language plpgsql as $$
begin
    update public.generation_jobs job
        set payload = recto.without_texts(job.payload), idempotency_key = null, erased_at = coalesce(job.erased_at, now()),
            sections = (
                select jsonb_agg(section || '{"title": null}' order by number)
                from jsonb_array_elements(job.sections) with ordinality as told (section, number)
            )
        where job.id = any(job_ids);
    delete from public.ai_suggestions suggestion where suggestion.job_id = any(job_ids);
    delete from recto.idempotency_keys held where held.job_id = any(job_ids);
end
$$;
