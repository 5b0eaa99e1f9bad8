"""Connections to PostgreSQL, and the identity under which rows are read and written."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
from gevent.monkey import is_module_patched
from gevent.socket import wait_read, wait_readwrite, wait_write
from psycopg import Connection, OperationalError
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

Pool = ConnectionPool[Connection]

# What passes once the database is back: no connection, a lost one, or a server that takes no writes, as a standby does,
# or Supabase while the disk is full. A pool that has no connection to give raises an ``OperationalError``, too.
AWAY = (OperationalError, psycopg.errors.ReadOnlySqlTransaction)

_TRANSACTION_POOLER_PORT = "6543"

# Recto's tables stand in one of the two. Where that is `recto`, the app may have tables of the same names in `public`.
SEARCH_PATH = "recto, public"

# A process that was stopped in a transaction holds its locks, of which one is every worker's: the server ends it.
_IDLE_FOR = "10s"

# Left to itself the pool pauses ever longer between two tries to connect, up to minutes after a long outage. It gives
# up after this time, and the next request makes it try again.
_RECONNECT_FOR_S = 3.0


# What a statement waits for, in libpq's terms: its socket to be readable, writable, or either.
_WAITS = {1: wait_read, 2: wait_write, 3: wait_readwrite}


class _GreenConnection(Connection):
    """Waits in greenlets as gevent's sockets do: gevent's ``select.poll``, which psycopg takes there, is slow."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Run what psycopg does on a connection to its end and return its result."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            waits_for = next(gen)
            while True:
                _WAITS[waits_for](self.pgconn.socket)
                waits_for = gen.send(waits_for)
        except StopIteration as end:
            return end.value


def keeps_sessions(database_url: str) -> bool:
    """Whether consecutive transactions meet the same server session.

    They do not behind Supabase's pooler in transaction mode: there nothing can be prepared or listened to.
    """
    return conninfo_to_dict(database_url).get("port") != _TRANSACTION_POOLER_PORT


def open_pool(database_url: str, size: int) -> Pool:
    """Open ``size`` connections in the background; the database need not be up yet.

    They are in autocommit mode: one statement is one round trip, and ``conn.transaction()`` marks what is more.
    Must be called after a fork, never before one.
    """

    def check(conn: Connection) -> None:
        """Notice a server that has closed the connection before a statement does, without a round trip.

        Where one connection is dead, its neighbours are too; left to itself the pool would find out one by one, and
        pause ever longer in between.
        """
        try:
            conn.pgconn.consume_input()  # reads the server's last message, if there is one
            conn.pgconn.consume_input()  # and then the end of the stream
        except OperationalError:
            pool.drain()
            raise

    pool: Pool = ConnectionPool(
        database_url,
        connection_class=_GreenConnection if is_module_patched("select") else Connection,
        min_size=size,
        max_size=size,
        timeout=10,
        reconnect_timeout=_RECONNECT_FOR_S,
        kwargs={
            "autocommit": True,
            "prepare_threshold": 5 if keeps_sessions(database_url) else None,
            "connect_timeout": 5,
        },
        check=check,
        open=True,
        name="recto",
    )
    return pool


def is_writable(conn: Connection) -> bool:
    """Tell whether the database takes writes: a standby does not, nor does one that is set to read only."""
    row = conn.execute("select current_setting('transaction_read_only') = 'off'").fetchone()
    return row is not None and bool(row[0])


def claims(user_id: UUID) -> str:
    """Return what ``auth.uid()`` reads the user from, as Supabase's own gateway sets it."""
    return json.dumps({"sub": str(user_id), "role": "authenticated"})


@contextmanager
def as_user(pool: Pool, user_id: UUID) -> Iterator[Connection]:
    """Lend a connection in a transaction that reads only what row-level security lets this user read."""
    with _acting(pool, "authenticated", claims(user_id)) as conn:
        yield conn


@contextmanager
def as_service(pool: Pool, user_id: UUID) -> Iterator[Connection]:
    """Lend a connection in a transaction that may write what users may not, in the rows of ``user_id`` alone."""
    with _acting(pool, "recto_service", claims(user_id)) as conn:
        yield conn


@contextmanager
def as_process(pool: Pool, *, within_s: float | None = None) -> Iterator[Connection]:
    """Lend a connection in a transaction that sees no row at all, to call what may be done for many users at once.

    It is waited for ``within_s`` seconds, or as long as the pool says.
    """
    with _acting(pool, "recto_service", "", within_s) as conn:
        yield conn


@contextmanager
def as_worker(pool: Pool) -> Iterator[Connection]:
    """Lend a connection in a transaction that sees everybody's jobs. Only workers' logins may take on its role."""
    with _acting(pool, "recto_worker", "") as conn:
        yield conn


@contextmanager
def _acting(pool: Pool, role: str, claims: str, within_s: float | None = None) -> Iterator[Connection]:
    with pool.connection(timeout=within_s) as conn, conn.transaction():
        conn.execute(
            "select set_config('request.jwt.claims', %s, true), set_config('role', %s, true),"
            " set_config('search_path', %s, true), set_config('idle_in_transaction_session_timeout', %s, true)",
            (claims, role, SEARCH_PATH, _IDLE_FOR),
        )
        yield conn
