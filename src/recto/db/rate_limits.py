"""The storage in which Flask-Limiter counts: the service's own PostgreSQL, so one count serves all machines."""

from itertools import count
from threading import local
from typing import Any

import psycopg
from limits.storage import Storage

from recto.db.pool import Pool

_SWEEP_EVERY_HITS = 1000

_HIT = """
    insert into recto.rate_limits as current (key, hits, expires_at)
    values (%s, %s, now() + make_interval(secs => %s))
    on conflict (key) do update set
        hits = case when current.expires_at > now() then current.hits else 0 end + excluded.hits,
        expires_at = case when current.expires_at > now() then current.expires_at else excluded.expires_at end
    returning hits, extract(epoch from expires_at)::float8
"""
# Rows that another process sweeps at the same time are left to it: two sweeps never wait for each other.
_SWEEP = """
    delete from recto.rate_limits where key in (
        select key from recto.rate_limits where expires_at < now() for update skip locked limit 5000
    )
"""
_LOOK = (
    "select hits, extract(epoch from expires_at)::float8 from recto.rate_limits where key = %s and expires_at > now()"
)


class PostgresStorage(Storage):
    """Fixed windows that begin with a key's first hit, by the database's clock.

    A hit is one atomic upsert. What it learned stays with its thread, so that the look at the window that follows a
    hit (for the response's headers) costs no second round trip.
    """

    STORAGE_SCHEME = ["postgresql"]

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, *, pool: Pool, **options: Any) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        self._pool = pool
        self._hits = count(1)
        self._learned = local()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What ``wrap_exceptions`` would wrap."""
        return psycopg.Error

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count ``amount`` more hits in the key's window, which lasts ``expiry`` seconds; return its hits."""
        with self._pool.connection() as conn:
            if next(self._hits) % _SWEEP_EVERY_HITS == 0:
                conn.execute(_SWEEP)
            window = conn.execute(_HIT, (key, amount, expiry)).fetchone()
        if window is None:  # an upsert always returns its row
            raise AssertionError(key)
        self._learned.key, self._learned.window = key, window
        return int(window[0])

    def get(self, key: str) -> int:
        """Return the hits in the key's window."""
        window = self._window(key)
        return int(window[0]) if window else 0

    def get_expiry(self, key: str) -> float:
        """Return when the key's window ends, in seconds since the epoch; 0 if none runs."""
        window = self._window(key)
        return float(window[1]) if window else 0

    def _window(self, key: str) -> tuple[Any, ...] | None:
        if getattr(self._learned, "key", None) == key:
            return self._learned.window  # type: ignore[no-any-return]
        with self._pool.connection() as conn:
            return conn.execute(_LOOK, (key,)).fetchone()

    def check(self) -> bool:
        """Tell whether the storage answers."""
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
