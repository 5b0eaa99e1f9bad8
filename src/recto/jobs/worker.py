"""The worker: a process that runs jobs from the queue, several at a time, until it is told to stop."""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from time import perf_counter
from typing import Any
from uuid import UUID

import psycopg
import structlog
from procrastinate import App, BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job
from prometheus_client import start_http_server
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout

from recto.db import attempts
from recto.db.pool import TRANSACTION_POOLER_PORT
from recto.db.queue import QUEUE, TASK
from recto.db.slots import slot
from recto.jobs import upkeep
from recto.jobs.run import run
from recto.runtime import WorkerRuntime
from recto.settings import SettingsError, WorkerSettings
from recto.telemetry import log

_UPKEEP_QUEUE = "upkeep"
# New entries are notified; this is for those that waited for their time, and for a lost notification.
_POLL_S = 1.0
_RECONNECT_AFTER_S = 1
# What a running call may take beyond its deadline before the process leaves it to another worker.
_GRACE_S = 30.0


class _HandedBack(Exception):
    """The job was not begun; its entry goes back into the queue as it is."""


class _BackToQueue(BaseRetryStrategy):
    """An entry whose job could not be begun or committed is tried again; what failed in a job is not decided here."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        match exception:
            case _HandedBack():
                return RetryDecision(retry_in={"seconds": 0})
            case psycopg.Error() | PoolTimeout():
                return RetryDecision(retry_in={"seconds": _RECONNECT_AFTER_S})
        return None


def work(settings: WorkerSettings, *, concurrency: int, metrics_port: int | None = None) -> None:
    """Run up to ``concurrency`` jobs at a time until SIGTERM or SIGINT; what runs then is finished first.

    It survives a restart of the database. Raises ``SettingsError``.
    """
    if conninfo_to_dict(settings.database_url).get("port") == TRANSACTION_POOLER_PORT:
        raise SettingsError(
            f"DATABASE_URL: port {TRANSACTION_POOLER_PORT} is a pooler that keeps no session; "
            "a worker needs the direct address or the session pooler (port 5432)"
        )
    if metrics_port is not None:
        try:
            start_http_server(metrics_port, addr="127.0.0.1")
        except OSError as error:
            raise SettingsError(f"--metrics-port {metrics_port}: {os.strerror(error.errno or 0)}") from None
    # One connection for a job's slot, one for its writes, two for the upkeep.
    runtime = WorkerRuntime.open_worker(settings, pool_size=2 * concurrency + 2)
    try:
        asyncio.run(_Worker(runtime, concurrency).run())
    finally:
        runtime.close()


class _Worker:
    def __init__(self, runtime: WorkerRuntime, concurrency: int) -> None:
        self._runtime = runtime
        self._concurrency = concurrency
        self._stopping = Event()
        self._app = App(
            connector=PsycopgConnector(
                conninfo=runtime.settings.database_url,
                kwargs={"options": "-c role=recto_service -c search_path=procrastinate", "connect_timeout": 5},
                min_size=1,
                max_size=4,
            )
        )
        self._app.task(name=TASK, queue=QUEUE, pass_context=True, retry=_BackToQueue())(self._run_job)
        self._every(upkeep.OFTEN, "take_up", self._take_up)
        self._every(upkeep.OFTEN, "alert", self._alert)
        self._every(upkeep.SELDOM, "erase", self._erase)

    def _every(self, cron: str, name: str, function: Any) -> None:
        task = self._app.task(name=name, queue=_UPKEEP_QUEUE, queueing_lock=name)(function)
        self._app.periodic(cron=cron)(task)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        # The default has as many threads as the machine has cores, and a few; a job may want one each.
        loop.set_default_executor(ThreadPoolExecutor(self._concurrency + 2))
        # Should one half fail unforeseen, the other ends too, and the process with them.
        async with asyncio.TaskGroup() as group:
            workers = [
                group.create_task(self._serve(QUEUE, self._concurrency)),
                group.create_task(self._serve(_UPKEEP_QUEUE, 1)),
            ]

            def stop() -> None:
                self._stopping.set()
                for worker in workers:
                    worker.cancel()

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop)
            log.info("worker_started", concurrency=self._concurrency)
        with suppress(ConnectorException, psycopg.Error):
            await self._app.close_async()
        log.info("worker_stopped")

    async def _serve(self, queue: str, concurrency: int) -> None:
        """Work on the queue; when the database goes away, come back when it does."""
        while not self._stopping.is_set():
            try:
                await self._app.open_async()
                await self._app.run_worker_async(
                    queues=[queue],
                    name=queue,
                    concurrency=concurrency,
                    fetch_job_polling_interval=_POLL_S,
                    update_heartbeat_interval=upkeep.HEARTBEAT_S,
                    stalled_worker_timeout=upkeep.DEAD_AFTER_S,
                    shutdown_graceful_timeout=self._runtime.settings.openrouter_timeout_ms / 1000 + _GRACE_S,
                    delete_jobs="always",
                    install_signal_handlers=False,
                )
            except (ConnectorException, psycopg.Error, PoolTimeout) as error:
                log.warning("worker_reconnects", queue=queue, reason=type(error.__cause__ or error).__name__)
            if not self._stopping.is_set():
                await asyncio.sleep(_RECONNECT_AFTER_S)

    def _run_job(self, context: JobContext, job_id: str) -> None:
        runtime = self._runtime
        with slot(runtime.pool, runtime.settings.max_concurrent_generations, stopping=self._stopping) as held:
            if not held:
                raise _HandedBack
            assert context.job.id is not None  # noqa: S101  it comes from the queue
            attempt = attempts.claim(runtime.pool, UUID(job_id), context.job.id)
            if attempt is None:
                return
            started = perf_counter()
            facts = {"job_id": job_id, "user_id": str(attempt.user_id), "kind": attempt.kind, "attempt": attempt.number}
            with structlog.contextvars.bound_contextvars(**facts):
                outcome = run(runtime, attempt, stopping=self._stopping.is_set)
                duration_ms = round((perf_counter() - started) * 1000)
                log.info("job", outcome=outcome.name, duration_ms=duration_ms, **outcome.facts)

    async def _take_up(self, timestamp: int) -> None:
        await upkeep.take_up(self._runtime, self._app.job_manager)

    def _alert(self, timestamp: int) -> None:
        upkeep.alert(self._runtime)

    def _erase(self, timestamp: int) -> None:
        upkeep.erase(self._runtime)
