-- Pictures: a job of the kind 'image' asks Replicate for one. While the provider works nobody holds a lease: the job is
-- pending, and due (run_at) when a webhook has come or when it is time to look.

alter table public.generation_jobs
    drop constraint generation_jobs_kind_check,
    add constraint generation_jobs_kind_check check (kind in ('synchronous', 'review', 'session', 'deck', 'image')),
    alter column source_text_hash drop not null,
    alter column source_text_length drop not null,
    add constraint generation_jobs_has_a_source
        check (kind = 'image' or (source_text_hash is not null and source_text_length is not null)),
    add column prediction_id text,
    add column prediction jsonb,
    add column heard_at timestamptz,
    add column looked_up_at timestamptz;
comment on column public.generation_jobs.prediction_id is 'Replicate''s name for the picture that it makes';
comment on column public.generation_jobs.prediction is 'what Replicate said of it last: status, outputs, error';
comment on column public.generation_jobs.heard_at is 'when it said so';
comment on column public.generation_jobs.looked_up_at is 'when it was asked by somebody who did not wait for the webhook';
create unique index generation_jobs_prediction_id on public.generation_jobs (prediction_id);
create unique index generation_jobs_one_image_in_flight on public.generation_jobs (user_id)
    where kind = 'image' and status in ('pending', 'running');

create table public.renders (
    id uuid primary key,
    job_id uuid not null unique references public.generation_jobs (id) on delete cascade,
    user_id uuid not null,
    created_at timestamptz not null default now()
);
comment on table public.renders is 'the pictures that an image job brought; their files are in the storage';
create index renders_user_id on public.renders (user_id);

create table public.render_variants (
    render_id uuid not null references public.renders (id) on delete cascade,
    index integer not null check (index >= 0),
    user_id uuid not null,
    width integer not null check (width > 0),
    height integer not null check (height > 0),
    primary key (render_id, index)
);
create index render_variants_user_id on public.render_variants (user_id);

-- What a file belonged to is gone in the transaction; the file itself follows, by the worker.
create table recto.files_to_delete (
    key text primary key,
    created_at timestamptz not null default now()
);
grant select, delete on recto.files_to_delete to recto_worker;

create function recto.variant_deleted() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    insert into recto.files_to_delete (key)
    values (format('public/renders/%s/%s.jpg', old.render_id, old.index)),
        (format('public/renders/%s/%s-thumbnail.jpg', old.render_id, old.index))
    on conflict do nothing;
    return null;
end
$$;
create trigger variant_deleted after delete on public.render_variants
    for each row execute function recto.variant_deleted();

-- The inputs of a job serve only until it has ended.
create function recto.inputs_not_needed() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    if tg_op = 'DELETE' or new.status in ('succeeded', 'failed', 'canceled') then
        insert into recto.files_to_delete (key)
        select jsonb_array_elements_text(old.payload -> 'inputs') on conflict do nothing;
    end if;
    return null;
end
$$;
create trigger inputs_not_needed after update of status or delete on public.generation_jobs
    for each row when (old.payload ? 'inputs') execute function recto.inputs_not_needed();

do $$
declare
    table_name text;
    grantee text;
begin
    foreach table_name in array array['renders', 'render_variants'] loop
        foreach grantee in array array['anon', 'authenticated', 'service_role', 'recto_service', 'recto_worker'] loop
            if exists (select from pg_roles where rolname = grantee) then
                execute format('revoke all on public.%I from %I', table_name, grantee);
            end if;
        end loop;
        execute format('revoke all on public.%I from public', table_name);
        execute format('alter table public.%I enable row level security', table_name);
        execute format('grant select on public.%I to authenticated, recto_service, recto_worker', table_name);
        execute format(
            'create policy own_rows on public.%I for select to authenticated using ((select auth.uid()) = user_id)', table_name
        );
        execute format(
            'create policy service on public.%I to recto_service using (user_id = (select recto.acting_user()))', table_name
        );
        execute format('create policy worker on public.%I to recto_worker using (true)', table_name);
    end loop;
end
$$;
grant insert on public.renders, public.render_variants to recto_service;

-- The table that Supabase apps have of their users. Where there is one, it is left as it is.
do $$
declare
    grantee text;
begin
    if to_regclass('public.profiles') is null then
        create table public.profiles (id uuid primary key, price_id text);
        comment on table public.profiles is 'price_id: which of the plans in PLANS_FILE the user pays for';
        alter table public.profiles enable row level security;
        create policy own_rows on public.profiles for select to authenticated using ((select auth.uid()) = id);
        revoke all on public.profiles from public, authenticated;
        foreach grantee in array array['anon', 'service_role'] loop
            if exists (select from pg_roles where rolname = grantee) then
                execute format('revoke all on public.profiles from %I', grantee);
            end if;
        end loop;
        grant select on public.profiles to authenticated;
    end if;
end
$$;

-- What the user pays for whom the service acts; null if the app's table has no such column, or may not be read.
create function recto.acting_users_price() returns text
    language plpgsql stable security definer set search_path = '' as $$
declare
    price text;
begin
    execute 'select price_id::text from public.profiles where id = $1' into price using recto.acting_user();
    return price;
exception
    when undefined_table or undefined_column or insufficient_privilege then return null;
end
$$;

-- Jobs of pictures have a view of their own.
create or replace view recto.jobs with (security_invoker = true) as
    select job.id, job.user_id, job.kind, job.status, job.deck_id, job.session_id,
        (job.payload ->> 'count')::integer as count, job.payload ->> 'prompt_version' as prompt_version, job.has_text,
        job.source_text_hash, job.source_text_length, job.attempts, job.attempts_left, job.retries, job.in_background,
        spent.model, spent.tokens_input, spent.tokens_output, spent.cost_usd,
        job.error, job.lease_until, job.created_at, job.started_at, job.finished_at, job.erased_at,
        (select count(*) from public.ai_suggestions suggestion where suggestion.job_id = job.id) as suggestions_count
    from public.generation_jobs job
    cross join lateral (
        select sum(tokens_input) as tokens_input, sum(tokens_output) as tokens_output, sum(cost_usd) as cost_usd,
            (array_agg(model order by number desc, call desc) filter (where outcome = 'succeeded'))[1] as model
        from public.generation_attempts attempt where attempt.job_id = job.id
    ) spent
    where job.kind not in ('synchronous', 'image');

create view recto.images with (security_invoker = true) as
    select job.id, job.user_id, job.status, job.payload ->> 'mode' as mode, job.payload -> 'settings' as settings,
        job.prediction_id, job.prediction ->> 'status' as prediction_status, job.error, job.created_at, job.finished_at,
        job.heard_at, job.looked_up_at, render.id as render_id,
        coalesce(
            (select jsonb_agg(variant.index order by variant.index) from public.render_variants variant
                where variant.render_id = render.id),
            '[]'
        ) as variants
    from public.generation_jobs job left join public.renders render on render.job_id = job.id
    where job.kind = 'image';
comment on view recto.images is 'what users see of their image jobs: without prompts and inputs';
grant select on recto.images to authenticated, recto_service;

-- What a user wrote of a picture is erased like any other text; its settings stay.
create or replace function recto.without_texts(payload jsonb) returns jsonb language sql immutable
    return payload - '{source_text,topic,banlist,prompt,inputs}'::text[];

-- A picture that the provider makes does not wait for a worker.
create or replace function recto.jobs_in_flight(out pending bigint, out running bigint, out oldest_pending_s float8)
    language sql security definer set search_path = '' stable as $$
    select count(*) filter (where status = 'pending'), count(*) filter (where status = 'running'),
        coalesce(extract(epoch from now() - min(created_at) filter (where status = 'pending')), 0)::float8
    from public.generation_jobs
    where status in ('pending', 'running') and (kind <> 'image' or status = 'running' or run_at <= now())
$$;

-- Failures of pictures are counted beside those of texts; they have no source text.
alter table public.generation_error_logs
    alter column source_text_hash drop not null,
    alter column source_text_length drop not null,
    add column is_image boolean not null default false,
    add constraint generation_error_logs_has_a_source
        check (is_image or (source_text_hash is not null and source_text_length is not null));

-- A finished job is removed with its render; its debit stays.
create function recto.delete_image(deleted uuid) returns boolean language sql security definer set search_path = '' as $$
    delete from public.generation_jobs
        where id = deleted and user_id = recto.acting_user() and kind = 'image'
            and status in ('succeeded', 'failed', 'canceled')
        returning true
$$;

-- A webhook tells what became of a prediction, before or after the service knows its id. It changes nothing of a job that
-- has ended, and what comes late (a `processing` after the end) changes nothing either.
create function recto.hear_of_prediction(job uuid, prediction text, told jsonb) returns boolean
    language sql security definer set search_path = '' as $$
    update public.generation_jobs set prediction_id = $2, prediction = $3, heard_at = now(),
        run_at = case when status = 'pending' and $3 ->> 'status' in ('succeeded', 'failed', 'canceled')
            then now() else run_at end,
        status = status
    where id = $1 and kind = 'image' and status in ('pending', 'running')
        and coalesce(prediction_id, $2) = $2
        and coalesce(generation_jobs.prediction ->> 'status', '') not in ('succeeded', 'failed', 'canceled')
    returning true
$$;

revoke execute on function recto.acting_users_price, recto.delete_image, recto.hear_of_prediction, recto.variant_deleted,
    recto.inputs_not_needed from public;
grant execute on function recto.acting_users_price, recto.delete_image, recto.hear_of_prediction to recto_service;
