-- Where an app's own `generations` and `generation_error_logs` are shared, the app's users may write there. What a
-- generation took that a caller waited for stands in a table of its own, as what jobs take stands in their attempts.
create table recto.synchronous_costs (
    job_id uuid unique,
    user_id uuid not null,
    model text not null,
    tokens_input integer check (tokens_input >= 0),
    tokens_output integer check (tokens_output >= 0),
    cost_usd numeric(12, 6) check (cost_usd >= 0),
    prompt_version text,
    language text,
    created_at timestamptz not null default now()
);
comment on table recto.synchronous_costs is 'one row for each generation that a caller waited for, failed or not';
comment on column recto.synchronous_costs.job_id is 'as in its record; null for those of before records had one';
create index synchronous_costs_user_id on recto.synchronous_costs (user_id, created_at);
alter table recto.synchronous_costs enable row level security;
create policy own_rows on recto.synchronous_costs for select to authenticated using ((select auth.uid()) = user_id);
create policy service on recto.synchronous_costs for insert to recto_service
    with check (user_id = (select recto.acting_user()));
create policy worker on recto.synchronous_costs for select to recto_worker using (true);
grant select on recto.synchronous_costs to authenticated, recto_worker;
grant insert on recto.synchronous_costs to recto_service;

insert into recto.synchronous_costs (
    job_id, user_id, model, tokens_input, tokens_output, cost_usd, prompt_version, language, created_at
)
select job_id, user_id, model, tokens_input, tokens_output, cost_usd, prompt_version, language, created_at
    from public.generations record
    where not exists (select from public.generation_attempts attempt where attempt.job_id = record.job_id);
-- One that was given up for lost and then succeeded has both, and its record says what it took.
insert into recto.synchronous_costs (
    job_id, user_id, model, tokens_input, tokens_output, cost_usd, prompt_version, created_at
)
select job_id, user_id, model, tokens_input, tokens_output, cost_usd, prompt_version, created_at
    from public.generation_error_logs log
    where not is_image
        and not exists (select from public.generation_attempts attempt where attempt.job_id = log.job_id)
on conflict (job_id) do nothing;

create or replace view recto.costs with (security_invoker = true) as
    select attempt.user_id, attempt.started_at as created_at, attempt.model,
        attempt.tokens_input, attempt.tokens_output, attempt.cost_usd, job.payload ->> 'prompt_version' as prompt_version,
        case when job.status = 'succeeded' then job.language end as language, job.kind = 'image' as is_image
        from public.generation_attempts attempt left join public.generation_jobs job on job.id = attempt.job_id
    union all
    select user_id, created_at, model, tokens_input, tokens_output, cost_usd, prompt_version, language, false
        from recto.synchronous_costs;

-- What an app's users may write there must not break what reads it.
alter table public.generations add constraint generations_dropped_check check (
    jsonb_typeof(dropped) = 'object'
    and not dropped @? 'strict $.* ? (@.type() != "number" || @ < 0 || @ > 1000000 || @.floor() != @)'
);

create or replace function recto.record_generation(
    claims text, user_id uuid, job_id uuid, model text, generated_count integer, source_text_hash text,
    source_text_length integer, generation_duration integer, prompt_version text, tokens_input integer,
    tokens_output integer, cost_usd numeric, counted boolean, incomplete text, dropped jsonb, first_proposal_ms integer,
    untold text[], grounded_count integer, language text
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
        prompt_version, tokens_input, tokens_output, cost_usd, incomplete, dropped, first_proposal_ms, grounded_count,
        language
    ) values ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $14, $15, $16, $18, $19)
    on conflict (job_id) do nothing
    returning id into record_id;
    if record_id is null then
        select id into record_id from public.generations where job_id = $3;
    elsif cardinality($17) > 0 then
        insert into recto.untold_costs (request_id, user_id, job_id) select id, $2, $3 from unnest($17) id
            on conflict do nothing;
    end if;
    insert into recto.synchronous_costs (
        job_id, user_id, model, tokens_input, tokens_output, cost_usd, prompt_version, language
    ) values ($3, $2, $4, $10, $11, $12, $9, $19) on conflict do nothing;
    if $13 then
        update public.generation_jobs set status = 'succeeded', holder = null, lease_until = null, error = null,
            finished_at = now() where id = $3;
        insert into public.usage_ledger (user_id, job_id, kind) values ($2, $3, 'synchronous')
            on conflict (job_id) do nothing;
    end if;
    return record_id;
end
$$;

create or replace function recto.record_generation_error(
    claims text, user_id uuid, job_id uuid, model text, source_text_hash text, source_text_length integer,
    error_code text, error_message text, tokens_input integer, tokens_output integer, cost_usd numeric, counted boolean,
    untold text[], prompt_version text
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
        tokens_input, tokens_output, cost_usd, prompt_version
    ) values ($2, $3, 1, $4, $5, $6, $7, $8, $9, $10, $11, $14)
    on conflict (job_id, attempt) do nothing
    returning true into is_new;
    if is_new and cardinality($13) > 0 then
        insert into recto.untold_costs (request_id, user_id, job_id) select id, $2, $3 from unnest($13) id
            on conflict do nothing;
    end if;
    insert into recto.synchronous_costs (
        job_id, user_id, model, tokens_input, tokens_output, cost_usd, prompt_version
    ) values ($3, $2, $4, $9, $10, $11, $14) on conflict do nothing;
    if $12 then
        update public.generation_jobs set status = 'failed', holder = null, lease_until = null, finished_at = now(),
            error = jsonb_build_object('log_code', $7) where id = $3;
    end if;
end
$$;

create or replace function recto.tell_cost(
    asked text, tokens_input integer, tokens_output integer, cost_usd numeric
) returns void language plpgsql security definer set search_path = '' as $$
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
    update recto.synchronous_costs known
        set tokens_input = coalesce(known.tokens_input, 0) + $2, tokens_output = coalesce(known.tokens_output, 0) + $3,
            cost_usd = coalesce(known.cost_usd, 0) + $4
        where known.job_id = job;
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
    delete from recto.synchronous_costs where user_id = forgotten;
$$;

-- The app's table is in the schema public also where Recto's are not: `public` is written apart from the dot here, which
-- would make it the schema of Recto's tables. Where the app has none, the operator fills in Recto's.
create or replace function recto.acting_users_price() returns text
    language plpgsql stable security definer set search_path = '' as $$
declare
    price text;
    profiles regclass := coalesce(to_regclass(format('%I.profiles', 'public')), to_regclass('recto.profiles'));
begin
    if profiles is null then
        return null;
    end if;
    execute format('select price_id::text from %s where id = $1', profiles) into price using recto.acting_user();
    return price;
exception
    when undefined_table or undefined_column or insufficient_privilege then return null;
end
$$;
revoke execute on function recto.acting_users_price from public;
drop function if exists recto.price_of(uuid);  -- what one early version had in its place
grant execute on function recto.acting_users_price to recto_service;
