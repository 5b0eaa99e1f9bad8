-- Generations in the background. Users may read their own rows; everything is written by the service (0003).

create table public.decks (
    id uuid primary key,
    user_id uuid not null,
    created_at timestamptz not null default now()
);
comment on table public.decks is 'whose deck it is: the first user''s who generated into it';

create table public.generation_jobs (
    id uuid primary key,
    user_id uuid not null,
    kind text not null check (kind in ('synchronous', 'review', 'session', 'deck')),
    status text not null check (status in ('pending', 'running', 'succeeded', 'failed', 'canceled')),
    payload jsonb not null,
    has_text boolean not null generated always as (payload ?| array['source_text', 'topic']) stored,
    source_text_hash text not null check (source_text_hash ~ '^[0-9a-f]{64}$'),
    source_text_length integer not null check (source_text_length between 1 and 10000),
    deck_id uuid references public.decks (id),
    session_id uuid,
    idempotency_key text,
    attempts integer not null default 0,
    attempts_left integer not null,
    retries integer not null default 0,
    model_used text,
    tokens_input integer check (tokens_input >= 0),
    tokens_output integer check (tokens_output >= 0),
    cost_usd numeric(12, 6) check (cost_usd >= 0),
    ai_metadata jsonb not null default '{}',
    error jsonb,
    generation_id bigint references public.generations (id),
    queue_job_id bigint,
    lease_until timestamptz,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz
);
comment on column public.generation_jobs.payload is
    'the prompt''s inputs: source_text or topic, count, banlist, model, prompt_version; what a user wrote is erased after success';
comment on column public.generation_jobs.attempts is 'begun so far; the number of the running one is what its writes are checked against';
comment on column public.generation_jobs.attempts_left is 'until the next success of a batch, before it fails for good';
comment on column public.generation_jobs.retries is 'asked for by the user';
comment on column public.generation_jobs.queue_job_id is 'the one entry of the queue that may start this job';
comment on column public.generation_jobs.lease_until is 'when a process of the API runs it: until then it is alive';
comment on column public.generation_jobs.generation_id is 'the analytics row of its success';
create index generation_jobs_user_id on public.generation_jobs (user_id, created_at desc, id desc);
create index generation_jobs_deck_id on public.generation_jobs (deck_id, created_at desc) where deck_id is not null;
create unique index generation_jobs_one_in_flight on public.generation_jobs (deck_id)
    where deck_id is not null and status in ('pending', 'running');
create unique index generation_jobs_idempotency_key on public.generation_jobs (user_id, idempotency_key);
create index generation_jobs_in_flight on public.generation_jobs (user_id, created_at)
    where status in ('pending', 'running');
create index generation_jobs_to_erase on public.generation_jobs (finished_at) where has_text;
create index generation_jobs_failed on public.generation_jobs (finished_at) where status = 'failed';

create table public.ai_suggestions (
    id uuid primary key default gen_random_uuid(),
    generation_id uuid not null references public.generation_jobs (id) on delete cascade,
    user_id uuid not null,
    deck_id uuid references public.decks (id),
    position integer not null check (position >= 1),
    front text not null,
    back text not null,
    front_hash text not null check (front_hash ~ '^[0-9a-f]{64}$'),
    status text not null default 'proposed' check (status in ('proposed', 'accepted', 'accepted_edited', 'rejected')),
    created_at timestamptz not null default now(),
    edited boolean not null default false,
    reviewed_at timestamptz,
    unique (generation_id, position)
);
comment on column public.ai_suggestions.front_hash is 'of the normalised front that the model wrote: what makes two pairs of a deck alike';
create unique index ai_suggestions_once_a_deck on public.ai_suggestions (deck_id, front_hash) where deck_id is not null;
create index ai_suggestions_created_at on public.ai_suggestions (created_at);

create table public.usage_ledger (
    id bigint generated always as identity primary key,
    user_id uuid not null,
    job_id uuid not null unique,
    kind text not null,
    amount integer not null default 1 check (amount > 0),
    created_at timestamptz not null default now()
);
comment on table public.usage_ledger is 'append-only: one row for each generation that succeeded';
create index usage_ledger_user_id on public.usage_ledger (user_id, created_at);

create table public.generation_events (
    id bigint generated always as identity primary key,
    user_id uuid not null,
    job_id uuid not null,
    event text not null check (
        event in ('ai_generation_requested', 'ai_generation_succeeded', 'ai_generation_failed', 'ai_generation_retried')
    ),
    created_at timestamptz not null default now()
);
create index generation_events_job_id on public.generation_events (job_id);

create table recto.alerts (
    only_row boolean primary key default true check (only_row),
    covered_until timestamptz not null default now(),
    sent_at timestamptz not null default to_timestamp(0)
);
comment on table recto.alerts is 'failures up to covered_until have been told; the last message went out at sent_at';
insert into recto.alerts default values;

-- A deck may be made of a topic in place of a text: then hash and length are the topic's.
alter table public.generation_error_logs
    add column job_id uuid,
    add column is_topic boolean not null default false,
    drop constraint generation_error_logs_source_text_length_check,
    add constraint generation_error_logs_source_text_length_check
        check (source_text_length between case when is_topic then 1 else 1000 end and 10000);
alter table public.generations
    add column is_topic boolean not null default false,
    drop constraint generations_source_text_length_check,
    add constraint generations_source_text_length_check
        check (source_text_length between case when is_topic then 1 else 1000 end and 10000);

-- Who waits for a job is told of every change; the payload is the job's id.
create function recto.notify_job_changed() returns trigger language plpgsql as $$
begin
    perform pg_notify('recto_generation_jobs', new.id::text);
    return null;
end
$$;
create trigger notify_job_changed after update on public.generation_jobs
    for each row execute function recto.notify_job_changed();

do $$
declare
    table_name text;
begin
    foreach table_name in array array['decks', 'generation_jobs', 'ai_suggestions', 'usage_ledger', 'generation_events'] loop
        execute format('alter table public.%I enable row level security', table_name);
        execute format('grant select on public.%I to authenticated, recto_service', table_name);
        execute format(
            'create policy own_rows on public.%I for select to authenticated using ((select auth.uid()) = user_id)', table_name
        );
        execute format(
            'create policy service on public.%I to recto_service using'
            ' ((select recto.acting_user()) is null or user_id = (select recto.acting_user()))', table_name
        );
    end loop;
end
$$;
grant insert on public.decks, public.usage_ledger, public.generation_events to recto_service;
grant insert, update on public.generation_jobs to recto_service;
grant insert, update, delete on public.ai_suggestions to recto_service;
grant select, update on recto.alerts to recto_service;
