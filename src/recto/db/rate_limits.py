"""The storage in which Flask-Limiter counts: the service's own PostgreSQL, so one count serves all machines."""

from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any

import psycopg
from limits.storage import Storage
from psycopg import Connection
from pydantic_core import to_json

from recto.db.pool import Pool
from recto.db.together import Together

Windows = Sequence[tuple[str, int]]
Counts = list[tuple[int, float]]

_SWEEP_EVERY_CALLS = 1000

_HIT = """
    insert into recto.rate_limits as current (key, hits, expires_at)
    select key, hits, now() + make_interval(secs => expiry)
    from jsonb_to_recordset(%s::jsonb) as hit (key text, expiry integer, hits integer)
    on conflict (key) do update set
        hits = case when current.expires_at > now() then current.hits else 0 end + excluded.hits,
        expires_at = case when current.expires_at > now() then current.expires_at else excluded.expires_at end
    returning key, hits, extract(epoch from expires_at)::float8
"""
# Rows that another process sweeps at the same time are left to it: two sweeps never wait for each other.
_SWEEP = """
    delete from recto.rate_limits where key in (
        select key from recto.rate_limits where expires_at < now() for update skip locked limit 5000
    )
"""
_LOOK = """
    select key, hits, extract(epoch from expires_at)::float8
    from recto.rate_limits where key = any(%s) and expires_at > now()
"""
_GIVE_BACK = """
    update recto.rate_limits set hits = hits - 1 where key = %s and extract(epoch from expires_at)::float8 = %s
"""


class PostgresStorage(Storage):
    """Fixed windows that begin with a key's first hit, by the database's clock."""

    STORAGE_SCHEME = ["postgresql"]

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, *, pool: Pool, **options: Any) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        self._pool = pool
        self._calls = count(1)
        self._hits = Together(self._hit_all)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What ``wrap_exceptions`` would wrap."""
        return psycopg.Error

    def hit(self, windows: Windows, conn: Connection | None = None) -> Counts:
        """Count one hit in each window, given as key and length in seconds, in one round trip.

        With ``conn`` it is part of the caller's transaction; without it hits of several callers may share one. Returns
        the hits of each window and when it ends, in seconds since the epoch.
        """
        if conn:
            return _hit(conn, [windows])[0]
        return self._hits.write(windows)

    def _hit_all(self, callers: Sequence[Windows]) -> list[Counts]:
        with self._pool.connection() as conn:
            self._sweep(conn)
            return _hit(conn, callers)

    def look(self, keys: list[str]) -> list[tuple[int, float]]:
        """Return the hits of each key and when its window ends, without counting; zeros where none runs."""
        with self._pool.connection() as conn:
            self._sweep(conn)
            running = {key: (hits, ends) for key, hits, ends in conn.execute(_LOOK, (keys,))}
        return [running.get(key, (0, 0.0)) for key in keys]

    def give_back(self, key: str, ends: float) -> None:
        """Take back one hit, unless the window that it was counted in, the one that ``ends`` then, is over."""
        with self._pool.connection() as conn:
            conn.execute(_GIVE_BACK, (key, ends))

    def _sweep(self, conn: Connection) -> None:
        """Delete ended windows from time to time. In a longer transaction its row locks could cause a deadlock."""
        if next(self._calls) % _SWEEP_EVERY_CALLS == 0:
            conn.execute(_SWEEP)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count a hit in the key's window, which lasts ``expiry`` seconds, and return its hits."""
        if amount != 1:
            raise NotImplementedError("every request weighs the same here")
        ((hits, _),) = self.hit([(key, expiry)])
        return hits

    def get(self, key: str) -> int:
        """Return the hits in the key's window."""
        ((hits, _),) = self.look([key])
        return hits

    def get_expiry(self, key: str) -> float:
        """Return when the key's window ends, in seconds since the epoch; 0 if none runs."""
        ((_, ends),) = self.look([key])
        return ends

    def check(self) -> bool:
        """Return whether the storage answers."""
        with self._pool.connection() as conn:
            return conn.execute("select 1").fetchone() is not None

    def reset(self) -> int:
        """Forget all hits and return how many keys had any."""
        with self._pool.connection() as conn:
            return conn.execute("delete from recto.rate_limits").rowcount

    def clear(self, key: str) -> None:
        """Forget the hits of one key."""
        with self._pool.connection() as conn:
            conn.execute("delete from recto.rate_limits where key = %s", (key,))


def _hit(conn: Connection, callers: Sequence[Windows]) -> list[Counts]:
    """Count one hit a caller in each of its windows, as if they came one after the other."""
    expiries = {key: expiry for windows in callers for key, expiry in windows}
    hits = Counter(key for windows in callers for key, _ in windows)
    # In one order, so that two statements never wait for each other's rows.
    rows = [{"key": key, "expiry": expiries[key], "hits": hits[key]} for key in sorted(hits)]
    ends = {}
    for key, total, end in conn.execute(_HIT, (to_json(rows).decode(),)):
        hits[key], ends[key] = total - hits[key], end
    counts = []
    for windows in callers:
        hits.update(key for key, _ in windows)
        counts.append([(hits[key], ends[key]) for key, _ in windows])
    return counts
