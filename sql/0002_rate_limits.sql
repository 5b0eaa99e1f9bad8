-- Hits by key and window. UNLOGGED: after a crash of the database everybody starts with a fresh window, and no hit has
-- to wait for the disk.
create unlogged table recto.rate_limits (
    key text primary key,
    hits integer not null,
    expires_at timestamptz not null
) with (fillfactor = 50);
create index rate_limits_expires_at on recto.rate_limits (expires_at);
