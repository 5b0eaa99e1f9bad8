"""A job's attempts: who may claim and commit, what a repeated commit changes, and what a dead process leaves."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from uuid import uuid4

import psycopg
import pytest

from recto.calls import Call
from recto.db import attempts, claims, starts
from recto.db.failures import Failure
from recto.db.starts import Lease, NewJob
from recto.db.suggestions import NewSuggestion

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15
BODY = {"source_text": TEXT}
FAILURE = Failure("upstream_error", "It failed.", "upstream_http_error_503", "HTTP 503", "m")


def call(cost="0.001", outcome="succeeded"):
    return Call("m", outcome, 20, 200, "gen-1", 100, 10, Decimal(cost))


def cards(*fronts):
    return [NewSuggestion(front, "answer", sha256(front.encode()).hexdigest()) for front in fronts]


def ask(client, path="/ai/generations", **body):
    client.post(path, json=body or BODY)


def commit(client, attempt, *fronts, enough=1, calls=None, first_call=1):
    return attempts.add_batch(
        client.runtime.pool,
        attempt,
        cards(*fronts),
        [call()] if calls is None else calls,
        first_call=first_call,
        enough=enough,
        dropped={},
        incomplete=None,
        language=None,
        quota=None,
    )


def fail(client, attempt, *, pause_s=None, calls=None):
    return attempts.fail(
        client.runtime.pool,
        attempt,
        FAILURE,
        [call(outcome=FAILURE.log_code)] if calls is None else calls,
        first_call=1,
        retry_in_s=None if pause_s is None else lambda attempts_left: pause_s,
    )


def job(client):
    (row,) = client.rows("generation_jobs")
    return row


def end_lease(client):
    client.query("update generation_jobs set lease_until = now() - interval '1 ms' where status = 'running'")


def test_the_job_that_is_due_for_longest_is_claimed_first(client):
    for _ in range(3):
        ask(client)
    first, second, third = (row["id"] for row in client.query("select id from generation_jobs order by created_at"))
    client.query(f"update generation_jobs set run_at = run_at - interval '1 min' where id = '{second}'")
    client.query(f"update generation_jobs set run_at = now() + interval '1 min' where id = '{third}'")
    assert [client.claim().job_id for _ in range(2)] == [second, first]
    assert client.claim() is None  # the third is not due


def test_a_claim_says_who_runs_the_job_and_until_when_and_that_a_call_begins(client):
    ask(client)
    attempt = client.claim()
    row = job(client)
    assert (row["status"], row["attempts"], row["attempts_left"]) == ("running", 1, 2)
    assert row["holder"] == attempt.holder == client.runtime.leases.holder
    (left,) = client.query("select extract(epoch from lease_until - now()) as s, started_at from generation_jobs")
    assert 14 < left["s"] <= 15
    assert left["started_at"]
    (begun,) = client.query("select * from generation_attempts")
    assert (begun["number"], begun["call"], begun["outcome"], begun["model"]) == (1, 1, None, "sandbox/extractive")


def test_a_job_is_claimed_once_however_many_claim(client):
    for _ in range(8):
        ask(client)
    with ThreadPoolExecutor(16) as threads:
        claimed = [attempt for attempt in threads.map(lambda _: client.claim(), range(16)) if attempt]
    assert len({attempt.job_id for attempt in claimed}) == len(claimed) == 8


def test_no_more_jobs_run_in_the_background_than_may(client):
    for _ in range(4):
        ask(client)
    with ThreadPoolExecutor(8) as threads:
        claimed = [attempt for attempt in threads.map(lambda _: client.claim(capacity=2), range(8)) if attempt]
    assert len(claimed) == 2
    commit(client, claimed[0], "front")
    assert client.claim(capacity=2)
    assert client.claim(capacity=2) is None


def test_what_a_caller_waits_for_takes_no_place_of_a_worker(client):
    client.post("/sessions/ai", json=BODY)
    client.query("update generation_jobs set status = 'running'")
    ask(client)
    assert client.claim(capacity=1)


@pytest.mark.parametrize("move", ["commit", "fail", "begin_call", "hand_back"])
def test_an_attempt_that_another_one_followed_changes_nothing_and_keeps_its_costs(client, move):
    ask(client)
    late = client.claim()
    end_lease(client)
    assert claims.recover_abandoned(client.runtime.pool) == late.job_id
    current = client.claim()
    assert current.holder == late.holder  # the same process: the number tells them apart
    before = job(client)
    if move == "commit":
        assert commit(client, late, "late") is None
    elif move == "fail":
        assert fail(client, late) is None
    elif move == "begin_call":
        assert not attempts.begin_call(client.runtime.pool, late, 2)
    else:
        assert not attempts.hand_back(client.runtime.pool, late)
    assert job(client) == before
    assert client.rows("ai_suggestions") == client.rows("generations") == client.rows("usage_ledger") == []
    assert [row["error_code"] for row in client.rows("generation_error_logs")] == ["worker_lost"]
    if move in ("commit", "fail"):
        costs = client.query("select number, cost_usd from generation_attempts order by number")
        assert [row["cost_usd"] for row in costs] == [Decimal("0.001"), None]


@pytest.mark.parametrize("change", [{"holder": uuid4()}, {"number": 2}, {"number": 0}])
def test_only_the_holder_of_the_lease_commits_and_only_its_last_attempt(client, change):
    ask(client)
    attempt = client.claim()
    assert not attempts.hand_back(client.runtime.pool, replace(attempt, **change))
    assert attempts.hand_back(client.runtime.pool, attempt)


def test_a_commit_that_is_repeated_changes_nothing_and_returns_the_same(client):
    ask(client)
    attempt = client.claim()
    first = commit(client, attempt, "one", "two")
    state = [client.query(f"select * from {table}") for table in TABLES]
    assert commit(client, attempt, "one", "two") == first
    assert [client.query(f"select * from {table}") for table in TABLES] == state
    assert first.results.job.cost_usd == Decimal("0.001")
    assert len(client.rows("usage_ledger")) == len(client.rows("generations")) == 1


TABLES = (
    "generation_jobs",
    "generation_attempts",
    "ai_suggestions",
    "generations",
    "generation_error_logs",
    "usage_ledger",
    "generation_events",
)


@pytest.mark.parametrize("pause_s", [None, 0, 60])
def test_a_failure_that_is_repeated_changes_nothing_and_returns_the_same(client, pause_s):
    ask(client)
    attempt = client.claim()
    first = fail(client, attempt, pause_s=pause_s)
    state = [client.query(f"select * from {table}") for table in TABLES]
    assert fail(client, attempt, pause_s=pause_s) == first
    assert [client.query(f"select * from {table}") for table in TABLES] == state
    assert first.status == ("failed" if pause_s is None else "pending")
    assert len(client.rows("generation_error_logs")) == 1


def test_a_batch_that_is_repeated_is_stored_once(client):
    ask(client, f"/decks/{uuid4()}/generation", topic="Rome", count=20)
    attempt = client.claim()
    for _ in range(2):
        assert commit(client, attempt, "one", "two", enough=20) == (2, None)
    assert sorted(row["position"] for row in client.rows("ai_suggestions")) == [1, 2]
    assert [row["cost_usd"] for row in client.query("select cost_usd from generation_attempts")] == [Decimal("0.001")]


def test_a_job_that_was_canceled_takes_nothing_and_says_so_twice(client):
    ask(client)
    attempt = client.claim()
    client.delete(f"/ai/generations/{attempt.job_id}")
    for _ in range(2):
        assert commit(client, attempt, "one") is None
        assert fail(client, attempt) is None
    assert job(client)["status"] == "canceled"
    assert client.rows("generation_error_logs") == client.rows("ai_suggestions") == client.rows("generations") == []


def test_a_success_leaves_neither_a_holder_nor_a_text(client):
    ask(client)
    commit(client, client.claim(), "one")
    ended = job(client)
    assert ended["holder"] is ended["lease_until"] is None
    assert "Rosetta" not in str(ended["payload"])


def test_a_caller_s_call_is_a_row_before_it_begins_also_when_it_retries(client):
    pool, user_id, lease = client.runtime.pool, client.user_id, Lease(uuid4(), 15)
    new = NewJob("session", {"source_text": TEXT, "model": "m", "prompt_version": "v1"}, "0" * 64, len(TEXT))
    first = starts.begin(pool, user_id, new, quota=None, lease=lease)
    open_calls = "select number, call from generation_attempts where outcome is null"
    assert client.query(open_calls) == [{"number": 1, "call": 1}]
    fail(client, first)
    client.query("update generation_jobs set finished_at = finished_at - interval '10 s'")
    starts.retry(pool, user_id, first.job_id, window=timedelta(hours=1), quota=None, lease=lease)
    assert client.query(open_calls) == [{"number": 2, "call": 1}]


def test_a_retried_job_waits_behind_those_that_were_due_before(client):
    ask(client)
    failed = client.claim()
    fail(client, failed)
    ask(client)
    client.query("update generation_jobs set finished_at = finished_at - interval '10 s' where status = 'failed'")
    client.post(f"/sessions/ai/{failed.job_id}/retry", headers={"Prefer": "respond-async"})
    assert client.claim().job_id != failed.job_id
    assert [fail(client, client.claim(), pause_s=0).status for _ in range(3)] == ["pending", "pending", "failed"]


def test_workers_hear_of_what_is_due_and_of_places_that_become_free(client):
    with psycopg.connect(client.runtime.settings.database_url, autocommit=True) as conn:
        conn.execute("listen recto_wake_ups")
        ask(client)
        assert [heard.payload for heard in conn.notifies(timeout=30, stop_after=1)] == ["pending"]
        commit(client, client.claim(), "one")
        assert [heard.payload for heard in conn.notifies(timeout=30, stop_after=1)] == ["ended"]


def test_a_success_is_not_undone_by_a_failure_of_the_same_attempt(client):
    ask(client)
    attempt = client.claim()
    commit(client, attempt, "one")
    assert fail(client, attempt) is None
    assert job(client)["status"] == "succeeded"


def test_an_erased_success_is_not_returned_to_its_runner(client):
    ask(client)
    attempt = client.claim()
    commit(client, attempt, "one")
    client.delete(f"/ai/generations/{attempt.job_id}")
    assert commit(client, attempt, "one") is None
    assert client.rows("ai_suggestions") == []


def test_a_failure_waits_for_its_pause_and_then_for_the_next_attempt(client):
    ask(client)
    fail(client, client.claim(), pause_s=60)
    assert client.claim() is None
    (row,) = client.query("select extract(epoch from run_at - now()) as s, holder, lease_until from generation_jobs")
    assert 59 < row["s"] <= 60
    assert row["holder"] is row["lease_until"] is None
    client.query("update generation_jobs set run_at = now()")
    assert client.claim().number == 2


def test_three_attempts_then_it_fails(client):
    ask(client)
    assert [fail(client, client.claim(), pause_s=0).status for _ in range(3)] == ["pending", "pending", "failed"]


def test_a_batch_gives_back_all_attempts_and_one_without_cards_none(client):
    ask(client, f"/decks/{uuid4()}/generation", topic="Rome", count=20)
    for _ in range(2):
        fail(client, client.claim(), pause_s=0)
    attempt = client.claim()
    assert job(client)["attempts_left"] == 0
    attempts.add_batch(
        client.runtime.pool,
        attempt,
        [],
        [call()],
        first_call=1,
        enough=20,
        dropped={},
        incomplete=None,
        language=None,
        quota=None,
    )
    assert job(client)["attempts_left"] == 0
    commit(client, attempt, "one", enough=20)
    assert job(client)["attempts_left"] == 2
    # The failure after it is judged by the row, not by what the attempt began with.
    assert fail(client, attempt, pause_s=0).status == "pending"


def test_a_deck_ends_when_it_has_enough_and_counts_what_it_stored(client):
    ask(client, f"/decks/{uuid4()}/generation", topic="Rome", count=3)
    attempt = client.claim()
    assert commit(client, attempt, "one", "two", enough=3).results is None
    assert commit(client, attempt, "three", enough=3, first_call=2).results.job.suggestions_count == 3
    (record,) = client.rows("generations")
    assert (record["generated_count"], record["cost_usd"], record["generation_duration"]) == (3, Decimal("0.002"), 40)


def test_a_handed_back_deck_has_lost_no_attempt(client):
    ask(client, f"/decks/{uuid4()}/generation", topic="Rome", count=3)
    for _ in range(3):
        assert attempts.hand_back(client.runtime.pool, client.claim())
    row = job(client)
    assert (row["status"], row["attempts"], row["attempts_left"], row["holder"]) == ("pending", 3, 3, None)


def test_an_abandoned_job_is_run_again_until_its_attempts_are_used_up(client):
    ask(client)
    for number in (1, 2, 3):
        assert client.claim().number == number
        assert claims.recover_abandoned(client.runtime.pool) is None  # its lease runs
        end_lease(client)
        assert claims.recover_abandoned(client.runtime.pool)
    row = job(client)
    assert (row["status"], row["error"]["log_code"], row["has_text"]) == ("failed", "worker_lost", True)
    assert row["holder"] is row["lease_until"] is None
    outcomes = client.query("select number, outcome from generation_attempts order by number")
    assert [(row["number"], row["outcome"]) for row in outcomes] == [(n, "worker_lost") for n in (1, 2, 3)]
    logs = client.rows("generation_error_logs")
    assert [(log["attempt"], log["error_code"]) for log in logs] == [(n, "worker_lost") for n in (1, 2, 3)]
    events = [row["event"] for row in client.rows("generation_events")]
    assert events == ["ai_generation_requested", "ai_generation_failed"]


def test_what_a_caller_waited_for_is_not_run_again_by_a_worker(client):
    client.post("/sessions/ai", json={"source_text": f"{TEXT}\n[sandbox: http-402]"})
    client.query("update generation_jobs set status = 'running', attempts_left = 1")
    client.query("update generation_jobs set lease_until = now() - interval '1 s'")
    client.query("delete from generation_error_logs")
    assert claims.recover_abandoned(client.runtime.pool)
    assert job(client)["status"] == "failed"
    assert [row["error_code"] for row in client.rows("generation_error_logs")] == ["worker_lost"]


def test_a_reservation_that_nobody_ends_leaves_no_row_as_without_a_quota(open_client):
    client = open_client(quota_generations_per_month=1)
    client.post(json=BODY)
    client.query("delete from generations; delete from usage_ledger")
    client.query("update generation_jobs set status = 'running', lease_until = now() - interval '1 s'")
    assert claims.recover_abandoned(client.runtime.pool)
    assert job(client)["status"] == "failed"
    assert client.rows("generation_error_logs") == client.rows("generation_events") == []
    assert client.post(json=BODY).status_code == 200  # the place is free again


def test_the_sweep_passes_over_what_somebody_else_holds(client):
    for _ in range(2):
        ask(client)
    held, free = client.claim(), client.claim()
    end_lease(client)
    with psycopg.connect(client.runtime.settings.database_url) as conn:
        conn.execute("select from generation_jobs where id = %s for update", (held.job_id,))
        with ThreadPoolExecutor(1) as threads:
            recovering = threads.submit(lambda: [claims.recover_abandoned(client.runtime.pool) for _ in range(2)])
            assert recovering.result(10) == [free.job_id, None]


def test_a_claim_passes_over_what_somebody_else_holds(client):
    for _ in range(2):
        ask(client)
    (first, second) = client.query("select id from generation_jobs order by run_at")
    with psycopg.connect(client.runtime.settings.database_url) as conn:
        conn.execute("select from generation_jobs where id = %s for update", (first["id"],))
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(client.claim).result(10).job_id == second["id"]


@pytest.mark.parametrize("move", [commit, fail])
def test_a_commit_and_a_cancel_at_the_same_time_come_one_after_the_other(client, move):
    """The commit holds the job until it ends: a cancel that came in between would be overwritten."""
    ask(client)
    attempt = client.claim()
    blocked = threading.Event()
    with psycopg.connect(client.runtime.settings.database_url) as conn, ThreadPoolExecutor(2) as threads:
        conn.execute("lock table generation_events in access exclusive mode")  # the last thing that an end writes
        arguments = (client, attempt, "one") if move is commit else (client, attempt)
        ending = threads.submit(move, *arguments)
        waits = "select 1 from pg_locks where not granted and relation = 'generation_events'::regclass"
        while not client.query(waits):
            blocked.wait(0.01)
        canceling = threads.submit(client.delete, f"/ai/generations/{attempt.job_id}")
        while not client.query("select 1 from pg_locks where not granted and locktype = 'transactionid'"):
            blocked.wait(0.01)
        conn.rollback()
        assert ending.result(10)
        assert canceling.result(10).status_code == 204
    assert job(client)["status"] == ("succeeded" if move is commit else "failed")
