-- Answers that are given again when their request is repeated under the same key. They hold proposals, so the table is
-- the service's alone.
create table recto.idempotency_keys (
    user_id uuid not null,
    key text not null,
    request_hash text not null,
    locked_until timestamptz not null,
    status integer,
    body bytea,
    location text,
    created_at timestamptz not null default now(),
    primary key (user_id, key)
);
comment on column recto.idempotency_keys.locked_until is 'of the request that holds the key; once over without an answer, the next one takes it';
create index idempotency_keys_created_at on recto.idempotency_keys (created_at);
alter table recto.idempotency_keys enable row level security;
grant select, insert, update, delete on recto.idempotency_keys to recto_service;
create policy service on recto.idempotency_keys to recto_service
    using ((select recto.acting_user()) is null or user_id = (select recto.acting_user()));
