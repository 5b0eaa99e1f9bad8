-- What a model's cards turned out to be worth, in numbers that outlive the suggestions.
alter table public.generations
    add column language text,
    add column grounded_count integer check (grounded_count >= 0),
    add column rejected_count integer check (rejected_count >= 0);
comment on column public.generations.language is 'of what was written; null if it is not known';
comment on column public.generations.grounded_count is 'proposals that the text supports; null if it was not looked at';
comment on column public.generations.rejected_count is 'by reviews here; null if there were none';

alter table public.generation_jobs add column language text;
comment on column public.generation_jobs.language is 'as in generations, of the last batch';

create or replace view recto.jobs with (security_invoker = true) as
    select job.id, job.user_id, job.kind, job.status, job.deck_id, job.session_id,
        (job.payload ->> 'count')::integer as count, job.payload ->> 'prompt_version' as prompt_version, job.has_text,
        job.source_text_hash, job.source_text_length, job.attempts, job.attempts_left, job.retries, job.in_background,
        spent.model, spent.tokens_input, spent.tokens_output, spent.cost_usd,
        job.error, job.lease_until, job.created_at, job.started_at, job.finished_at, job.erased_at,
        (select count(*) from public.ai_suggestions suggestion where suggestion.job_id = job.id) as suggestions_count,
        job.dropped, job.incomplete, job.language
    from public.generation_jobs job
    cross join lateral (
        select sum(tokens_input) as tokens_input, sum(tokens_output) as tokens_output, sum(cost_usd) as cost_usd,
            (array_agg(model order by number desc, call desc) filter (where outcome = 'succeeded'))[1] as model
        from public.generation_attempts attempt where attempt.job_id = job.id
    ) spent
    where job.kind not in ('synchronous', 'image');

alter table public.generation_error_logs add column prompt_version text;

update public.generations record set grounded_count = counted.grounded, rejected_count = counted.rejected
    from (
        select job_id,
            case when count(grounded) > 0 then count(*) filter (where grounded) end as grounded,
            case when count(reviewed_at) > 0 then count(*) filter (where status = 'rejected') end as rejected
        from public.ai_suggestions group by job_id
    ) counted
    where record.job_id = counted.job_id and coalesce(counted.grounded, counted.rejected) is not null;
update public.generation_error_logs log set prompt_version = job.payload ->> 'prompt_version'
    from public.generation_jobs job where job.id = log.job_id;

-- Also tells what each dollar was spent on. An outer join is not even made where its columns are not asked for.
create or replace view recto.costs with (security_invoker = true) as
    select attempt.user_id, attempt.started_at as created_at, attempt.model,
        attempt.tokens_input, attempt.tokens_output, attempt.cost_usd,
        job.payload ->> 'prompt_version' as prompt_version, record.language, job.kind = 'image' as is_image
        from public.generation_attempts attempt
        left join public.generation_jobs job on job.id = attempt.job_id
        left join public.generations record on record.job_id = attempt.job_id
    union all
    select user_id, created_at, model, tokens_input, tokens_output, cost_usd, prompt_version, language, false
        from public.generations record
        where not exists (select from public.generation_attempts attempt where attempt.job_id = record.job_id)
    union all
    select user_id, created_at, model, tokens_input, tokens_output, cost_usd, prompt_version, null, is_image
        from public.generation_error_logs log
        where not exists (select from public.generation_attempts attempt where attempt.job_id = log.job_id);
grant select on recto.costs to authenticated, recto_worker;

drop function recto.record_generation;
create function recto.record_generation(
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
    if $12 then
        update public.generation_jobs set status = 'failed', holder = null, lease_until = null, finished_at = now(),
            error = jsonb_build_object('log_code', $7) where id = $3;
    end if;
end
$$;
grant execute on function recto.record_generation, recto.record_generation_error to public;
