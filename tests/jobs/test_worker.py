"""The worker as an operator runs it: real processes, a real database, a provider that counts."""

import json
import signal
import threading
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest
import requests

from recto.db.pool import open_pool

from .conftest import Jobs, until


@pytest.mark.soak
def test_a_job_runs_once_however_many_workers_there_are(jobs, provider, start_worker):
    with start_worker(), start_worker():
        started = [jobs.start() for _ in range(20)]
        assert set(jobs.ended(*started)) == {"succeeded"}
    for job_id in started:
        jobs.assert_done_once(job_id)
        assert jobs.row(job_id)["attempts"] == provider.calls[jobs.tags[job_id]] == 1


@pytest.mark.soak
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


@pytest.mark.soak
def test_sigterm_finishes_what_runs_and_leaves_what_waits(jobs, provider, start_worker):
    provider.gate.clear()
    # It waits for the place that its job holds, so the signal and the job's end reach it together.
    with start_worker(concurrency=1, times={"poll_s": 3600, "lease_s": 10_000}) as stopped:
        first = jobs.start()
        until(lambda: provider.calls[jobs.tags[first]])
        second = jobs.start()
        stopped.process.send_signal(signal.SIGTERM)
        provider.gate.set()
        assert stopped.process.wait(20) == 0
    assert (jobs.row(first)["status"], jobs.row(second)["status"]) == ("succeeded", "pending")
    assert "Traceback" not in stopped.log.read_text()
    with start_worker():
        assert jobs.ended(second) == ["succeeded"]
    assert jobs.row(second)["attempts"] == 1


@pytest.mark.soak
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
        pytest.param([503, 429], "succeeded", 3, marks=pytest.mark.soak),
        ([503, 503, 503], "failed", 3),
        ([402], "failed", 1),
        pytest.param([500, 402], "failed", 2, marks=pytest.mark.soak),
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
@pytest.mark.soak
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


@pytest.mark.soak
def test_it_goes_on_when_the_database_comes_back(own_postgres, provider, start_worker):
    url = own_postgres.url
    with open_pool(url, 2) as pool, start_worker(DATABASE_URL=url):
        jobs = Jobs(url, pool)
        provider.gate.clear()
        started = [jobs.start() for _ in range(6)]
        until(lambda: provider.open == 2)
        own_postgres.stop()
        provider.gate.set()  # two answers, and nowhere to write them
        until(lambda: provider.open == 0)
        own_postgres.start()
        assert set(jobs.ended(*started)) == {"succeeded"}
        for job_id in started:
            jobs.assert_done_once(job_id)
        assert jobs.ended(jobs.start()) == ["succeeded"]


def test_the_log_and_the_metrics_tell_of_jobs_and_repeat_no_text(jobs, provider, start_worker, free_port):
    good, bad = jobs.start(), jobs.start()
    provider.failures[jobs.tags[bad]] = [402]
    with start_worker(patient=True, arguments=("--metrics-port", str(free_port))) as worker:
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


def test_a_job_is_started_by_its_notification_alone(jobs, start_worker):
    """Who waits for the next look would wait for an hour."""
    with start_worker(times={"poll_s": 3600, "lease_s": 10_000}) as worker:
        until(lambda: "worker_started" in worker.log.read_text())
        until(lambda: jobs.rows("select 1 from pg_stat_activity where query = 'listen recto_wake_ups'"))
        assert jobs.ended(jobs.start()) == ["succeeded"]


@pytest.mark.soak
def test_a_place_that_another_worker_frees_is_taken_by_notification_alone(jobs, provider, start_worker):
    times = {"poll_s": 3600, "lease_s": 10_000}
    provider.gate.clear()
    with start_worker(MAX_CONCURRENT_GENERATIONS="1", times=times, concurrency=1) as first:
        until(lambda: jobs.rows("select 1 from pg_stat_activity where query = 'listen recto_wake_ups'"))
        one = jobs.start()
        until(lambda: provider.open)
        with start_worker(MAX_CONCURRENT_GENERATIONS="1", times=times):
            until(lambda: jobs.rows("select 1 from pg_stat_activity where query = 'listen recto_wake_ups'")[1:])
            two = jobs.start()
            first.process.send_signal(signal.SIGTERM)  # it takes no other
            provider.gate.set()
            assert jobs.ended(one, two) == ["succeeded"] * 2


@pytest.mark.soak
def test_without_notifications_a_worker_looks_from_time_to_time(jobs, start_worker):
    with psycopg.connect(jobs.url, autocommit=True) as conn:
        conn.execute("alter table generation_jobs disable trigger wake_workers")
    with start_worker(times={"poll_s": 0.2}) as worker:
        until(lambda: "worker_started" in worker.log.read_text())
        assert jobs.ended(jobs.start()) == ["succeeded"]


@pytest.mark.soak
def test_a_stopped_worker_that_goes_on_changes_nothing_and_keeps_its_costs(jobs, provider, start_worker):
    provider.gate.clear()
    with start_worker() as frozen:
        job_id = jobs.start()
        until(lambda: provider.open)
        frozen.process.send_signal(signal.SIGSTOP)
        with start_worker():
            until(lambda: provider.calls[jobs.tags[job_id]] == 2)
            provider.gate.set()
            assert jobs.ended(job_id) == ["succeeded"]
            frozen.process.send_signal(signal.SIGCONT)
            until(lambda: '"outcome":"not_owned"' in frozen.log.read_text())
    jobs.assert_done_once(job_id)
    calls = jobs.rows("select number, outcome, cost_usd from generation_attempts where job_id = %s", job_id)
    assert sorted(call["number"] for call in calls) == [1, 2]
    assert all(call["cost_usd"] for call in calls)


@pytest.mark.soak
def test_a_long_call_keeps_its_lease(jobs, provider, start_worker):
    provider.gate.clear()
    with start_worker(), start_worker():
        job_id = jobs.start()
        until(lambda: provider.open)
        begun = jobs.row(job_id)["lease_until"]
        until(lambda: (jobs.row(job_id)["lease_until"] - begun).total_seconds() > 3)  # twice as long as a lease
        provider.gate.set()
        assert jobs.ended(job_id) == ["succeeded"]
    assert provider.calls[jobs.tags[job_id]] == jobs.row(job_id)["attempts"] == 1
    assert jobs.errors(job_id) == []


@pytest.mark.soak
def test_a_periodic_move_that_fails_holds_up_no_other(jobs, provider, start_worker):
    """The alerts' table is held, and the erasing waits for a table too."""
    provider.gate.clear()
    with start_worker() as killed:
        job_id = jobs.start()
        until(lambda: provider.open)
        killed.kill()
    provider.gate.set()
    with (
        jobs.locked("recto.alerts"),
        jobs.locked("recto.idempotency_keys"),
        start_worker(ALERT_WEBHOOK_URL="http://127.0.0.1:9/"),
    ):
        until(lambda: jobs.errors(job_id) == ["worker_lost"])
    with start_worker():
        assert jobs.ended(job_id) == ["succeeded"]


@pytest.mark.soak
def test_a_webhook_that_never_ends_its_answer_holds_up_nothing_and_nor_does_a_kill_meanwhile(
    jobs, provider, start_worker
):
    ended = threading.Event()

    class Dripping(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.asked += 1
            with suppress(OSError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.2):
                    self.wfile.write(b"A: b\r\n")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as webhook:
        webhook.asked = 0
        threading.Thread(target=webhook.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{webhook.server_address[1]}/"
        failed = jobs.start()
        provider.failures[jobs.tags[failed]] = [402]
        with start_worker():
            assert jobs.ended(failed) == ["failed"]
        with start_worker(ALERT_WEBHOOK_URL=url) as killed:
            until(lambda: webhook.asked)
            provider.gate.clear()
            abandoned = jobs.start()
            until(lambda: provider.open)
            killed.kill()
        provider.gate.set()
        jobs.rows("update recto.alerts set sent_at = sent_at - interval '1 minute' returning 1")
        with start_worker(ALERT_WEBHOOK_URL=url):
            until(lambda: webhook.asked == 2)
            assert jobs.ended(abandoned) == ["succeeded"]
            ended.set()
        webhook.shutdown()
    assert jobs.errors(abandoned) == ["worker_lost"]
