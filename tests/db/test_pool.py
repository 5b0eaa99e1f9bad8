"""Connections: how long they are waited for, what they remember, and whose rows they see."""

from contextlib import closing
from uuid import uuid4

import psycopg
import pytest

from recto.db.pool import as_service, as_user, as_worker, open_pool

SESSION = "select current_setting('request.jwt.claims', true), current_setting('role'), current_setting('search_path')"


def test_nobody_waits_long_for_a_database_that_is_away():
    with closing(open_pool("postgresql://127.0.0.1:1/none", 3)) as pool:
        assert pool.timeout == 10
        assert pool.kwargs["connect_timeout"] == 5
        # After this the next request makes it try again, at once: its own pauses grow to minutes.
        assert pool.reconnect_timeout == 3
        assert (pool.min_size, pool.max_size) == (3, 3)


def test_a_restart_of_the_database_is_noticed_for_all_connections_at_once(database):
    with closing(open_pool(database, 8)) as pool:
        pool.wait()
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
                " where pid <> pg_backend_pid() and datname = current_database()"
            )
        # One by one it would take longer than a request waits.
        with pool.connection() as conn:
            assert conn.execute("select 1").fetchone() == (1,)


def test_a_statement_is_a_transaction_of_its_own(database):
    with closing(open_pool(database, 1)) as pool, pool.connection() as conn:
        conn.execute("select 1")
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


@pytest.mark.parametrize(("port", "prepared"), [("7654", True), ("6543", False)])
def test_behind_a_transaction_pooler_nothing_is_prepared(at_port, port, prepared):
    """The next statement may meet another session, which knows nothing of it."""
    with closing(open_pool(at_port(port), 1)) as pool, pool.connection() as conn:
        for _ in range(10):
            conn.execute("select 1 + %s", (1,))
        assert conn.execute("select exists (select from pg_prepared_statements)").fetchone() == (prepared,)


@pytest.mark.parametrize("role", ["authenticated", "recto_service", "recto_worker"])
def test_a_connection_keeps_nothing_of_who_used_it(database, role):
    acting = {"authenticated": as_user, "recto_service": as_service, "recto_worker": as_worker}[role]
    with closing(open_pool(database, 1)) as pool:
        with pool.connection() as conn:
            conn.execute("set search_path = elsewhere")
            before = conn.execute(SESSION).fetchone()
        with acting(pool, *([] if role == "recto_worker" else [uuid4()])) as conn:
            claims, acted_as, path = conn.execute(SESSION).fetchone()
            assert (bool(claims), acted_as, path) == (role != "recto_worker", role, "recto, public")
        with pool.connection() as conn:
            # PostgreSQL forgets a setting of ours by emptying it.
            assert [value or None for value in conn.execute(SESSION).fetchone()] == list(before)


def test_a_transaction_that_fails_writes_nothing(database):
    user_id = uuid4()
    with closing(open_pool(database, 1)) as pool:

        def insert_and_fail():
            with as_service(pool, user_id) as conn:
                conn.execute("insert into decks (id, user_id) values (%s, %s)", (uuid4(), user_id))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            insert_and_fail()
        with as_service(pool, user_id) as conn:
            assert conn.execute("select count(*) from decks").fetchone() == (0,)
