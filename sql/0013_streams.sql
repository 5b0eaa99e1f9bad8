-- What a generation did not write, when its first card was there, and what its calls cost that did not say so themselves.
alter table public.generations
    add column incomplete text,
    add column dropped jsonb not null default '{}',
    add column first_proposal_ms integer check (first_proposal_ms >= 0);
comment on column public.generations.incomplete is 'why the model did not write all that it would have; null if it did';
comment on column public.generations.dropped is 'cards that were written and not kept, by reason';
comment on column public.generations.first_proposal_ms is 'until the first card was shown; null if all came in one piece';

alter table public.generation_jobs
    add column incomplete text,
    add column dropped jsonb not null default '{}';
comment on column public.generation_jobs.incomplete is 'as in generations';
comment on column public.generation_jobs.dropped is 'as in generations, of all batches';

create function recto.add_counts(jsonb, jsonb) returns jsonb language sql immutable as $$
    select coalesce(jsonb_object_agg(name, total), '{}') from (
        select name, sum(count::integer) as total
        from (select * from jsonb_each_text($1) union all select * from jsonb_each_text($2)) each (name, count)
        group by name
    ) counted
$$;
revoke execute on function recto.add_counts from public;
grant execute on function recto.add_counts to recto_service;

create or replace view recto.jobs with (security_invoker = true) as
    select job.id, job.user_id, job.kind, job.status, job.deck_id, job.session_id,
        (job.payload ->> 'count')::integer as count, job.payload ->> 'prompt_version' as prompt_version, job.has_text,
        job.source_text_hash, job.source_text_length, job.attempts, job.attempts_left, job.retries, job.in_background,
        spent.model, spent.tokens_input, spent.tokens_output, spent.cost_usd,
        job.error, job.lease_until, job.created_at, job.started_at, job.finished_at, job.erased_at,
        (select count(*) from public.ai_suggestions suggestion where suggestion.job_id = job.id) as suggestions_count,
        job.dropped, job.incomplete
    from public.generation_jobs job
    cross join lateral (
        select sum(tokens_input) as tokens_input, sum(tokens_output) as tokens_output, sum(cost_usd) as cost_usd,
            (array_agg(model order by number desc, call desc) filter (where outcome = 'succeeded'))[1] as model
        from public.generation_attempts attempt where attempt.job_id = job.id
    ) spent
    where job.kind not in ('synchronous', 'image');

-- Calls whose cost the provider did not tell, because they were broken off: the workers ask for it later.
create table recto.untold_costs (
    request_id text primary key,
    user_id uuid not null,
    job_id uuid not null,
    looks integer not null default 0 check (looks >= 0),
    ask_at timestamptz not null default now() + interval '5 seconds'
);
comment on table recto.untold_costs is 'calls whose cost is still to be asked for, by the provider''s name for them';
comment on column recto.untold_costs.job_id is 'as in the record or the attempt that made the call';
create index untold_costs_ask_at on recto.untold_costs (ask_at);
create index untold_costs_user_id on recto.untold_costs (user_id);
alter table recto.untold_costs enable row level security;
create policy service on recto.untold_costs for insert to recto_service
    with check (user_id = (select recto.acting_user()));
create policy worker on recto.untold_costs to recto_worker using (true);
grant insert on recto.untold_costs to recto_service;
grant select, update, delete on recto.untold_costs to recto_worker;

-- Adds what a call turned out to have taken to what is kept of its attempt and of its record, once: the row that asked for
-- it goes in the same transaction.
create function recto.tell_cost(asked text, tokens_input integer, tokens_output integer, cost_usd numeric) returns void
    language plpgsql security definer set search_path = '' as $$
declare
    job uuid;
    made_in integer;
begin
    delete from recto.untold_costs where request_id = asked returning job_id into job;
    if job is null then
        return;
    end if;
    update public.generation_attempts made
        set tokens_input = $2, tokens_output = $3, cost_usd = $4
        where made.job_id = job and made.request_id = asked and made.cost_usd is null
        returning made.number into made_in;
    update public.generation_error_logs log
        set tokens_input = coalesce(log.tokens_input, 0) + $2, tokens_output = coalesce(log.tokens_output, 0) + $3,
            cost_usd = coalesce(log.cost_usd, 0) + $4
        where log.job_id = job and log.attempt = coalesce(made_in, 1);
    update public.generations record
        set tokens_input = coalesce(record.tokens_input, 0) + $2, tokens_output = coalesce(record.tokens_output, 0) + $3,
            cost_usd = coalesce(record.cost_usd, 0) + $4
        where record.job_id = job;
end
$$;
revoke execute on function recto.tell_cost from public;
grant execute on function recto.tell_cost to recto_worker;

create or replace function recto.forget_user(forgotten uuid) returns void
    language sql security definer set search_path = '' as $$
    delete from public.generation_jobs where user_id = forgotten;
    delete from public.decks where user_id = forgotten;
    delete from public.generations where user_id = forgotten;
    delete from public.generation_error_logs where user_id = forgotten;
    delete from public.usage_ledger where user_id = forgotten;
    delete from public.generation_events where user_id = forgotten;
    delete from recto.idempotency_keys where user_id = forgotten;
    delete from recto.untold_costs where user_id = forgotten;
$$;

drop function recto.record_generation;
create function recto.record_generation(
    claims text, user_id uuid, job_id uuid, model text, generated_count integer, source_text_hash text,
    source_text_length integer, generation_duration integer, prompt_version text, tokens_input integer,
    tokens_output integer, cost_usd numeric, counted boolean, incomplete text, dropped jsonb, first_proposal_ms integer,
    untold text[]
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
        prompt_version, tokens_input, tokens_output, cost_usd, incomplete, dropped, first_proposal_ms
    ) values ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $14, $15, $16)
    on conflict (job_id) do nothing
    returning id into record_id;
    if record_id is null then
        select id into record_id from public.generations where job_id = $3;
    elsif cardinality($17) > 0 then
        insert into recto.untold_costs (request_id, user_id, job_id) select id, $2, $3 from unnest($17) id
            on conflict do nothing;
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

drop function recto.record_generation_error;
create function recto.record_generation_error(
    claims text, user_id uuid, job_id uuid, model text, source_text_hash text, source_text_length integer,
    error_code text, error_message text, tokens_input integer, tokens_output integer, cost_usd numeric, counted boolean,
    untold text[]
) returns void language plpgsql as $$
#variable_conflict use_column
declare
    is_new boolean;
begin
    if not pg_has_role(current_user, 'recto_service', 'member') then
        raise insufficient_privilege using message = 'only the service records generations';
    end if;
    perform set_config('request.jwt.claims', $1, true), set_config('role', 'recto_service', true);
    insert into public.generation_error_logs (
        user_id, job_id, attempt, model, source_text_hash, source_text_length, error_code, error_message,
        tokens_input, tokens_output, cost_usd
    ) values ($2, $3, 1, $4, $5, $6, $7, $8, $9, $10, $11)
    on conflict (job_id, attempt) do nothing
    returning true into is_new;
    if is_new and cardinality($13) > 0 then
        insert into recto.untold_costs (request_id, user_id, job_id) select id, $2, $3 from unnest($13) id
            on conflict do nothing;
    end if;
    if $12 then
        update public.generation_jobs set status = 'failed', holder = null, lease_until = null, finished_at = now(),
            error = jsonb_build_object('log_code', $7) where id = $3;
    end if;
end
$$;
grant execute on function recto.record_generation, recto.record_generation_error to public;
