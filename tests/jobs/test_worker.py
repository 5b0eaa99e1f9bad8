"""The worker as an operator runs it: real processes, a real queue, a provider that counts."""

import json
import signal
from contextlib import ExitStack

import pytest
import requests

from recto.db import attempts, embedded, migrations
from recto.db.pool import as_service, open_pool
from recto.db.queue import enqueue

from .conftest import Jobs, until


def test_a_job_runs_once_however_many_workers_there_are(jobs, provider, start_worker):
    with start_worker(), start_worker():
        started = [jobs.start() for _ in range(20)]
        assert set(jobs.ended(*started)) == {"succeeded"}
    for job_id in started:
        jobs.assert_done_once(job_id)
        assert jobs.row(job_id)["attempts"] == provider.calls[jobs.tags[job_id]] == 1


def test_an_entry_that_was_replaced_starts_nothing(jobs):
    job_id = jobs.start()
    stale = jobs.row(job_id)["queue_job_id"]
    with as_service(jobs.pool, None) as conn:
        conn.execute("update generation_jobs set queue_job_id = %s where id = %s", (enqueue(conn, job_id), job_id))
    assert attempts.claim(jobs.pool, job_id, stale) is None
    assert attempts.claim(jobs.pool, job_id, jobs.row(job_id)["queue_job_id"]).number == 1


def test_the_limit_holds_over_all_workers(jobs, provider, start_worker):
    provider.delay_s = 0.2
    with ExitStack() as workers:
        for _ in range(3):
            workers.enter_context(start_worker(concurrency=4, MAX_CONCURRENT_GENERATIONS="2"))
        started = [jobs.start() for _ in range(24)]
        assert set(jobs.ended(*started)) == {"succeeded"}
    assert provider.most_open == 2
    assert sum(provider.calls.values()) == 24


def test_a_slot_is_free_again_when_its_worker_is_killed(jobs, provider, start_worker):
    provider.gate.clear()
    with start_worker(MAX_CONCURRENT_GENERATIONS="1") as killed, start_worker(MAX_CONCURRENT_GENERATIONS="1"):
        started = [jobs.start() for _ in range(2)]
        until(lambda: provider.open)
        killed.kill()
        provider.gate.set()
        assert set(jobs.ended(*started)) == {"succeeded"}


def test_sigterm_finishes_what_runs_and_hands_back_what_waits(jobs, provider, start_worker):
    provider.gate.clear()
    with start_worker(MAX_CONCURRENT_GENERATIONS="1") as stopped:
        first = jobs.start()
        until(lambda: provider.calls[jobs.tags[first]])
        second = jobs.start()
        until(lambda: jobs.rows("select 1 from procrastinate.procrastinate_jobs where status = 'doing'")[1:])
        stopped.process.send_signal(signal.SIGTERM)
        until(lambda: jobs.rows("select 1 from procrastinate.procrastinate_jobs where status = 'todo'"))
        assert jobs.row(second)["status"] == "pending"
        provider.gate.set()
        assert stopped.process.wait(20) == 0
    assert jobs.row(first)["status"] == "succeeded"
    assert "Traceback" not in stopped.log.read_text()
    with start_worker():
        assert jobs.ended(second) == ["succeeded"]
    assert jobs.row(second)["attempts"] == 1


def test_sigterm_hands_a_deck_back_between_two_batches(jobs, provider, start_worker):
    provider.gate.clear()
    with start_worker() as stopped:
        deck = jobs.start(kind="deck", count=40)
        until(lambda: provider.open)
        stopped.process.send_signal(signal.SIGTERM)
        provider.gate.set()
        assert stopped.process.wait(20) == 0
    row = jobs.row(deck)
    assert (row["status"], row["attempts_left"]) == ("pending", 3)
    assert 0 < jobs.rows("select count(*) from ai_suggestions")[0]["count"] < 40
    with start_worker():
        assert jobs.ended(deck) == ["succeeded"]
    jobs.assert_done_once(deck)
    assert jobs.rows("select count(*) from ai_suggestions") == [{"count": 40}]
    assert provider.calls[jobs.tags[deck]] == 3  # 15, 15 and 10


@pytest.mark.parametrize(
    ("statuses", "ended", "calls"),
    [
        ([503], "succeeded", 2),
        ([503, 429], "succeeded", 3),
        ([503, 503, 503], "failed", 3),
        ([402], "failed", 1),
        ([500, 400], "failed", 2),
    ],
)
def test_what_may_pass_is_tried_up_to_three_times(jobs, provider, start_worker, statuses, ended, calls):
    job_id = jobs.start()
    tag = jobs.tags[job_id]
    provider.failures[tag] = statuses
    with start_worker():
        assert jobs.ended(job_id) == [ended]
    row = jobs.row(job_id)
    assert provider.calls[tag] == row["attempts"] == calls
    codes = ["upstream_rate_limited" if status == 429 else f"upstream_http_error_{status}" for status in statuses]
    assert jobs.errors(job_id) == codes
    if ended == "failed":
        assert row["error"]["log_code"] == codes[-1]
        assert row["error"]["upstream_status"] == statuses[-1]
        assert row["error"]["duration_ms"] >= 0
        assert row["has_text"]
        assert jobs.rows("select count(*) from usage_ledger") == [{"count": 0}]
    else:
        jobs.assert_done_once(job_id)


@pytest.mark.parametrize(
    ("statuses", "ended", "calls", "pairs"),
    [
        ([None, 503], "succeeded", 4, 40),
        ([None, 503, None, 503, 503], "succeeded", 6, 40),
        ([None, 402], "failed", 2, 15),
    ],
)
def test_a_batch_that_fails_keeps_those_before_and_is_tried_alone(
    jobs, provider, start_worker, statuses, ended, calls, pairs
):
    deck = jobs.start(kind="deck", count=40)
    provider.failures[jobs.tags[deck]] = statuses
    with start_worker():
        assert jobs.ended(deck) == [ended]
    assert provider.calls[jobs.tags[deck]] == calls
    assert jobs.errors(deck) == [f"upstream_http_error_{status}" for status in statuses if status]
    assert jobs.rows("select count(*), count(distinct front_hash) as fronts from ai_suggestions") == [
        {"count": pairs, "fronts": pairs}
    ]


def test_it_goes_on_when_the_database_comes_back(short_folder, settings, provider, start_worker):
    folder = short_folder / "restarted"
    folder.mkdir()
    folder.chmod(0o755)
    with embedded.running(folder, durable=False) as url:
        migrations.migrate(url)
        cluster = folder / "pg18"
        binaries = embedded._binaries(cluster)
        with open_pool(url, 2) as pool, start_worker(DATABASE_URL=url):
            jobs = Jobs(url, pool)
            provider.gate.clear()
            started = [jobs.start() for _ in range(6)]
            until(lambda: provider.open == 2)
            embedded._run(binaries / "pg_ctl", "-D", str(cluster / "data"), "-w", "-m", "fast", "stop")
            provider.gate.set()  # two answers, and nowhere to write them
            until(lambda: provider.open == 0)
            embedded._start(binaries, cluster, durable=False)
            assert set(jobs.ended(*started)) == {"succeeded"}
            for job_id in started:
                jobs.assert_done_once(job_id)
            assert jobs.ended(jobs.start()) == ["succeeded"]


def test_the_log_and_the_metrics_tell_of_jobs_and_repeat_no_text(jobs, provider, start_worker, free_port):
    good, bad = jobs.start(), jobs.start()
    provider.failures[jobs.tags[bad]] = [402]
    with start_worker(arguments=("--metrics-port", str(free_port))) as worker:
        assert jobs.ended(good, bad) == ["succeeded", "failed"]

        def metrics():
            try:
                return requests.get(f"http://127.0.0.1:{free_port}/metrics", timeout=5).text
            except requests.ConnectionError:
                return ""

        until(lambda: 'recto_job_attempts_total{kind="review",outcome="succeeded"} 1.0' in metrics())
        until(lambda: 'recto_job_attempts_total{kind="review",outcome="failed"} 1.0' in metrics())
    log = worker.log.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    outcomes = {line["job_id"]: line["outcome"] for line in lines if line["event"] == "job"}
    assert outcomes == {str(good): "succeeded", str(bad): "failed"}
    assert "A fact." not in log
    assert "Answer" not in log


def test_a_pooler_that_keeps_no_session_is_refused(start_worker):
    with start_worker(DATABASE_URL="postgresql://localhost:6543/recto") as worker:
        assert worker.process.wait(20) == 1
    (line,) = worker.log.read_text().splitlines()
    assert line.startswith("recto: DATABASE_URL: port 6543")
