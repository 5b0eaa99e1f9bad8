"""The tables of jobs: who may see and write what, and what the upkeep does to them."""

import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import uuid4

import psycopg
import pytest
from structlog.testing import capture_logs

from recto.db import upkeep
from recto.db.pool import as_service, as_user
from recto.jobs.upkeep import alert, erase

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15
BODY = {"source_text": TEXT}
BAD = {"source_text": f"{TEXT}\n[sandbox: http-402]"}
TABLES = ("decks", "generation_jobs", "ai_suggestions", "usage_ledger", "generation_events")


def fill(client):
    """Leave rows in every table."""
    client.post("/sessions/ai", json=BODY)
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "Rome", "count": 3})
    client.work()


@pytest.fixture
def two(client, open_client):
    """Two users with rows of their own."""
    other = open_client()
    for each in (client, other):
        fill(each)
    return client, other


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("acting", [as_user, as_service])
def test_a_query_that_forgets_its_user_still_sees_own_rows_only(two, table, acting):
    for client in two:
        with acting(client.runtime.pool, client.user_id) as conn:
            assert conn.execute(f"select distinct user_id from {table}").fetchall() == [(client.user_id,)]


@pytest.mark.parametrize("table", TABLES)
def test_the_worker_sees_everybody(two, table):
    with as_service(two[0].runtime.pool, None) as conn:
        assert len(conn.execute(f"select distinct user_id from {table}").fetchall()) == 2


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "statement", ["update {} set user_id = user_id", "delete from {}", "insert into {} default values"]
)
def test_a_users_own_role_may_write_nothing(client, table, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege), as_user(client.runtime.pool, client.user_id) as conn:
        conn.execute(statement.format(table))


def test_acting_for_one_user_the_service_cannot_touch_anothers_rows(two):
    mine, theirs = two
    for statement in ("update generation_jobs set retries = 9", "delete from ai_suggestions"):
        with as_service(mine.runtime.pool, mine.user_id) as conn:
            conn.execute(statement)
    assert {row["retries"] for row in theirs.rows("generation_jobs") if row["user_id"] == theirs.user_id} == {0}
    assert {row["user_id"] for row in mine.rows("ai_suggestions")} == {theirs.user_id}
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
        as_service(mine.runtime.pool, mine.user_id) as conn,
    ):
        conn.execute("insert into decks (id, user_id) values (%s, %s)", (uuid4(), theirs.user_id))


@pytest.mark.parametrize("statement", ["update usage_ledger set amount = 5", "delete from usage_ledger"])
def test_the_ledger_is_append_only(client, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege), as_service(client.runtime.pool, None) as conn:
        conn.execute(statement)


def test_what_can_no_longer_be_retried_is_erased(open_client):
    client = open_client(retry_window_hours=1)
    client.post("/sessions/ai", json=BAD)
    client.post("/ai/generations", json=BODY)
    client.query("update generation_jobs set finished_at = finished_at - interval '59 min'")
    erase(client.runtime)
    assert [row["has_text"] for row in client.rows("generation_jobs")] == [True, True]
    client.query("update generation_jobs set finished_at = finished_at - interval '2 min'")
    erase(client.runtime)
    kept = {row["kind"]: row["has_text"] for row in client.rows("generation_jobs")}
    assert kept == {"session": False, "review": True}  # the one that still waits needs its text


def test_old_suggestions_and_keys_are_deleted(open_client):
    client = open_client(retention_days=30)
    client.post("/sessions/ai", json=BODY, headers={"Idempotency-Key": "old"})
    client.query("update ai_suggestions set created_at = now() - interval '30 days' where position = 1")
    client.query("update recto.idempotency_keys set created_at = now() - interval '1 day'")
    before = len(client.rows("ai_suggestions"))
    erase(client.runtime)
    assert len(client.rows("ai_suggestions")) == before - 1
    assert client.query("select 1 from recto.idempotency_keys") == []


def test_a_job_outlives_its_analytics_row(client):
    client.post("/sessions/ai", json=BODY)
    client.query("delete from generations")
    (row,) = client.rows("generation_jobs")
    assert (row["status"], row["generation_id"]) == ("succeeded", None)


def test_a_job_without_an_entry_is_queued_again(client):
    client.post("/ai/generations", json=BODY)
    assert upkeep.requeue_orphans(client.runtime.pool) == 0
    client.query("set search_path = procrastinate; delete from procrastinate_jobs")
    assert upkeep.requeue_orphans(client.runtime.pool) == 1
    assert client.work() == ["succeeded"]


def test_a_job_whose_process_is_gone_fails_when_its_lease_is_over(client):
    client.post("/sessions/ai", json=BAD)
    client.query("update generation_jobs set status = 'running', lease_until = now() + interval '1 min'")
    assert upkeep.fail_lost(client.runtime.pool) == 0
    client.query("update generation_jobs set lease_until = now()")
    assert upkeep.fail_lost(client.runtime.pool) == 1
    (row,) = client.rows("generation_jobs")
    assert (row["status"], row["error"]["log_code"], row["has_text"]) == ("failed", "worker_lost", True)


def test_what_waits_and_runs_is_measured(client):
    client.post("/ai/generations", json=BODY)
    client.query("update generation_jobs set created_at = now() - interval '1 min'")
    text = client.get("/metrics").text
    assert "recto_jobs_pending 1.0" in text
    assert "recto_jobs_running 0.0" in text
    assert 60 <= upkeep.in_flight(client.runtime.pool).jobs_oldest_pending_seconds < 70


@pytest.fixture
def hook():
    """Somebody's webhook: what it got, and the status that it answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(self.server.status)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.status = [], 200
    server.url = f"http://127.0.0.1:{server.server_address[1]}/a-secret-path"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def minute_passes(client):
    client.query("update recto.alerts set sent_at = sent_at - interval '1 min'")


def test_final_failures_are_told_once_a_minute_at_most_with_counts(open_client, hook):
    client = open_client(alert_webhook_url=hook.url)
    alert(client.runtime)
    assert hook.got == []
    client.post("/sessions/ai", json=BAD)
    alert(client.runtime)
    assert hook.got == [{"text": "Recto: 1 generation failed for good: 1 × upstream_http_error_402."}]
    for fault in ("402", "402", "400"):
        client.post("/sessions/ai", json={"source_text": f"{TEXT}\n[sandbox: http-{fault}]"})
        alert(client.runtime)
    assert len(hook.got) == 1
    minute_passes(client)
    alert(client.runtime)
    text = "Recto: 3 generations failed for good: 2 × upstream_http_error_402, 1 × upstream_http_error_400."
    assert hook.got[1:] == [{"text": text}]
    minute_passes(client)
    alert(client.runtime)
    assert len(hook.got) == 2


def test_an_alert_that_did_not_arrive_harms_nothing_and_is_told_later(open_client, hook):
    client = open_client(alert_webhook_url=hook.url)
    hook.status = 500
    client.post("/sessions/ai", json=BAD)
    with capture_logs() as logs:
        alert(client.runtime)
    assert [(line["event"], line["reason"]) for line in logs] == [("alert_not_sent", "status 500")]
    hook.status = 200
    minute_passes(client)
    alert(client.runtime)
    assert len(hook.got) == 2
    assert hook.got[0] == hook.got[1]


def test_without_a_webhook_nothing_is_told(client):
    client.post("/sessions/ai", json=BAD)
    alert(client.runtime)
    assert client.query("select 1 from recto.alerts where sent_at > to_timestamp(0)") == []


def test_a_window_may_be_a_fraction_of_an_hour(open_client):
    assert open_client(retry_window_hours=0.5).runtime.settings.retry_window == timedelta(minutes=30)
