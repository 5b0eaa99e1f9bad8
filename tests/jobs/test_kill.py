"""Kill -9 at every step of a job's life: nothing is lost, nothing is done twice without a reason in the logs."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from uuid import uuid4

import psycopg
import pytest
import requests

from .conftest import until
from .lossy_proxy import LossyProxy

pytestmark = pytest.mark.soak  # each takes seconds

KEY = {"Idempotency-Key": "a-key", "Connection": "close"}


def ask(service, tag, user_id, key=KEY, path="/ai/generations"):
    body = {"source_text": f"{tag} " + "A fact. " * 150}
    headers = {"Authorization": f"Bearer {service.token(user_id)}"} | key
    return requests.post(service.url + path, json=body, headers=headers, timeout=30)


def end_leases(database):
    """Let the time pass after which a silent process counts as dead."""
    with psycopg.connect(database) as conn:
        conn.execute("update recto.idempotency_keys set locked_until = now() where status is null")
        conn.execute("update generation_jobs set lease_until = now() where lease_until is not null")


def test_a_worker_killed_during_the_call_loses_nothing(jobs, provider, start_worker):
    provider.gate.clear()
    with start_worker() as killed:
        job_id = jobs.start()
        until(lambda: provider.calls[jobs.tags[job_id]])
        killed.kill()
    provider.gate.set()
    with start_worker():
        assert jobs.ended(job_id) == ["succeeded"]
    jobs.assert_done_once(job_id)
    assert provider.calls[jobs.tags[job_id]] == 2
    assert jobs.errors(job_id) == ["worker_lost"]  # the reason why it was paid for twice


def test_a_worker_killed_before_its_commit_leaves_nothing_half_done(jobs, start_worker):
    with start_worker() as killed:
        with jobs.locked("usage_ledger"):
            job_id = jobs.start()
            until(jobs.waits_for_lock)
            killed.kill()
        until(lambda: not jobs.waits_for_lock())
        assert jobs.row(job_id)["status"] == "running"
        assert jobs.rows("select 1 from ai_suggestions") == jobs.rows("select 1 from generations") == []
    with start_worker():
        assert jobs.ended(job_id) == ["succeeded"]
    jobs.assert_done_once(job_id)
    assert jobs.errors(job_id) == ["worker_lost"]


def test_a_worker_killed_after_its_commit_repeats_nothing(jobs, provider, start_worker):
    with start_worker() as killed:
        job_id = jobs.start()
        assert jobs.ended(job_id) == ["succeeded"]
        killed.kill()
    with start_worker():
        assert jobs.ended(jobs.start()) == ["succeeded"]
    jobs.assert_done_once(job_id)
    assert provider.calls[jobs.tags[job_id]] == 1
    assert jobs.errors(job_id) == []


def test_a_commit_whose_acknowledgement_is_lost_is_found_and_not_repeated(jobs, provider, start_worker):
    with LossyProxy(jobs.url) as proxy, start_worker(DATABASE_URL=proxy.url) as worker:
        proxy.lose_after("insert into usage_ledger", "COMMIT")
        job_id = jobs.start()
        until(lambda: '"event":"job"' in worker.log.read_text())
        assert proxy.lost == 1
        assert '"outcome":"succeeded"' in worker.log.read_text()
    jobs.assert_done_once(job_id)
    (call,) = jobs.rows("select cost_usd from generation_attempts where job_id = %s", job_id)
    (record,) = jobs.rows("select cost_usd from generations where job_id = %s", job_id)
    assert call == record
    assert provider.calls[jobs.tags[job_id]] == 1


@pytest.mark.parametrize("quota", [{}, {"QUOTA_GENERATIONS_PER_MONTH": "10"}], ids=["no quota", "quota"])
def test_an_answer_whose_commit_was_not_acknowledged_is_given_and_counted_once(jobs, provider, start_service, quota):
    with LossyProxy(jobs.url) as proxy, start_service(DATABASE_URL=proxy.url, **quota) as service:
        for path, last_words in (
            ("/generations", ["recto.record_generation("]),
            ("/sessions/ai", ["insert into usage_ledger", "COMMIT"]),
        ):
            user, tag = uuid4(), f"tag-{uuid4().hex[:8]}"
            proxy.lose_after(*last_words)
            answers = [ask(service, tag, user, path=path) for _ in range(2)]
            assert [answer.status_code for answer in answers] == [200, 200]
            assert answers[0].content == answers[1].content
            assert answers[1].headers["Idempotent-Replayed"] == "true"
            assert provider.calls[tag] == 1
            (record,) = jobs.rows("select cost_usd::float8 as usd from generations where user_id = %s", user)
            (costs,) = jobs.rows("select sum(cost_usd)::float8 as usd from recto.costs where user_id = %s", user)
            assert record == costs == {"usd": 0.001}
            debits = jobs.rows("select amount from usage_ledger where user_id = %s", user)
            assert debits == ([] if path == "/generations" and not quota else [{"amount": 1}])
    assert proxy.lost == 2


def test_a_job_that_kills_its_workers_ends_failed(jobs, provider, start_worker):
    provider.gate.clear()
    job_id = jobs.start()
    for attempt in (1, 2, 3):
        with start_worker() as killed:
            until(lambda: provider.calls[jobs.tags[job_id]] == attempt)  # noqa: B023  called at once
            killed.kill()
    with start_worker():
        assert jobs.ended(job_id) == ["failed"]
    assert jobs.errors(job_id) == ["worker_lost"] * 3
    assert jobs.row(job_id)["error"]["log_code"] == "worker_lost"
    assert provider.calls[jobs.tags[job_id]] == 3


def test_an_api_killed_before_its_commit_has_accepted_nothing(jobs, database, start_service, start_worker, provider):
    user, tag = uuid4(), f"tag-{uuid4().hex[:8]}"
    with ThreadPoolExecutor(1) as threads:
        with start_service() as service, jobs.locked("generation_events"):
            lost = threads.submit(ask, service, tag, user)
            until(jobs.waits_for_lock)
            service.kill()
        with pytest.raises(requests.ConnectionError):
            lost.result()
    until(lambda: not jobs.waits_for_lock())
    assert jobs.rows("select 1 from generation_jobs") == []
    end_leases(database)
    with start_service() as service, start_worker():
        job_id = ask(service, tag, user).json()["generation_id"]
        assert jobs.ended(job_id) == ["succeeded"]
    assert provider.calls[tag] == 1


def test_an_api_killed_after_its_commit_starts_no_second_one(jobs, database, start_service, start_worker, provider):
    user, tag = uuid4(), f"tag-{uuid4().hex[:8]}"
    with ThreadPoolExecutor(1) as threads:
        with start_service() as service, ExitStack() as later:
            with jobs.locked("generation_events"):
                lost = threads.submit(ask, service, tag, user)
                until(jobs.waits_for_lock)
                later.enter_context(jobs.locked("recto.idempotency_keys", "share"))
            (job,) = until(lambda: jobs.rows("select id from generation_jobs"))
            until(jobs.waits_for_lock)
            service.kill()
        with pytest.raises(requests.ConnectionError):
            lost.result()
    end_leases(database)
    with start_service() as service, start_worker():
        assert ask(service, tag, user).json()["generation_id"] == str(job["id"])
        assert jobs.ended(job["id"]) == ["succeeded"]
    assert provider.calls[tag] == 1


def test_an_api_killed_in_a_session_leaves_one_that_can_be_retried(
    jobs, database, start_service, start_worker, provider
):
    user, tag = uuid4(), f"tag-{uuid4().hex[:8]}"
    provider.gate.clear()
    with ThreadPoolExecutor(1) as threads, start_service() as service:
        lost = threads.submit(ask, service, tag, user, {}, "/sessions/ai")
        until(lambda: provider.calls[tag])
        service.kill()
        with pytest.raises(requests.ConnectionError):
            lost.result()
    provider.gate.set()
    ((job_id,),) = [row.values() for row in jobs.rows("select id from generation_jobs")]
    end_leases(database)
    with start_service() as service, start_worker():
        assert jobs.ended(job_id) == ["failed"]
        assert jobs.errors(job_id) == ["worker_lost"]
        with psycopg.connect(database) as conn:
            conn.execute("update generation_jobs set finished_at = finished_at - interval '10 seconds'")
        assert ask(service, tag, user, {}, f"/sessions/ai/{job_id}/retry").status_code == 200
    jobs.assert_done_once(job_id)
