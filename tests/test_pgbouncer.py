"""Behind a real PgBouncer, at a port that says nothing: what needs a session is used where there is one."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from uuid import uuid4

import psycopg
import pytest
import requests
from tests import pgbouncer
from tests.api.test_event_streams import events, of

from recto.db import migrations
from recto.db.listener import Listener
from recto.db.pool import open_pool

from .conftest import SOURCE_TEXT, until

pytestmark = pytest.mark.soak  # they fetch a package, and take twenty seconds

LEFT = (
    "select pg_backend_pid(), current_setting('role'), coalesce(current_setting('request.jwt.claims', true), ''),"
    " (select count(*) from pg_prepared_statements),"
    " (select count(*) from pg_listening_channels() as channel where channel like 'recto_%')"
)


@pytest.fixture(scope="module")
def command(short_folder):
    folder = short_folder / "pgbouncer"
    folder.mkdir()
    return pgbouncer.get(folder) or pytest.fail(pgbouncer.MISSING, pytrace=False)


@pytest.fixture
def behind(command, short_folder, free_port):
    """Run PgBouncer before a database: `with behind(database, mode="transaction", servers=2) as url`."""

    def run(database, **how):
        return pgbouncer.running(command, database, short_folder, free_port, **how)

    return run


@pytest.mark.parametrize(("mode", "keeps_sessions"), [("transaction", False), ("session", True)])
def test_where_a_pooler_keeps_sessions_statements_are_prepared_and_notifications_heard(
    behind, database, mode, keeps_sessions
):
    heard, listens = [], Event()
    with behind(database, mode=mode, servers=4 if keeps_sessions else 2) as url, closing(open_pool(url, 3)) as pool:
        listener = Listener(url, "a_channel", heard.append, listens.set)
        listener.start()

        def multiples(factor):
            found = []
            for number in range(100):
                with pool.connection() as conn:
                    found += conn.execute(f"select {factor} * %s", (number,)).fetchone()
            return found

        with ThreadPoolExecutor(3) as threads:
            found = list(threads.map(multiples, (2, 3, 5)))
        assert found == [[factor * number for number in range(100)] for factor in (2, 3, 5)]
        with pool.connection() as conn:
            assert (conn.prepare_threshold is not None) is keeps_sessions
        if keeps_sessions:
            assert listens.wait(20)
            with psycopg.connect(database, autocommit=True) as conn:
                conn.execute("notify a_channel, 'news'")
            until(lambda: heard == ["news"])
        else:
            listener._thread.join(20)
            assert not listener._thread.is_alive()
        listener.close()
    assert listens.is_set() is keeps_sessions


def test_all_that_recto_does_goes_over_two_connections(behind, empty_database, start_service, start_worker):
    with behind(empty_database, mode="transaction", servers=2) as url:
        with ThreadPoolExecutor(2) as threads:
            applied = sorted(len(done.files) for done in threads.map(migrations.migrate, (url, url)))
        assert applied == [0, len(list(migrations.SQL_FOLDER.glob("*.sql")))]
        with (
            start_service(DATABASE_URL=url, DATABASE_POOL_SIZE="4", WEB_CONCURRENCY="2") as service,
            start_worker(DATABASE_URL=url, concurrency=4),
            ThreadPoolExecutor(8) as threads,
        ):
            users = [uuid4() for _ in range(4)]
            _assert_records_are_their_users(service, threads, users * 3)
            _assert_a_request_is_done_once(service, users[0])
            _assert_jobs_are_done_and_are_their_users(service, threads, users)
        assert _rows(empty_database, "generations") == 4 * 3 + 1 + 4
        _assert_nothing_is_left_on_the_servers(url)


def _assert_records_are_their_users(service, threads, users):
    answers = list(threads.map(lambda user: service.post(user_id=user), users))
    assert [answer.status_code for answer in answers] == [200] * len(users)
    ids = [answer.json()["generation_id"] for answer in answers]
    lists = threads.map(lambda user: _call(service, user, "/generations").json()["generations"], users)
    for user, listed in zip(users, lists, strict=True):
        assert {row["id"] for row in listed} == {id_ for id_, owner in zip(ids, users, strict=True) if owner == user}
    found = threads.map(lambda user: _call(service, user, f"/generations/{ids[0]}").status_code, users)
    assert list(found) == [200 if user == users[0] else 404 for user in users]


def _assert_a_request_is_done_once(service, user):
    headers = {"Idempotency-Key": "a-key"}
    first, again = (
        _call(service, user, "/generations", json={"source_text": SOURCE_TEXT}, headers=headers) for _ in range(2)
    )
    assert first.status_code == again.status_code == 200
    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"


def _assert_jobs_are_done_and_are_their_users(service, threads, users):
    def start(user):
        return _call(service, user, "/ai/generations", json={"source_text": SOURCE_TEXT}).json()["generation_id"]

    def waited_for(user, job):
        return _call(service, user, f"/ai/generations/{job}?wait=25").json()["status"]

    def followed(user, job):
        with _call(service, user, f"/ai/generations/{job}/events", stream=True) as stream:
            told = list(events(stream))
        listed = _call(service, user, f"/ai/generations/{job}/suggestions").json()["suggestions"]
        assert listed
        assert of(told, "suggestion") == listed
        return told[-1][1]["status"]

    jobs = list(threads.map(start, users))
    ends = threads.map(lambda look, *of: look(*of), [waited_for, followed] * 2, users, jobs)
    assert list(ends) == ["succeeded"] * 4
    found = threads.map(lambda user: _call(service, user, f"/ai/generations/{jobs[0]}").status_code, users)
    assert list(found) == [200, 404, 404, 404]


def _assert_nothing_is_left_on_the_servers(url):
    """Neither an identity, nor a statement, nor a listener: the next client would have it."""
    with psycopg.connect(url) as one, psycopg.connect(url) as other:
        (pid, *first), (other_pid, *second) = (conn.execute(LEFT).fetchone() for conn in (one, other))
    assert pid != other_pid
    assert first == second == ["none", "", 0, 0]


def _call(service, user, path, *, headers=None, **kwargs):
    headers = {"Authorization": f"Bearer {service.token(user)}", "Connection": "close"} | (headers or {})
    return requests.request("POST" if "json" in kwargs else "GET", f"{service.url}{path}", headers=headers, **kwargs)


def _rows(database, table):
    with psycopg.connect(database) as conn:
        return conn.execute(f"select count(*) from {table}").fetchone()[0]
