"""Generations that are waited for and kept, and the retry of failed ones."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import requests
from tests.conftest import until

from recto.db import claims

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15
BODY = {"source_text": TEXT}
ASYNC = {"Prefer": "respond-async"}


def fail(client, fault="http-402"):
    """Have a session fail; return its id."""
    failed = client.post("/sessions/ai", json={"source_text": f"{TEXT}\n[sandbox: {fault}]"})
    assert failed.status_code == 502
    return failed.json["generation_id"]


def mend(client):
    """What made the stored text fail is gone."""
    client.query(
        "update generation_jobs set payload = jsonb_set(payload, '{source_text}',"
        " to_jsonb(split_part(payload ->> 'source_text', chr(10), 1)))"
    )


def later(client, seconds):
    client.query(f"update generation_jobs set finished_at = finished_at - interval '{seconds} seconds'")


def retry(client, job_id, **kwargs):
    return client.post(f"/sessions/ai/{job_id}/retry", **kwargs)


@pytest.mark.parametrize("path", ["/sessions/ai", "/api/sessions/ai"])
def test_a_session_brings_proposals_that_can_be_reviewed(client, path):
    answer = client.post(path, json=BODY)
    assert answer.status_code == 200
    session, generation, meta = (answer.json[name] for name in ("session", "generation", "meta"))
    assert set(session) == {"id", "proposals"}
    assert (generation["kind"], generation["status"]) == ("session", "succeeded")
    assert generation["suggestions_count"] == len(session["proposals"]) > 2
    assert meta["quota"]["limit"] is None
    assert meta["quota"]["used"] == 1
    location = f"/ai/generations/{generation['generation_id']}"
    assert client.get(location).json == generation
    assert client.get(f"{location}/suggestions").json["suggestions"] == session["proposals"]


def test_a_failed_session_names_what_can_be_retried_and_is_in_the_error_logs(client):
    failed = client.post("/sessions/ai", json={"source_text": f"{TEXT}\n[sandbox: timeout]"})
    assert (failed.status_code, failed.json["error"]) == (502, "upstream_timeout")
    read = client.get(f"/ai/generations/{failed.json['generation_id']}").json
    assert (read["status"], read["error"]["code"]) == ("failed", "upstream_timeout")
    (log,) = client.rows("generation_error_logs")
    assert str(log["job_id"]) == failed.json["generation_id"]


def test_a_retry_takes_the_stored_text_in_the_same_row(client):
    job_id = fail(client)
    mend(client)
    later(client, 10)
    answer = retry(client, job_id)
    assert answer.status_code == 200
    assert answer.json["generation"]["generation_id"] == job_id
    assert (answer.json["generation"]["retries"], answer.json["generation"]["attempts"]) == (1, 2)
    assert answer.json["session"]["proposals"]
    assert len(client.rows("generation_jobs")) == len(client.rows("generations")) == 1
    assert [row["event"].removeprefix("ai_generation_") for row in client.rows("generation_events")] == [
        *("requested", "failed", "retried", "succeeded")
    ]


def test_a_retry_that_fails_again_is_one_more_error_and_says_when_to_come_back(client):
    job_id = fail(client)
    later(client, 10)
    failed = retry(client, job_id)
    assert (failed.status_code, failed.json["generation_id"]) == (502, job_id)
    assert len(client.rows("generation_error_logs")) == 2


def test_each_retry_has_to_wait_longer_and_after_five_the_text_is_erased(client):
    job_id = fail(client)
    for wait_s in (10, 20, 40, 80, 160):
        refused = retry(client, job_id)
        assert (refused.status_code, refused.json["error"]) == (429, "rate_limited")
        assert wait_s - 5 < int(refused.headers["Retry-After"]) <= wait_s
        later(client, wait_s)
        failed = retry(client, job_id)
        assert failed.status_code == 502
        again_after_s = failed.headers.get("Retry-After")
        assert again_after_s is None if wait_s == 160 else 2 * wait_s - 5 < int(again_after_s) <= 2 * wait_s
    assert client.query("select has_text from generation_jobs") == [{"has_text": False}]
    gone = retry(client, job_id)
    assert (gone.status_code, gone.json["error"]) == (410, "expired")
    assert client.get(f"/ai/generations/{job_id}").json["retry_at"] is None


def test_a_retry_in_the_background_is_done_by_a_worker(client):
    job_id = fail(client)
    mend(client)
    later(client, 10)
    accepted = retry(client, job_id, headers=ASYNC)
    assert accepted.status_code == 202
    assert accepted.headers["Preference-Applied"] == "respond-async"
    assert accepted.json["generation"]["status"] == "pending"
    assert client.work() == ["succeeded"]
    assert client.get(f"/ai/generations/{job_id}").json["retries"] == 1


def test_a_background_generation_can_be_retried_while_one_waits(client):
    client.post("/ai/generations", json={"source_text": f"{TEXT}\n[sandbox: http-402]"})
    client.work()
    mend(client)
    later(client, 10)
    assert retry(client, client.rows("generation_jobs")[0]["id"]).status_code == 200


def test_what_cannot_be_retried_says_why(client, open_client):
    succeeded = client.post("/sessions/ai", json=BODY).json["generation"]["generation_id"]
    pending = client.post("/ai/generations", json=BODY).json["generation_id"]
    running = client.post("/ai/generations", json=BODY).json["generation_id"]
    client.query(f"update generation_jobs set run_at = now() + interval '1 min' where id = '{pending}'")
    assert str(client.claim().job_id) == running
    canceled = client.post("/ai/generations", json=BODY).json["generation_id"]
    client.delete(f"/ai/generations/{canceled}")
    others = fail(open_client())
    answers = {
        "not-a-uuid": (400, "invalid_request"),
        str(uuid4()): (404, "not_found"),
        others: (404, "not_found"),
        succeeded: (409, "already_succeeded"),
        pending: (409, "in_progress"),
        running: (409, "in_progress"),
        canceled: (410, "expired"),
    }
    for job_id, expected in answers.items():
        refused = retry(client, job_id)
        assert (refused.status_code, refused.json["error"]) == expected


def test_after_the_window_nothing_can_be_retried(open_client):
    client = open_client(retry_window_hours=1)
    job_id = fail(client)
    later(client, 3601)
    assert retry(client, job_id).status_code == 410


def test_of_two_retries_at_once_exactly_one_proceeds(client):
    job_id = fail(client)
    client.query(
        "update generation_jobs set payload = jsonb_set(payload, '{source_text}',"
        " to_jsonb(replace(payload ->> 'source_text', 'http-402', 'slow')))"
    )
    later(client, 10)
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: retry(client, job_id).status_code, range(8)))
    assert sorted(statuses) == [200] + [409] * 7
    assert len(client.rows("generations")) == 1


def test_a_session_whose_process_died_can_be_retried_once_its_lease_is_over(client):
    job_id = fail(client)
    mend(client)
    client.query(
        "update generation_jobs set status = 'running', attempts = 2, finished_at = null,"
        " lease_until = now() + interval '1 h'"
    )
    assert retry(client, job_id).status_code == 409
    client.query("update generation_jobs set lease_until = now()")
    assert retry(client, job_id).status_code == 200
    assert [row["error_code"] for row in client.rows("generation_error_logs")][1:] == ["worker_lost"]


@pytest.mark.parametrize("abandoned", [True, False])
def test_a_session_whose_job_was_taken_from_it_says_what_became_of_it(client, abandoned):
    """Its process was stopped for longer than its lease, or its user canceled it."""
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(client.post, "/sessions/ai", json={"source_text": f"{TEXT}\n[sandbox: slow]"})
        (job,) = until(lambda: client.query("select id from generation_jobs where status = 'running'"))
        if abandoned:
            client.query("update generation_jobs set lease_until = now() - interval '1 s'")
            assert claims.recover_abandoned(client.runtime.pool) == job["id"]
        else:
            client.delete(f"/ai/generations/{job['id']}")
    if abandoned:
        assert (answer.result().status_code, answer.result().json["error"]) == (500, "internal_error")
        assert answer.result().json["generation_id"] == str(job["id"])
        assert answer.result().headers["Retry-After"]
        later(client, 10)
        assert retry(client, job["id"]).status_code == 200
    else:
        assert (answer.result().status_code, answer.result().json["error"]) == (410, "expired")
    assert client.query("select 1 from generation_attempts where tokens_input is null") == []


def test_sessions_through_the_running_service(service):
    headers = {"Authorization": f"Bearer {service.token()}", "Connection": "close"}
    url = f"{service.url}/api/sessions/ai"
    assert requests.post(url, json=BODY, headers=headers, timeout=30).status_code == 200
    body = {"source_text": f"{TEXT}\n[sandbox: http-402]"}
    failed = requests.post(url, json=body, headers=headers, timeout=30)
    assert failed.status_code == 502
    refused = requests.post(f"{url}/{failed.json()['generation_id']}/retry", headers=headers, timeout=30)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")
