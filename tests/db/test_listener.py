"""Waiting requests hear of changes over one connection, whatever else is sent on it."""

from threading import Event
from uuid import uuid4

import psycopg
import pytest
from tests.conftest import SOURCE_TEXT, until

from recto.db.listener import JOB_CHANGES, JobChanges, Listener


@pytest.fixture
def changes(database):
    changes = JobChanges(database)
    yield changes
    changes.close()


def notify(database, payload):
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("select pg_notify(%s, %s)", (JOB_CHANGES, payload))


def test_who_waits_hears_of_their_job_alone(database, changes):
    mine, other, user = uuid4(), uuid4(), uuid4()
    with changes.of(mine, user) as changed, changes.of(other, user) as unchanged:
        assert changed.wait(20)  # the connection: what came before it was not heard
        changed.clear()
        unchanged.clear()
        notify(database, str(mine))
        assert changed.wait(20)
        assert not unchanged.is_set()


def test_every_change_that_a_user_sees_is_notified_and_a_renewed_lease_is_not(client):
    client.post("/ai/generations", json={"source_text": SOURCE_TEXT})
    job_id, url = client.rows("generation_jobs")[0]["id"], client.runtime.settings.database_url
    heard, connected = [], Event()
    listener = Listener(url, JOB_CHANGES, heard.append, connected.set)
    listener.start()
    assert connected.wait(20)
    changes = ("status = 'running'", "lease_until = now()", "attempts_left = 1", "erased_at = now()")
    for number, change in enumerate(changes):
        client.query(f"update generation_jobs set {change}")
        notify(url, f"after {number}")
    until(lambda: heard[-1:] == ["after 3"])
    listener.close()
    it = str(job_id)
    assert heard == [it, "after 0", "after 1", it, "after 2", it, "after 3"]


@pytest.mark.parametrize("encoding", ["utf8", "sql_ascii"])  # the latter: bytes that are no text
def test_a_malformed_notification_ends_nothing(database, encoding):
    changes, job_id = JobChanges(f"{database}&client_encoding={encoding}"), uuid4()
    with changes.of(job_id, uuid4()) as changed:
        assert changed.wait(20)
        for payload in ("", "no-uuid", "0" * 7000, "é"):
            notify(database, payload)
        until(lambda: changed.clear() or notify(database, str(job_id)) or changed.wait(0.2))
    changes.close()


def test_a_broken_connection_is_made_again_and_wakes_who_waits(database, changes):
    with changes.of(uuid4(), uuid4()) as changed:
        assert changed.wait(20)
        changed.clear()
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen {JOB_CHANGES}'")
        assert changed.wait(20)


def test_a_user_has_a_bounded_number_of_waits(changes):
    user, held = uuid4(), []
    assert changes.MOST_WAITS_A_USER == 10  # as docs/api.md says
    for _ in range(changes.MOST_WAITS_A_USER):
        held.append(changes.of(uuid4(), user))
        assert held[-1].__enter__()
    with changes.of(uuid4(), user) as refused, changes.of(uuid4(), uuid4()) as others:
        assert refused is None
        assert others
    held.pop().__exit__(None, None, None)
    with changes.of(uuid4(), user) as allowed:
        assert allowed
    for each in held:
        each.__exit__(None, None, None)
    assert not changes._waits
    assert not changes._waiting


def test_behind_a_transaction_pooler_nobody_listens(at_port):
    heard = Event()
    listener = Listener(at_port("6543"), "channel", lambda _: heard.set(), heard.set)
    listener.start()
    listener._thread.join(20)
    assert not listener._thread.is_alive()
    assert not heard.is_set()
