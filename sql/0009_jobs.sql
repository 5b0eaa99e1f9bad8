-- A job's row is the only truth about it: who runs it (holder, attempt), until when (lease_until), when it is due (run_at).
-- Each call to a provider is a row of its own. Users' roles read their own rows and write nothing.

-- Roles -----------------------------------------------------------------------------------------------------------------
-- recto_service acts for one user at a time and sees that user's rows alone; recto_worker sees everybody's.
do $$
begin
    if not exists (select from pg_roles where rolname = 'recto_worker') then
        create role recto_worker nologin noinherit;
    end if;
exception
    when duplicate_object or unique_violation then null;  -- roles are the cluster's: another database was faster
end
$$;

do $$
declare
    login_name text;
begin
    execute format('grant recto_worker to %I', current_user);
    -- Logins made for an earlier version run workers as well as the web service.
    for login_name in
        select member.rolname from pg_auth_members
        join pg_roles member on member.oid = pg_auth_members.member
        join pg_roles service on service.oid = pg_auth_members.roleid and service.rolname = 'recto_service'
        where member.rolname <> current_user
    loop
        execute format('grant recto_worker to %I', login_name);
    end loop;
end
$$;

grant usage on schema public, recto to recto_worker;
grant select on recto.migrations to recto_service, recto_worker;

-- Jobs ------------------------------------------------------------------------------------------------------------------
drop view recto.costs;

alter table public.generation_jobs
    add column in_background boolean not null default true,
    add column run_at timestamptz not null default now(),
    add column holder uuid,
    add column erased_at timestamptz,
    add column alerted_at timestamptz;
comment on column public.generation_jobs.in_background is 'a worker runs it; false while a caller waits for it';
comment on column public.generation_jobs.run_at is 'a pending job is due from then on';
comment on column public.generation_jobs.holder is 'the process that runs it';
comment on column public.generation_jobs.lease_until is 'the holder renews it; once it is over, the attempt is abandoned';
comment on column public.generation_jobs.erased_at is 'when its texts and suggestions were erased';
comment on column public.generation_jobs.alerted_at is 'when an alert reported its failure';

-- An entry of the queue said when a job was due; a job that a worker ran is taken over by the next one.
update public.generation_jobs job set run_at = entry.scheduled_at
    from procrastinate.procrastinate_jobs entry
    where job.queue_job_id = entry.id and entry.scheduled_at is not null and job.status = 'pending';
update public.generation_jobs set in_background = queue_job_id is not null;
update public.generation_jobs set holder = gen_random_uuid(), lease_until = coalesce(lease_until, now())
    where status = 'running';
update public.generation_jobs set alerted_at = finished_at where status = 'failed';
-- A DELETE erased them, or their time was over.
update public.generation_jobs job set erased_at = finished_at, idempotency_key = null
    where kind <> 'synchronous' and status in ('succeeded', 'canceled')
        and not exists (select from public.ai_suggestions suggestion where suggestion.generation_id = job.id);

-- Attempts --------------------------------------------------------------------------------------------------------------
create table public.generation_attempts (
    job_id uuid not null references public.generation_jobs (id) on delete cascade,
    number integer not null check (number >= 1),
    call integer not null check (call >= 1),
    user_id uuid not null,
    model text not null,
    started_at timestamptz not null default now(),
    duration_ms integer check (duration_ms >= 0),
    outcome text,
    upstream_status integer,
    request_id text,
    tokens_input integer check (tokens_input >= 0),
    tokens_output integer check (tokens_output >= 0),
    cost_usd numeric(12, 6) check (cost_usd >= 0),
    primary key (job_id, number, call)
);
comment on table public.generation_attempts is 'one row for each call to a provider that a job made';
comment on column public.generation_attempts.number is 'of the job''s attempts, from 1; one of a deck makes several calls';
comment on column public.generation_attempts.model is 'that answered, else that was asked';
comment on column public.generation_attempts.outcome is
    'succeeded, or why it failed as in generation_error_logs; null while it runs';
comment on column public.generation_attempts.request_id is 'the provider''s name for the call';
create index generation_attempts_user_id on public.generation_attempts (user_id, started_at);

-- What all calls of a job took stood in its row; what runs has not told yet what it takes.
insert into public.generation_attempts (
    job_id, number, call, user_id, model, started_at, duration_ms, outcome, upstream_status, request_id,
    tokens_input, tokens_output, cost_usd
)
select id, attempts, 1, user_id, coalesce(model_used, payload ->> 'model', ''), coalesce(started_at, created_at),
    coalesce((ai_metadata ->> 'duration_ms')::integer, (error ->> 'duration_ms')::integer),
    case
        when status = 'canceled' then 'canceled'
        when status <> 'failed' and model_used is not null then 'succeeded'
        else coalesce(error ->> 'log_code', case when status = 'pending' then 'handed_back' end)
    end,
    (error ->> 'upstream_status')::integer, coalesce(ai_metadata ->> 'request_id', error ->> 'request_id'),
    tokens_input, tokens_output, cost_usd
from public.generation_jobs where attempts > 0;

-- Records ---------------------------------------------------------------------------------------------------------------
alter table public.generations add column job_id uuid;
comment on column public.generations.job_id is
    'the job that it came of; one that a caller waited for has a row in generation_jobs only under a quota';
update public.generations record set job_id = job.id
    from public.generation_jobs job where job.generation_id = record.id;
create unique index generations_job_id on public.generations (job_id);

alter table public.generation_error_logs add column attempt integer;
comment on column public.generation_error_logs.attempt is 'the number of the job''s attempt that failed';
update public.generation_error_logs log set attempt = numbered.attempt
    from (
        select id, row_number() over (partition by job_id order by id) as attempt
        from public.generation_error_logs where job_id is not null
    ) numbered
    where log.id = numbered.id;
create unique index generation_error_logs_attempt on public.generation_error_logs (job_id, attempt);

alter table public.generation_jobs
    drop column queue_job_id,
    drop column generation_id,
    drop column model_used,
    drop column tokens_input,
    drop column tokens_output,
    drop column cost_usd,
    drop column ai_metadata;
drop schema procrastinate cascade;

alter table public.ai_suggestions rename column generation_id to job_id;
alter table public.ai_suggestions add column written_front text;
comment on column public.ai_suggestions.written_front is 'what the model wrote, once the front was edited';

drop index public.generation_jobs_in_flight;
create index generation_jobs_in_flight on public.generation_jobs (user_id) where status in ('pending', 'running');
create index generation_jobs_due on public.generation_jobs (run_at) where status = 'pending';
create index generation_jobs_leases on public.generation_jobs (lease_until) where status = 'running';
drop index public.generation_jobs_failed;
create index generation_jobs_to_alert on public.generation_jobs (finished_at)
    where status = 'failed' and alerted_at is null;
create index generation_jobs_to_retain on public.generation_jobs (finished_at) where erased_at is null;
drop index public.ai_suggestions_created_at;
create index ai_suggestions_deck on public.ai_suggestions (deck_id, created_at, job_id, position)
    where deck_id is not null;
create index ai_suggestions_user_id on public.ai_suggestions (user_id);
create index decks_user_id on public.decks (user_id);
create index generation_events_user_id on public.generation_events (user_id);
create index generation_events_created_at on public.generation_events (created_at);

alter table recto.idempotency_keys add column job_id uuid;
comment on column recto.idempotency_keys.job_id is 'the job whose results the answer holds';
update recto.idempotency_keys held set job_id = job.id
    from public.generation_jobs job where job.user_id = held.user_id and job.idempotency_key = held.key;
create index idempotency_keys_job_id on recto.idempotency_keys (job_id) where job_id is not null;

alter table recto.alerts drop column covered_until;
comment on table recto.alerts is 'the last message went out at sent_at';

-- Grants: Supabase gives everything in public to its users' roles by default -------------------------------------------------
do $$
declare
    table_name text;
    grantee text;
begin
    foreach table_name in array array[
        'generations', 'generation_error_logs', 'decks', 'generation_jobs', 'generation_attempts', 'ai_suggestions',
        'usage_ledger', 'generation_events'
    ] loop
        foreach grantee in array array['anon', 'authenticated', 'service_role', 'recto_service', 'recto_worker'] loop
            if exists (select from pg_roles where rolname = grantee) then
                execute format('revoke all on public.%I from %I', table_name, grantee);
            end if;
        end loop;
        execute format('revoke all on public.%I from public', table_name);
        execute format('alter table public.%I enable row level security', table_name);
        execute format('drop policy if exists own_rows on public.%I', table_name);
        execute format('drop policy if exists service on public.%I', table_name);
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
grant insert, update on public.generations to recto_service;
grant insert on public.generation_error_logs, public.generation_events to recto_service, recto_worker;
grant insert on public.decks, public.usage_ledger to recto_service;
grant insert, update on public.generation_jobs to recto_service;
grant insert, update on public.generation_attempts to recto_service, recto_worker;
grant insert, update, delete on public.ai_suggestions to recto_service;
grant update on public.generation_jobs to recto_worker;
grant delete on public.ai_suggestions, public.generation_events to recto_worker;

drop policy service on recto.idempotency_keys;
create policy service on recto.idempotency_keys to recto_service using (user_id = (select recto.acting_user()));
create policy worker on recto.idempotency_keys to recto_worker using (true);
grant select, delete on recto.idempotency_keys to recto_worker;
revoke all on recto.alerts from recto_service;
grant select, update on recto.alerts to recto_worker;

-- Notifications -------------------------------------------------------------------------------------------------------------
-- Who waits for a job hears of each change. Renewing a lease sets none of these columns.
drop trigger notify_job_changed on public.generation_jobs;
create trigger notify_job_changed after update of status, attempts_left, erased_at on public.generation_jobs
    for each row execute function recto.notify_job_changed();

-- A wake-up says only that there may be work. One that is lost or comes twice does no harm: workers look at the rows.
create function recto.wake_workers() returns trigger language plpgsql as $$
begin
    if new.status = 'pending' then
        perform pg_notify('recto_wake_ups', 'pending');
    elsif tg_op = 'UPDATE' and old.status = 'running' and new.status <> 'running' then
        perform pg_notify('recto_wake_ups', 'ended');
    end if;
    return null;
end
$$;
create trigger wake_workers after insert or update of status on public.generation_jobs
    for each row execute function recto.wake_workers();

-- Shapes --------------------------------------------------------------------------------------------------------------------
create view recto.jobs with (security_invoker = true) as
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
    where job.kind <> 'synchronous';
comment on view recto.jobs is 'what users see of their jobs: without texts, with what all attempts took';
grant select on recto.jobs to authenticated, recto_service;

create view recto.costs with (security_invoker = true) as
    select user_id, started_at as created_at, model, tokens_input, tokens_output, cost_usd
        from public.generation_attempts
    union all
    select user_id, created_at, model, tokens_input, tokens_output, cost_usd from public.generations record
        where not exists (select from public.generation_attempts attempt where attempt.job_id = record.job_id)
    union all
    select user_id, created_at, model, tokens_input, tokens_output, cost_usd from public.generation_error_logs log
        where not exists (select from public.generation_attempts attempt where attempt.job_id = log.job_id);
comment on view recto.costs is 'every dollar once, as far as the provider told: calls of jobs, and what callers waited for';

-- Moves ---------------------------------------------------------------------------------------------------------------------
create function recto.without_texts(payload jsonb) returns jsonb language sql immutable
    return payload - '{source_text,topic,banlist}'::text[];
comment on function recto.without_texts is 'what is left of a job''s payload when what its user wrote is erased';

-- The one place that erases what jobs hold of their users' texts; what they cost stays.
create function recto.erase_jobs(job_ids uuid[]) returns void language plpgsql as $$
begin
    update public.generation_jobs job
        set payload = recto.without_texts(job.payload), idempotency_key = null, erased_at = coalesce(job.erased_at, now())
        where job.id = any(job_ids);
    delete from public.ai_suggestions suggestion where suggestion.job_id = any(job_ids);
    delete from recto.idempotency_keys held where held.job_id = any(job_ids);
end
$$;

-- The ledger is append-only for every role; only this removes its rows, with all others of the user.
create function recto.forget_user(forgotten uuid) returns void language sql security definer set search_path = '' as $$
    delete from public.generation_jobs where user_id = forgotten;
    delete from public.decks where user_id = forgotten;
    delete from public.generations where user_id = forgotten;
    delete from public.generation_error_logs where user_id = forgotten;
    delete from public.usage_ledger where user_id = forgotten;
    delete from public.generation_events where user_id = forgotten;
    delete from recto.idempotency_keys where user_id = forgotten;
$$;
comment on function recto.forget_user is 'deletes every row of a user; attempts and suggestions go with their jobs';

-- Moves over the rows of many users that a web process makes for what it runs, without being able to read any.
create function recto.renew_leases(renewing uuid, job_ids uuid[], lease interval) returns void
    language sql security definer set search_path = '' as $$
    update public.generation_jobs set lease_until = now() + lease
        where id = any(job_ids) and status = 'running' and holder = renewing;
$$;
create function recto.jobs_in_flight(out pending bigint, out running bigint, out oldest_pending_s float8)
    language sql security definer set search_path = '' stable as $$
    select count(*) filter (where status = 'pending'), count(*) filter (where status = 'running'),
        coalesce(extract(epoch from now() - min(created_at) filter (where status = 'pending')), 0)::float8
    from public.generation_jobs where status in ('pending', 'running')
$$;

-- The hot path's one write, in one statement and so in one round trip: takes on the service's role with the user's
-- claims and inserts under the policies. Both are local to the transaction, which ends with the statement. It is called
-- before the role is taken on, so it checks itself who may. The job's id makes a repeated call harmless. `counted`: the generation has a
-- row in generation_jobs, which reserved a place in the user's quota; it ends in the same statement.
drop function recto.record_generation;
create function recto.record_generation(
    claims text, user_id uuid, job_id uuid, model text, generated_count integer, source_text_hash text,
    source_text_length integer, generation_duration integer, prompt_version text, tokens_input integer,
    tokens_output integer, cost_usd numeric, counted boolean
) returns bigint language plpgsql as $$
#variable_conflict use_column
declare
    record_id bigint;
begin
    if not pg_has_role(current_user, 'recto_service', 'member') then
        raise insufficient_privilege using message = 'only the service records generations';
    end if;
    perform set_config('request.jwt.claims', $1, true), set_config('role', 'recto_service', true);
    insert into public.generations (
        user_id, job_id, model, generated_count, source_text_hash, source_text_length, generation_duration,
        prompt_version, tokens_input, tokens_output, cost_usd
    ) values ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    on conflict (job_id) do nothing
    returning id into record_id;
    if record_id is null then
        select id into record_id from public.generations where job_id = $3;
    end if;
    if $13 then
        update public.generation_jobs set status = 'succeeded', holder = null, lease_until = null, error = null,
            finished_at = now() where id = $3;
        insert into public.usage_ledger (user_id, job_id, kind) values ($2, $3, 'synchronous')
            on conflict (job_id) do nothing;
    end if;
    return record_id;
end
$$;

create function recto.record_generation_error(
    claims text, user_id uuid, job_id uuid, model text, source_text_hash text, source_text_length integer,
    error_code text, error_message text, tokens_input integer, tokens_output integer, cost_usd numeric, counted boolean
) returns void language plpgsql as $$
#variable_conflict use_column
begin
    if not pg_has_role(current_user, 'recto_service', 'member') then
        raise insufficient_privilege using message = 'only the service records generations';
    end if;
    perform set_config('request.jwt.claims', $1, true), set_config('role', 'recto_service', true);
    insert into public.generation_error_logs (
        user_id, job_id, attempt, model, source_text_hash, source_text_length, error_code, error_message,
        tokens_input, tokens_output, cost_usd
    ) values ($2, $3, 1, $4, $5, $6, $7, $8, $9, $10, $11)
    on conflict (job_id, attempt) do nothing;
    if $12 then
        update public.generation_jobs set status = 'failed', holder = null, lease_until = null, finished_at = now(),
            error = jsonb_build_object('log_code', $7) where id = $3;
    end if;
end
$$;

-- A function may be run by everybody unless it says otherwise.
revoke execute on all functions in schema recto from public;
grant execute on function recto.acting_user() to recto_service;
grant execute on function recto.without_texts, recto.erase_jobs to recto_service, recto_worker;
grant execute on function recto.forget_user to recto_worker;
grant execute on function recto.renew_leases to recto_service, recto_worker;
grant execute on function recto.jobs_in_flight to recto_service;
grant execute on function recto.record_generation, recto.record_generation_error to public;
