"""The worker: a process that claims due jobs and runs them, several at a time, until it is told to stop."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore, Thread
from time import perf_counter

import psycopg
import structlog
from prometheus_client import start_http_server

from recto.db import alerts, claims, erasure
from recto.db.claims import Attempt
from recto.db.images import KIND
from recto.db.listener import WAKE_UPS, Listener
from recto.errors import Unavailable
from recto.jobs.costs import ask_for_costs
from recto.jobs.images import delete_files, run_image
from recto.jobs.run import run
from recto.providers import webhook
from recto.runtime import WorkerRuntime
from recto.settings import SettingsError, WorkerSettings
from recto.telemetry import log, log_failure
from recto.times import Times

_ERASE_EVERY_S = 600.0
_ALERT_EVERY_S = 10.0
_DELETE_FILES_EVERY_S = 10.0
_ASK_FOR_COSTS_EVERY_S = 5.0
_DATABASE_AWAY_PAUSE_S = 1.0


def work(
    settings: WorkerSettings, *, concurrency: int, metrics_port: int | None = None, times: Times | None = None
) -> None:
    """Run up to ``concurrency`` jobs at a time until SIGTERM or SIGINT; what runs then is finished first.

    It survives a restart of the database. Raises ``SettingsError``.
    """
    if metrics_port is not None:
        try:
            start_http_server(metrics_port, addr="127.0.0.1")
        except OSError as error:
            raise SettingsError(f"--metrics-port {metrics_port}: {os.strerror(error.errno or 0)}") from None
    # One connection for each job's writes; one each for claims, leases and the periodic work.
    times = times or Times.of(settings.openrouter_timeout_ms)
    runtime = WorkerRuntime.open_worker(settings, times, pool_size=concurrency + 3)
    try:
        _Worker(runtime, concurrency).run()
    finally:
        runtime.close()


class _Worker:
    def __init__(self, runtime: WorkerRuntime, concurrency: int) -> None:
        self._runtime = runtime
        self._concurrency = concurrency
        self._stopping = Event()
        self._wake_up = Event()
        self._free = Semaphore(concurrency)

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        wake = self._wake_up.set
        listener = Listener(self._runtime.settings.database_url, WAKE_UPS, lambda _: wake(), wake)
        listener.start()
        # Each in a thread of its own, so that none holds up another.
        periodic = [
            Thread(target=self._every, args=(seconds, task), name=task.__name__, daemon=True)
            for seconds, task in (
                (self._runtime.times.sweep_every_s, recover_abandoned),
                (_ERASE_EVERY_S, erase),
                (_ALERT_EVERY_S, alert),
                (_DELETE_FILES_EVERY_S, delete_files),
                (_ASK_FOR_COSTS_EVERY_S, ask_for_costs),
            )
        ]
        for thread in periodic:
            thread.start()
        log.info("worker_started", concurrency=self._concurrency)
        with ThreadPoolExecutor(self._concurrency) as threads:
            while attempt := self._claim():
                threads.submit(self._run_job, attempt)
        listener.close()
        log.info("worker_stopped")

    def _stop(self) -> None:
        self._stopping.set()
        self._wake_up.set()

    def _claim(self) -> Attempt | None:
        """Wait for a free thread and a due job; return None once the worker stops."""
        runtime = self._runtime
        while not self._stopping.is_set():
            if not self._free.acquire(timeout=runtime.times.poll_s) or self._stopping.is_set():
                continue  # a job that begins after the signal might outlast what the service manager waits
            self._wake_up.clear()
            attempt = None
            try:
                attempt = claims.claim(
                    runtime.pool,
                    runtime.leases.holder,
                    lease_s=runtime.leases.lease_s,
                    capacity=runtime.settings.max_concurrent_generations,
                )
            except psycopg.Error as error:
                log.warning("jobs_not_claimed", reason=type(error).__name__)
                self._stopping.wait(_DATABASE_AWAY_PAUSE_S)
            if attempt is not None:
                return attempt
            self._free.release()
            self._wake_up.wait(runtime.times.poll_s)
        return None

    def _run_job(self, attempt: Attempt) -> None:
        started = perf_counter()
        facts = {
            "job_id": str(attempt.job_id),
            "user_id": str(attempt.user_id),
            "kind": attempt.kind,
            "attempt": attempt.number,
        }
        with structlog.contextvars.bound_contextvars(**facts):
            try:
                outcome_name, spent = self._run(attempt)
                duration_ms = round((perf_counter() - started) * 1000)
                log.info("job", outcome=outcome_name, duration_ms=duration_ms, **spent)
            except (psycopg.Error, Unavailable) as error:
                log.warning("job_not_committed", reason=type(error).__name__)
            except Exception as error:  # noqa: BLE001  the thread has more jobs to run
                log_failure(error)
            finally:
                self._free.release()

    def _run(self, attempt: Attempt) -> tuple[str, dict[str, object]]:
        if attempt.kind != KIND:
            outcome, spent = run(self._runtime, attempt, stopping=self._stopping.is_set)
            return outcome.name, spent
        with self._runtime.leases.renewed(attempt.job_id):
            return run_image(self._runtime, attempt), {}

    def _every(self, seconds: float, task: Callable[[WorkerRuntime], None]) -> None:
        while not self._stopping.is_set():
            try:
                task(self._runtime)
            except psycopg.Error as error:
                log.warning("periodic_work_failed", task=task.__name__, reason=type(error).__name__)
                # After an outage all leases are over: those who live renew theirs, or commit, before others take over.
                self._stopping.wait(self._runtime.times.lease_s)
            except Exception as error:  # noqa: BLE001  the next turn may succeed
                log_failure(error)
            self._stopping.wait(seconds)


def recover_abandoned(runtime: WorkerRuntime) -> None:
    """Recover every job whose holder stopped renewing its lease, each in a transaction of its own."""
    while job_id := claims.recover_abandoned(runtime.pool):
        log.warning("job_recovered", job_id=str(job_id))


def erase(runtime: WorkerRuntime) -> None:
    """Erase what is no longer needed."""
    erasure.erase_old(runtime.pool, retry_window=runtime.settings.retry_window, retention=runtime.settings.retention)


def alert(runtime: WorkerRuntime) -> None:
    """Report to ALERT_WEBHOOK_URL the jobs that failed for good, at most once a minute."""
    url = runtime.settings.alert_webhook_url
    due = alerts.due(runtime.pool) if url else None
    if url is None or due is None:
        return
    total = sum(map(len, due.failures.values()))
    by_code = ", ".join(f"{len(job_ids)} × {code}" for code, job_ids in due.failures.items())
    text = f"Recto: {total} generation{'s' if total != 1 else ''} failed for good: {by_code}."
    try:
        webhook.send(url.get_secret_value(), text)
    except webhook.WebhookError as error:
        log.warning("alert_not_sent", reason=str(error))
    else:
        alerts.arrived(runtime.pool, due)
