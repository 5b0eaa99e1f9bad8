"""One attempt, in this process: what a failure leads to, and what is counted of it."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from recto.errors import UpstreamRateLimited
from recto.jobs.run import pause_s

from .conftest import until


@pytest.mark.parametrize(("attempts_left", "longest_s"), [(2, 2), (1, 4)])
def test_the_pause_is_anything_up_to_a_bound_that_doubles(attempts_left, longest_s):
    pauses = [pause_s(attempts_left, None, 2.0) for _ in range(500)]
    assert 0 <= min(pauses) < longest_s * 0.1
    assert longest_s * 0.9 < max(pauses) <= longest_s


@pytest.mark.parametrize(("asked_for_s", "waited_s"), [(30, 30), (3600, 120)])
def test_the_provider_is_not_asked_again_before_it_wants_to_be(asked_for_s, waited_s):
    error = UpstreamRateLimited("busy", retry_after_s=asked_for_s)
    assert pause_s(2, error, 2.0) == waited_s


def test_the_pause_is_kept(client, provider):
    client.post("/ai/generations", json={"source_text": "tag-busy " + "A fact. " * 150})
    provider.failures["tag-busy"], provider.headers["Retry-After"] = [429], "60"
    assert client.work() == ["retried"]
    assert client.claim() is None
    assert client.query("select run_at - now() > interval '50 s' as later from generation_jobs") == [{"later": True}]


def test_what_nobody_foresaw_ends_failed_after_its_attempts_and_repeats_no_text(client, capsys):
    client.post("/ai/generations", json={"source_text": "The fox is an animal. " * 60})
    client.query("update generation_jobs set payload = jsonb_set(payload, '{source_text}', '\"a secret\"')")
    assert [client.work() for _ in range(3)] == [["retried"], ["retried"], ["failed"]]
    (row,) = client.rows("generation_jobs")
    assert row["error"]["code"] == "internal_error"
    assert "detail" not in row["error"]  # which the user may read
    logs = client.rows("generation_error_logs")
    assert [(log["attempt"], log["error_code"]) for log in logs] == [(n, "internal_error") for n in (1, 2, 3)]
    printed = capsys.readouterr().out
    assert "IncorrectLength" in printed or "InvalidRequest" in printed
    assert "secret" not in str(logs) + str(row["error"]) + printed


def test_each_call_of_a_job_is_a_row_and_their_costs_add_up(client, provider):
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "tag-costs", "count": 20})
    assert client.work() == ["succeeded"]
    calls = provider.calls["tag-costs"]
    assert calls > 1
    rows = client.query("select * from generation_attempts order by call")
    assert [(row["number"], row["call"], row["outcome"]) for row in rows] == [
        (1, call, "succeeded") for call in range(1, calls + 1)
    ]
    assert [row["request_id"] for row in rows] == [f"gen-tag-costs-{call}" for call in range(1, calls + 1)]
    (job,), (record,) = client.rows("recto.jobs"), client.rows("generations")
    assert job["cost_usd"] == record["cost_usd"] == calls * Decimal("0.001")
    assert job["tokens_input"] == record["tokens_input"] == calls * 100
    assert job["attempts"] == 1
    assert record["generation_duration"] == sum(row["duration_ms"] for row in rows)


def test_each_call_is_a_row_before_it_begins(client, provider):
    """So that it is known if the process dies in it."""
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "tag-rows", "count": 20})
    provider.delay_s = 0.5
    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(client.work)
        for call in (1, 2):
            until(lambda: provider.calls["tag-rows"] == call)  # noqa: B023  called at once
            (row,) = client.query(f"select outcome from generation_attempts where call = {call}")
            assert row["outcome"] is None
        assert done.result() == ["succeeded"]


def test_an_unusable_answer_was_paid_for_too(client, provider):
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "tag-nothing", "count": 5})
    provider.failures["tag-nothing"] = [200, 200]
    assert client.work() == ["failed"]
    (job,), (log,) = client.rows("recto.jobs"), client.rows("generation_error_logs")
    assert (job["cost_usd"], job["tokens_input"], job["tokens_output"]) == (Decimal("0.002"), 200, 20)
    assert (log["cost_usd"], log["tokens_input"], log["tokens_output"]) == (Decimal("0.001"), 100, 10)


def test_the_metrics_count_each_call_once(client, provider):
    def counted():
        samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
        return [
            sum(sample.value for sample in samples if sample.name == name)
            for name in ("recto_upstream_calls_total", "recto_cost_usd_total", "recto_upstream_seconds_count")
        ]

    before = counted()
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "tag-nothing", "count": 5})
    provider.failures["tag-nothing"] = [200, 200]
    assert client.work() == ["failed"]
    assert [new - old for new, old in zip(counted(), before, strict=True)] == [2, pytest.approx(0.002), 2]


def test_every_dollar_is_counted_once(client, provider):
    for tag, failures in (("tag-good", []), ("tag-bad", [200, 200, 200, 200])):
        provider.failures[tag] = failures
        client.post("/generations", json={"source_text": f"{tag} " + "A fact. " * 150})
        client.post("/ai/generations", json={"source_text": f"{tag} " + "A fact. " * 150})
    assert sorted(client.work()) == ["failed", "succeeded"]
    models = client.query("select status, model from recto.jobs order by status")
    assert models == [{"status": "failed", "model": None}, {"status": "succeeded", "model": "m"}]
    calls = sum(provider.calls.values())
    assert client.query("select sum(cost_usd), sum(tokens_input) as tokens from recto.costs") == [
        {"sum": calls * Decimal("0.001"), "tokens": calls * 100}
    ]


def test_a_deck_whose_batches_bring_nothing_new_ends_with_what_it_has(client, provider):
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "tag-empty", "count": 50})
    provider.failures["tag-empty"] = [None, 200, 200, 503]
    assert client.work() == ["succeeded"]
    assert provider.calls["tag-empty"] == 3


def test_a_good_batch_gives_a_deck_all_of_its_attempts(client, provider):
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "tag-up-and-down", "count": 50})
    provider.failures["tag-up-and-down"] = [503, 503, None, 503, 503]
    ends = [client.work() for _ in range(5)]
    assert ends == [["retried"], ["retried"], ["retried"], ["retried"], ["succeeded"]]
    (job,) = client.rows("generation_jobs")
    assert job["attempts"] == 5


def test_what_a_deck_has_already_is_neither_counted_nor_debited(client, provider):
    deck = f"/decks/{uuid4()}"
    client.post(f"{deck}/generation", json={"topic": "tag-same", "count": 3})
    assert client.work() == ["succeeded"]
    for n, pair in enumerate(client.get(f"{deck}/pairs").json["pairs"]):
        body = {"status": "accepted", "front": f"Another question {n}?"}
        assert client.patch(f"/ai/suggestions/{pair['id']}", json=body).status_code == 200
    provider.calls.clear()  # so that it answers first with the same fronts, then with nothing
    provider.failures["tag-same"] = [None, 200]
    client.post(f"{deck}/generation", json={"topic": "tag-same", "count": 3})
    assert client.work() == ["failed"]
    assert [record["generated_count"] for record in client.rows("generations")] == [3]
    assert len(client.rows("usage_ledger")) == 1
