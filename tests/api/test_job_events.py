"""A job's suggestions as they are committed: over real sockets, over a restart of the service too."""

from contextlib import closing
from uuid import uuid4

import pytest
import requests
from tests.api.test_event_streams import TEXT, events, of
from tests.conftest import until

from recto.api import event_streams, job_events
from recto.db.listener import JobChanges

BODY = {"source_text": TEXT}


def follow(service, client, job_id, **headers):
    headers |= {"Authorization": f"Bearer {client.token()}", "Connection": "close"}
    address = f"{service.url}/ai/generations/{job_id}/events"
    return requests.get(address, headers=headers, stream=True, timeout=30)


def started(client, **body):
    return client.post("/ai/generations", json=BODY | body).json["generation_id"]


def test_suggestions_come_as_they_are_committed_and_then_the_end(client, start_service):
    deck_id = uuid4()
    job_id = client.post(f"/decks/{deck_id}/generation", json=BODY | {"count": 4}).json["generation_id"]
    with start_service(WEB_CONCURRENCY="1") as service, follow(service, client, job_id) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        until(lambda: client.query("select 1 from pg_stat_activity where query = 'listen recto_generation_jobs'"))
        client.work()
        told = list(events(stream))
    listed = client.get(f"/ai/generations/{job_id}/suggestions").json["suggestions"]
    assert of(told, "suggestion") == listed
    job = client.get(f"/ai/generations/{job_id}").json
    assert told[-1] == ("done", {name: job[name] for name in ("status", "error", "dropped", "incomplete", "language")})
    assert job["status"] == "succeeded"


def test_a_broken_stream_goes_on_after_the_last_event_over_a_restart(client, start_service):
    job_id = started(client)
    client.work()
    listed = client.get(f"/ai/generations/{job_id}/suggestions").json["suggestions"]
    with start_service(WEB_CONCURRENCY="1") as service, closing(follow(service, client, job_id)) as stream:
        ids = [line for line in stream.iter_lines(decode_unicode=True) if line.startswith("id: ")]
    assert ids == [f"id: {suggestion['position']}" for suggestion in listed] + ["id: done"]
    with start_service(WEB_CONCURRENCY="1") as service:
        with follow(service, client, job_id, **{"Last-Event-ID": "2"}) as stream:
            assert of(events(stream), "suggestion") == listed[2:]
        with follow(service, client, job_id, **{"Last-Event-ID": "done"}) as stream:
            assert [name for name, _ in events(stream)] == ["done"]


def test_a_stopping_service_ends_the_streams_so_that_callers_come_again(client, start_service):
    job_id = started(client)
    with start_service(WEB_CONCURRENCY="1") as service:
        stream = follow(service, client, job_id)
        service.process.terminate()
        assert list(events(stream)) == []
        assert service.process.wait(20) == 0  # gunicorn would wait for 56 s


def test_how_a_failed_and_a_canceled_generation_ended_is_told(client):
    failed, canceled = started(client, source_text=f"{TEXT}\n[sandbox: http-402]"), started(client)
    client.delete(f"/ai/generations/{canceled}")
    client.work()
    assert '"status":"failed","error":{"code":"upstream_refused"' in client.get(f"/ai/generations/{failed}/events").text
    told = client.get(f"/ai/generations/{canceled}/events").text
    assert told.count("event: ") == told.count("event: done\n") == 1
    assert '"status":"canceled"' in told


@pytest.mark.parametrize("last", ["x", "-1", "1" * 20, "٣"])
def test_an_id_that_no_event_has_is_refused(client, last):
    response = client.get(f"/ai/generations/{started(client)}/events", headers={"Last-Event-ID": last.encode()})
    assert (response.status_code, response.json["error"]) == (400, "invalid_request")


def test_somebody_elses_generation_is_not_found(client, open_client):
    assert open_client().get(f"/ai/generations/{started(client)}/events").status_code == 404


def test_streams_count_against_the_bound_on_waits(client, monkeypatch):
    monkeypatch.setattr(JobChanges, "MOST_WAITS_A_USER", 0)
    response = client.get(f"/ai/generations/{started(client)}/events")
    assert (response.status_code, response.json["error"]) == (429, "rate_limited")


def test_while_nothing_happens_comments_come_and_who_leaves_counts_no_more(client, monkeypatch):
    monkeypatch.setattr(event_streams, "COMMENT_EVERY_S", 0.01)
    monkeypatch.setattr(job_events, "_LOOK_EVERY_S", 0.01)
    response = client.get(f"/ai/generations/{started(client)}/events", buffered=False)
    assert [next(response.response) for _ in range(3)] == [event_streams.COMMENT] * 3
    assert client.runtime.changes._waits[client.user_id] == 1
    response.close()
    assert client.runtime.changes._waits[client.user_id] == 0
