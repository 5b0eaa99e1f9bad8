-- What a generation cost and why one failed. Neither the source text nor the proposals are ever stored.

-- Supabase brings the role and auth.uid(); a plain PostgreSQL gets the same, so that one set of policies serves both.
do $$
begin
    if not exists (select from pg_roles where rolname = 'authenticated') then
        create role authenticated nologin noinherit;
    end if;
exception
    when duplicate_object or unique_violation then null;  -- roles are the cluster's: another database was faster
end
$$;

do $$
begin
    begin
        execute format('grant authenticated to %I', current_user);
    exception
        when insufficient_privilege then null;  -- on Supabase: its postgres role is a member already
    end;
    if to_regprocedure('auth.uid()') is null then
        create schema if not exists auth;
        grant usage on schema auth to public;
        create function auth.uid() returns uuid language sql stable as $uid$
            select coalesce(
                nullif(current_setting('request.jwt.claim.sub', true), ''),
                nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
            )::uuid
        $uid$;
    end if;
end
$$;

create table public.generations (
    id bigint generated always as identity primary key,
    user_id uuid not null,
    model text not null,
    generated_count integer not null check (generated_count >= 1),
    accepted_unedited_count integer check (accepted_unedited_count >= 0),
    accepted_edited_count integer check (accepted_edited_count >= 0),
    source_text_hash text not null check (source_text_hash ~ '^[0-9a-f]{64}$'),
    source_text_length integer not null check (source_text_length between 1000 and 10000),
    generation_duration integer not null check (generation_duration >= 0),
    prompt_version text not null,
    tokens_input integer check (tokens_input >= 0),
    tokens_output integer check (tokens_output >= 0),
    cost_usd numeric(12, 6) check (cost_usd >= 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on column public.generations.model is 'the model that answered';
comment on column public.generations.generation_duration is 'milliseconds';
create index generations_user_id_id on public.generations (user_id, id desc);

create table public.generation_error_logs (
    id bigint generated always as identity primary key,
    user_id uuid not null,
    model text not null,
    source_text_hash text not null check (source_text_hash ~ '^[0-9a-f]{64}$'),
    source_text_length integer not null check (source_text_length between 1000 and 10000),
    error_code text not null,
    error_message text not null check (char_length(error_message) <= 1000),
    created_at timestamptz not null default now()
);
create index generation_error_logs_user_id_id on public.generation_error_logs (user_id, id desc);

create function recto.touch_updated_at() returns trigger language plpgsql as $$
begin
    new.updated_at := now();
    return new;
end
$$;
create trigger touch_updated_at before update on public.generations
    for each row execute function recto.touch_updated_at();

alter table public.generations enable row level security;
alter table public.generation_error_logs enable row level security;
grant usage on schema public, recto to authenticated;
grant select, insert on public.generations, public.generation_error_logs to authenticated;

-- The subselect is evaluated once a statement; a bare auth.uid() would be called for every row.
create policy own_rows on public.generations to authenticated
    using ((select auth.uid()) = user_id) with check ((select auth.uid()) = user_id);
create policy own_rows on public.generation_error_logs to authenticated
    using ((select auth.uid()) = user_id) with check ((select auth.uid()) = user_id);

-- The hot path's one write: takes on the user's identity and inserts under the policies, in one statement and so in
-- one round trip. Role and claims are local to the transaction, which ends with the statement.
create function recto.record_generation(
    claims text, user_id uuid, model text, generated_count integer, source_text_hash text, source_text_length integer,
    generation_duration integer, prompt_version text, tokens_input integer, tokens_output integer, cost_usd numeric
) returns bigint language plpgsql as $$
declare
    new_id bigint;
begin
    perform set_config('request.jwt.claims', $1, true), set_config('role', 'authenticated', true);
    insert into public.generations (
        user_id, model, generated_count, source_text_hash, source_text_length, generation_duration, prompt_version,
        tokens_input, tokens_output, cost_usd
    ) values ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    returning id into new_id;
    return new_id;
end
$$;
