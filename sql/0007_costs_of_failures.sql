-- An answer that holds no usable card has been paid for as well.
alter table public.generation_error_logs
    add column tokens_input integer check (tokens_input >= 0),
    add column tokens_output integer check (tokens_output >= 0),
    add column cost_usd numeric(12, 6) check (cost_usd >= 0);

-- Every dollar once. A job's row holds the costs of all its calls, and so does its row in generations.
create view recto.costs with (security_invoker = true) as
    select user_id, created_at, coalesce(model_used, payload ->> 'model') as model, tokens_input, tokens_output, cost_usd
        from public.generation_jobs
    union all
    select user_id, created_at, model, tokens_input, tokens_output, cost_usd
        from public.generations
        where not exists (select from public.generation_jobs where generation_jobs.generation_id = generations.id)
    union all
    select user_id, created_at, model, tokens_input, tokens_output, cost_usd
        from public.generation_error_logs
        where job_id is null;
comment on view recto.costs is 'what each call of a provider cost, as far as it told';
