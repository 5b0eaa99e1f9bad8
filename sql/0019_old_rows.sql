-- Old rows are found by their time: `recto prune` deletes them, and what asks about the last days reads no others. In large
-- tables an operator may have made these before, without a lock (`create index concurrently`).
create index if not exists generations_created_at on public.generations (created_at);
create index if not exists generation_error_logs_created_at on public.generation_error_logs (created_at);
create index if not exists generation_attempts_started_at on public.generation_attempts (started_at);
create index if not exists generation_jobs_finished_at on public.generation_jobs (finished_at);
create index if not exists usage_ledger_created_at on public.usage_ledger (created_at);
create index if not exists synchronous_costs_created_at on recto.synchronous_costs (created_at);
