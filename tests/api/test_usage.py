"""The monthly quota: what counts, what is reserved, and that nobody gets past it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import tzset
from uuid import uuid4

import pytest

from recto.db import usage

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15
BODY = {"source_text": TEXT}
BAD = {"source_text": f"{TEXT}\n[sandbox: http-402]"}


def told(client):
    read = client.get("/usage").json
    return read["limit"], read["used"], read["reserved"]


def test_each_success_counts_once_whatever_the_route(open_client):
    client = open_client(quota_generations_per_month=10)
    assert told(client) == (10, 0, 0)
    client.post("/generations", json=BODY)
    client.post("/sessions/ai", json=BODY)
    client.post("/ai/generations", json=BODY)
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "Rome", "count": 30})
    assert told(client) == (10, 2, 2)
    client.work()
    assert told(client) == (10, 4, 0)
    assert {row["amount"] for row in client.rows("usage_ledger")} == {1}
    assert told(open_client(quota_generations_per_month=10)) == (10, 0, 0)


def test_the_synchronous_door_answers_and_records_the_same_with_a_quota(open_client):
    client = open_client(quota_generations_per_month=10)
    answer = client.post("/generations", json=BODY)
    assert set(answer.json) == {
        "generation_id",
        "flashcards_proposals",
        "generated_count",
        "dropped",
        "incomplete",
        "language",
    }
    (record,) = client.rows("generations")
    assert (record["id"], record["generated_count"]) == (answer.json["generation_id"], answer.json["generated_count"])
    failed = client.post("/generations", json=BAD)
    assert (failed.status_code, failed.json["error"]) == (502, "upstream_refused")
    (log,) = client.rows("generation_error_logs")
    assert log["error_code"] == "upstream_http_error_402"
    stored = str(client.rows("generation_jobs")) + str(client.query("select * from ai_suggestions"))
    assert "Rosetta" not in stored
    assert client.get("/ai/generations").json["generations"] == []
    assert client.rows("generation_events") == client.query("select * from generation_attempts") == []


def test_failures_cost_nothing_and_a_retry_nothing_until_it_succeeds(open_client):
    client = open_client(quota_generations_per_month=1)
    for path in ("/generations", "/sessions/ai"):
        assert client.post(path, json=BAD).status_code == 502
    assert told(client) == (1, 0, 0)
    client.query(
        "update generation_jobs set finished_at = finished_at - interval '10 s', payload = jsonb_set(payload,"
        " '{source_text}', to_jsonb(split_part(payload ->> 'source_text', '[', 1))) where kind = 'session'"
    )
    job = next(row for row in client.rows("generation_jobs") if row["kind"] == "session")
    assert client.post(f"/sessions/ai/{job['id']}/retry").status_code == 200
    assert told(client) == (1, 1, 0)


@pytest.mark.parametrize(
    "path",
    ["/generations", "/sessions/ai", "/ai/generations", "/decks/00000000-0000-4000-8000-00000000000d/generation"],
)
def test_over_the_quota_nothing_is_begun(open_client, path):
    client = open_client(quota_generations_per_month=1)
    client.post(json=BODY)
    body = {"topic": "Rome", "count": 3} if "decks" in path else BODY
    refused = client.post(path, json=body)
    assert (refused.status_code, refused.json["error"]) == (429, "quota_exceeded")
    assert f"{datetime.now(UTC):%Y-%m}" not in refused.json["message"]  # the next month's
    reset_at = datetime.fromisoformat(client.get("/usage").json["resets_at"])
    assert int(refused.headers["Retry-After"]) == pytest.approx((reset_at - datetime.now(UTC)).total_seconds(), abs=60)
    assert len(client.rows("generation_jobs")) == 1


def test_a_failed_generation_cannot_be_retried_over_the_quota(open_client):
    client = open_client(quota_generations_per_month=1)
    job_id = client.post("/sessions/ai", json=BAD).json["generation_id"]
    client.post(json=BODY)
    client.query("update generation_jobs set finished_at = finished_at - interval '10 s'")
    assert client.post(f"/sessions/ai/{job_id}/retry").json["error"] == "quota_exceeded"


def test_of_twenty_at_once_five_get_the_five_that_are_left(open_client):
    client = open_client(quota_generations_per_month=7)
    for _ in range(2):
        client.post(json=BODY)
    slow = {"source_text": f"{TEXT}\n[sandbox: slow]"}
    paths = ["/generations", "/sessions/ai", "/ai/generations", "/api/generations"] * 5
    with ThreadPoolExecutor(20) as threads:
        statuses = list(threads.map(lambda path: client.post(path, json=slow).status_code, paths))
    assert sum(status in (200, 202) for status in statuses) == 5
    assert statuses.count(429) == 15
    client.work()
    assert told(client) == (7, 7, 0)


def test_a_month_begins_anew(open_client):
    client = open_client(quota_generations_per_month=1)
    client.post(json=BODY)
    assert client.post(json=BODY).status_code == 429
    client.query("update usage_ledger set created_at = date_trunc('month', now() at time zone 'utc') - interval '1 s'")
    assert client.post(json=BODY).status_code == 200


def test_a_month_is_utcs_whatever_the_machines_time_zone(client, monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")  # 14 hours ahead
    tzset()
    try:
        resets_at = datetime.fromisoformat(client.get("/usage").json["resets_at"])
    finally:
        monkeypatch.undo()
        tzset()
    assert (resets_at.utcoffset(), resets_at.day, resets_at.hour) == (timedelta(0), 1, 0)


def test_what_a_dead_process_had_reserved_is_free_again(open_client):
    client = open_client(quota_generations_per_month=1)
    client.post(json=BAD)
    client.query("update generation_jobs set status = 'running', lease_until = now() + interval '1 h'")
    assert told(client) == (1, 0, 1)
    client.query("update generation_jobs set lease_until = now()")
    assert told(client) == (1, 0, 0)


def test_without_a_quota_the_synchronous_door_makes_no_job(client):
    client.post(json=BODY)
    assert client.rows("generation_jobs") == client.rows("usage_ledger") == []
    assert told(client) == (None, 0, 0)


@pytest.mark.parametrize(("month", "next_month"), [((2026, 11), (2026, 12)), ((2026, 12), (2027, 1))])
def test_the_reset_is_the_next_months_first_moment(client, monkeypatch, month, next_month):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(*month, 30, 23, 59, tzinfo=tz)

    monkeypatch.setattr(usage, "datetime", Clock)
    assert usage.find(client.runtime.pool, client.user_id, None).resets_at == datetime(*next_month, 1, tzinfo=UTC)
