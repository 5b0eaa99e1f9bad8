-- A request with an idempotency key is counted in the transaction that takes its key, which acts as the service.
grant select, insert, update, delete on recto.rate_limits to recto_service;

alter table recto.idempotency_keys add column retry_after text;
comment on column recto.idempotency_keys.retry_after is 'the header of the answer, as location is';
