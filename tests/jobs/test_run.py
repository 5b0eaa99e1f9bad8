"""One attempt, in this process: what a failure leads to."""

from decimal import Decimal
from types import SimpleNamespace
from uuid import uuid4

import pytest

from recto.db import attempts
from recto.db.jobs import Attempt
from recto.errors import UpstreamRateLimited
from recto.jobs import run


def attempt(attempts_left):
    return Attempt(uuid4(), uuid4(), "review", 1, attempts_left, {}, "", 0, None)


@pytest.mark.parametrize(("attempts_left", "longest_s"), [(2, 2), (1, 4)])
def test_the_pause_is_anything_up_to_a_bound_that_doubles(attempts_left, longest_s):
    pauses = [run._backoff_s(attempt(attempts_left), None) for _ in range(500)]
    assert 0 <= min(pauses) < longest_s * 0.1
    assert longest_s * 0.9 < max(pauses) <= longest_s


@pytest.mark.parametrize(("asked_for_s", "waited_s"), [(30, 30), (3600, 120)])
def test_the_provider_is_not_asked_again_before_it_wants_to_be(asked_for_s, waited_s):
    error = UpstreamRateLimited("busy", retry_after_s=asked_for_s)
    assert run._backoff_s(attempt(2), error) == waited_s


def test_what_nobody_foresaw_ends_failed_after_its_attempts_and_tells_nothing(client):
    client.post("/ai/generations", json={"source_text": "The fox is an animal. " * 60})
    client.query("update generation_jobs set payload = jsonb_set(payload, '{source_text}', '\"a secret\"')")
    assert [client.work() for _ in range(3)] == [["retried"], ["retried"], ["failed"]]
    (row,) = client.rows("generation_jobs")
    assert row["error"]["code"] == "internal_error"
    logs = client.rows("generation_error_logs")
    assert [log["error_code"] for log in logs] == ["internal_error"] * 3
    assert "secret" not in str(logs) + str(row["error"])


def test_costs_add_up_over_the_calls_of_a_job(client, provider):
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "tag-costs", "count": 20})
    assert client.work() == ["succeeded"]
    calls = provider.calls["tag-costs"]
    assert calls > 1
    (job,), (record,) = client.rows("generation_jobs"), client.rows("generations")
    assert job["cost_usd"] == record["cost_usd"] == calls * Decimal("0.001")
    assert job["tokens_input"] == record["tokens_input"] == calls * 100
    assert job["ai_metadata"]["duration_ms"] == record["generation_duration"]


def test_an_unusable_answer_was_paid_for_too(client, provider):
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "tag-nothing", "count": 5})
    provider.failures["tag-nothing"] = [200, 200]
    assert client.work() == ["failed"]
    (job,), (log,) = client.rows("generation_jobs"), client.rows("generation_error_logs")
    assert (job["cost_usd"], job["tokens_input"], job["tokens_output"]) == (Decimal("0.002"), 200, 20)
    assert (log["cost_usd"], log["tokens_input"], log["tokens_output"]) == (Decimal("0.001"), 100, 10)
    assert "cost_usd" not in job["error"]


def test_every_dollar_is_counted_once(client, provider):
    for tag, failures in (("tag-good", []), ("tag-bad", [200, 200])):
        provider.failures[tag] = failures
        client.post("/generations", json={"source_text": f"{tag} " + "A fact. " * 150})
        client.post("/ai/generations", json={"source_text": f"{tag} " + "A fact. " * 150})
    assert sorted(client.work()) == ["failed", "succeeded"]
    assert client.query("select sum(cost_usd), sum(tokens_input) as tokens from recto.costs") == [
        {"sum": Decimal("0.004"), "tokens": 400}
    ]
    assert provider.calls == {"tag-good": 2, "tag-bad": 2}


def test_a_deck_that_brings_nothing_new_uses_up_its_attempts(client):
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "Rome", "count": 20})
    (job,) = client.rows("generation_jobs")
    begun = attempts.claim(client.runtime.pool, job["id"], job["queue_job_id"])
    completion = SimpleNamespace(
        model="m", tokens_input=1, tokens_output=1, cost_usd=None, finish_reason="stop", request_id=None
    )
    nothing = SimpleNamespace(proposals=[], drops={}, completion=completion, duration_ms=1)
    assert attempts.add_pairs(client.runtime.pool, begun, [], nothing)
    assert client.rows("generation_jobs")[0]["attempts_left"] == 2
    assert attempts.claim(client.runtime.pool, job["id"], job["queue_job_id"]).attempts_left == 1
