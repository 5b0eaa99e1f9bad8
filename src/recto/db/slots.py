"""A limit over all workers: numbered locks that PostgreSQL frees when their holder's connection ends."""

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event

import psycopg

from recto.db.pool import Pool

_CLASS = 0x5EC72  # of its own among the advisory locks
_TRY = """
    select slot from generate_series(0, %s - 1) slot where pg_try_advisory_lock(%s, slot) limit 1
"""
_LONGEST_PAUSE_S = 0.1


@contextmanager
def slot(pool: Pool, slots: int, *, stopping: Event) -> Iterator[bool]:
    """Wait for one of so many slots and hold it; yield False without one once ``stopping`` is set.

    It takes a connection of the pool for as long as it waits and holds, and a session of the server's own: behind a
    transaction pooler locks would fall to whoever comes next.
    """
    with pool.connection() as conn:
        while (row := conn.execute(_TRY, (slots, _CLASS)).fetchone()) is None:
            if stopping.wait(random.uniform(0, _LONGEST_PAUSE_S)):  # noqa: S311  keeps workers out of step
                yield False
                return
        try:
            yield True
        finally:
            with suppress(psycopg.Error):  # a broken connection has given its locks back
                conn.execute("select pg_advisory_unlock(%s, %s)", (_CLASS, row[0]))
