"""Connections to PostgreSQL, and the identity under which rows are read and written."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any
from uuid import UUID, uuid4

import psycopg
from gevent.monkey import is_module_patched
from gevent.socket import wait_read, wait_readwrite, wait_write
from psycopg import Connection, OperationalError
from psycopg_pool import ConnectionPool

from recto.telemetry import log

Pool = ConnectionPool[Connection]

# What passes once the database is back: no connection, a lost one, or a server that takes no writes, as a standby does,
# or Supabase while the disk is full. A pool that has no connection to give raises an ``OperationalError``, too.
AWAY = (OperationalError, psycopg.errors.ReadOnlySqlTransaction)

_TRANSACTION_POOLER_PORT = 6543

# Who listens hears of a notification within milliseconds.
_HEARS_WITHIN_S = 2.0

_CONNECT_TIMEOUT_S = 5

# By URL, whether sessions are kept there.
_found: dict[str, bool] = {}
_finding_out = Lock()

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


def keeps_sessions(conn: Connection, database_url: str) -> bool:
    """Whether consecutive transactions meet the same server session: else nothing can be prepared or listened to.

    They do not behind a pooler in transaction mode. Supabase's is known by its port; any other is found out by the
    first connection of the process. ``conn`` is one to ``database_url``, in autocommit mode. Raises ``psycopg.Error``.
    """
    with _finding_out:
        if database_url not in _found:
            _found[database_url] = _find_out(conn, database_url)
        return _found[database_url]


def _find_out(conn: Connection, database_url: str) -> bool:
    if conn.info.port == _TRANSACTION_POOLER_PORT:
        return False
    # A pooler tells its clients a process id that is not the server's.
    if conn.execute("select pg_backend_pid()").fetchone() == (conn.info.backend_pid,):
        return True
    # In transaction mode an idle client has no server, so it hears of nothing. The server that has listened for it goes
    # on, to a channel of which nobody hears again.
    with connect(database_url) as idle, connect(database_url) as other:
        channel = f"asked_{uuid4().hex}"
        idle.execute(f"listen {channel}")
        other.execute(f"notify {channel}")
        hears = any(idle.notifies(timeout=_HEARS_WITHIN_S, stop_after=1))
    log.info("pooler_found", keeps_sessions=hears)
    return hears


def connect(database_url: str) -> Connection:
    """Open a connection in autocommit mode that is no pool's."""
    return psycopg.connect(database_url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S)


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

    def configure(conn: Connection) -> None:
        if not keeps_sessions(conn, database_url):
            conn.prepare_threshold = None

    pool: Pool = ConnectionPool(
        database_url,
        connection_class=_GreenConnection if is_module_patched("select") else Connection,
        min_size=size,
        max_size=size,
        timeout=10,
        reconnect_timeout=_RECONNECT_FOR_S,
        kwargs={"autocommit": True, "connect_timeout": _CONNECT_TIMEOUT_S},
        configure=configure,
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
