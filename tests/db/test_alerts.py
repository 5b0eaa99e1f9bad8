"""Alerts: what a webhook is told of jobs that failed for good."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from structlog.testing import capture_logs

from recto.db import alerts
from recto.jobs.worker import alert

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15
BAD = {"source_text": f"{TEXT}\n[sandbox: http-402]"}


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
    client.query("update recto.alerts set sent_at = now() - interval '55 s'")
    alert(client.runtime)
    assert len(hook.got) == 1
    client.query("update recto.alerts set sent_at = now() - interval '60 s'")
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


def test_a_failure_that_commits_after_an_alert_is_reported_by_the_next(open_client, hook):
    client = open_client(alert_webhook_url=hook.url)
    client.post("/sessions/ai", json=BAD)
    client.post("/sessions/ai", json=BAD)
    # As if its transaction had begun before the alert and ended after it: its time is older than the alert's.
    late = client.rows("generation_jobs")[0]["id"]
    client.query(f"update generation_jobs set status = 'running' where id = '{late}'")
    alert(client.runtime)
    client.query("update generation_jobs set status = 'failed', finished_at = finished_at - interval '1 second'")
    minute_passes(client)
    alert(client.runtime)
    assert [message["text"].partition(" for good")[0] for message in hook.got] == ["Recto: 1 generation failed"] * 2


def test_a_failure_older_than_a_day_is_no_news(open_client, hook):
    client = open_client(alert_webhook_url=hook.url)
    client.post("/sessions/ai", json=BAD)
    client.query("update generation_jobs set finished_at = now() - interval '25 hours'")
    alert(client.runtime)
    assert hook.got == []
    client.post("/sessions/ai", json=BAD)
    alert(client.runtime)
    assert hook.got == [{"text": "Recto: 1 generation failed for good: 1 × upstream_http_error_402."}]


def test_one_worker_of_several_sends_the_alert(open_client, hook):
    client = open_client(alert_webhook_url=hook.url)
    client.post("/sessions/ai", json=BAD)
    assert alerts.due(client.runtime.pool)
    assert alerts.due(client.runtime.pool) is None


def test_a_job_that_fails_again_is_reported_again(open_client, hook):
    client = open_client(alert_webhook_url=hook.url)
    job_id = client.post("/sessions/ai", json=BAD).json["generation_id"]
    alert(client.runtime)
    client.query("update generation_jobs set finished_at = finished_at - interval '10 seconds'")
    assert client.post(f"/sessions/ai/{job_id}/retry").status_code == 502
    minute_passes(client)
    alert(client.runtime)
    assert len(hook.got) == 2


def test_a_failure_that_only_its_caller_saw_is_no_alert(open_client, hook):
    client = open_client(alert_webhook_url=hook.url, quota_generations_per_month=5)
    assert client.post(json=BAD).status_code == 502
    alert(client.runtime)
    assert hook.got == []
