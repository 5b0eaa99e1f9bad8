"""Connections to PostgreSQL, and the identity under which a user's rows are touched."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from psycopg import Connection, OperationalError
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

Pool = ConnectionPool[Connection]

# Supabase's pooler in transaction mode, where a prepared statement may meet another server connection.
TRANSACTION_POOLER_PORT = "6543"


def open_pool(database_url: str, size: int) -> Pool:
    """Open ``size`` connections in the background; the database need not be up yet.

    They are in autocommit mode: one statement is one round trip, and ``conn.transaction()`` marks what is more.
    Must be called after a fork, never before one.
    """
    prepares = conninfo_to_dict(database_url).get("port") != TRANSACTION_POOLER_PORT

    def check(conn: Connection) -> None:
        """Meet a server that has hung up before a statement does, without a round trip.

        Where one connection is dead, its neighbours are too; left to itself the pool would find out one by one, and
        pause ever longer in between.
        """
        try:
            conn.pgconn.consume_input()  # reads the server's farewell, if it said one
            conn.pgconn.consume_input()  # and meets the end of the stream
        except OperationalError:
            pool.drain()
            raise

    pool: Pool = ConnectionPool(
        database_url,
        min_size=size,
        max_size=size,
        timeout=10,
        kwargs={"autocommit": True, "prepare_threshold": 5 if prepares else None, "connect_timeout": 5},
        check=check,
        open=True,
        name="recto",
    )
    return pool


def claims(user_id: UUID) -> str:
    """What ``auth.uid()`` reads the user from, as Supabase's own gateway sets it."""
    return json.dumps({"sub": str(user_id), "role": "authenticated"})


@contextmanager
def as_user(pool: Pool, user_id: UUID) -> Iterator[Connection]:
    """Lend a connection in a transaction that sees and writes only what row-level security lets this user."""
    with _acting(pool, "authenticated", claims(user_id)) as conn:
        yield conn


@contextmanager
def as_service(pool: Pool, user_id: UUID | None) -> Iterator[Connection]:
    """Lend a connection in a transaction with the service's own rights, which users do not have.

    For a user's request they are walled in to the rows of ``user_id``; None is for the worker, which serves everybody.
    """
    with _acting(pool, "recto_service", claims(user_id) if user_id else "") as conn:
        yield conn


@contextmanager
def _acting(pool: Pool, role: str, claims: str) -> Iterator[Connection]:
    with pool.connection() as conn, conn.transaction():
        conn.execute(
            "select set_config('request.jwt.claims', %s, true), set_config('role', %s, true),"
            " set_config('search_path', 'public, procrastinate', true)",  # the queue's own functions ask for it
            (claims, role),
        )
        yield conn
