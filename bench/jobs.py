"""Jobs: how many a second are asked for and done, how soon one starts, what a worker costs that has nothing to do."""

import json
import random
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from threading import local
from uuid import uuid4

import psycopg
import requests

from bench import payload
from bench.processes import cpu_s, memory
from bench.report import table
from bench.targets import JWT_SECRET, Postgres, Target, counted, provider, service, service_environment, worker
from recto.db import starts
from recto.db.pool import open_pool
from recto.db.starts import NewJob
from recto.text.source import SourceText

WORKERS, CONCURRENCY = 4, 4
CLIENTS = 8


def measure(database: Postgres, folder: Path, quick: bool) -> str:
    """Measure everything about jobs; return the tables."""
    rows: list[list[str]] = []
    rows += _asked_for(database, folder, 200 if quick else 2000)
    rows += _done(database, folder, delay_s=0, jobs=500 if quick else 10_000, concurrency=CONCURRENCY)
    rows += _done(database, folder, delay_s=2, jobs=32 if quick else 320, concurrency=8)
    rows += _started(database, folder, 50 if quick else 400)
    rows += _idle(database, folder, 5 if quick else 30)
    return table(["what", "figure"], rows)


def _asked_for(database: Postgres, folder: Path, jobs: int) -> Iterable[list[str]]:
    """Through the whole service, and without it."""
    with provider(0) as upstream, service(service_environment(database.url, upstream.port), folder) as target:
        threads = local()
        tokens, bodies = payload.tokens(JWT_SECRET), payload.bodies()
        requests_to_send = [(random.choice(tokens), next(bodies)) for _ in range(jobs)]

        def send(request: tuple[str, bytes]) -> float:
            threads.session = getattr(threads, "session", None) or requests.Session()
            token, body = request
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            began = time.perf_counter()
            answer = threads.session.post(
                f"http://127.0.0.1:{target.port}/ai/generations", data=body, headers=headers, timeout=30
            )
            answer.raise_for_status()
            return (time.perf_counter() - began) * 1000

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(send, requests_to_send[:50]))  # warm
            began = time.perf_counter()
            latencies = list(pool.map(send, requests_to_send))
            seconds = time.perf_counter() - began
    yield [f"POST /ai/generations, {CLIENTS} clients", f"{jobs / seconds:.0f} jobs/s, {_percentiles(latencies)}"]
    forget(database)
    with Jobs(database) as enqueued:
        began = time.perf_counter()
        enqueued.add(jobs)
        seconds = time.perf_counter() - began
    yield ["a job's row and event alone, one connection", f"{jobs / seconds:.0f} jobs/s"]
    forget(database)


def _done(database: Postgres, folder: Path, *, delay_s: float, jobs: int, concurrency: int) -> Iterable[list[str]]:
    with provider(delay_s) as upstream, Jobs(database) as enqueued:
        before = counted(upstream, "calls")
        enqueued.add(jobs)
        with ExitStack() as workers:
            began = time.perf_counter()
            for number in range(WORKERS):
                workers.enter_context(_worker(database, upstream, folder, number, concurrency))
            while enqueued.count("finished_at is null"):
                time.sleep(0.05)
            seconds = time.perf_counter() - began
        first, last = enqueued.query("select min(started_at), max(finished_at) from generation_jobs")[0]
        once = enqueued.count("status = 'succeeded' and attempts = 1")
        debits = enqueued.query("select count(*) from usage_ledger")[0][0]
        calls = counted(upstream, "calls") - before
    if not once == debits == calls == jobs:
        raise SystemExit(f"{jobs} jobs: {once} done once, {debits} debits, {calls} calls")
    working_s = (last - first).total_seconds()
    yield [
        f"{jobs} pending, provider {delay_s:g} s, {WORKERS} workers × {concurrency}",
        f"{jobs / working_s:.0f} jobs/s ({seconds:.1f} s with the workers' start); none twice, none lost",
    ]
    forget(database)


def _started(database: Postgres, folder: Path, jobs: int) -> Iterable[list[str]]:
    """One after another, each into a worker that has nothing else to do."""
    with provider(0) as upstream, Jobs(database) as enqueued, _worker(database, upstream, folder, 0, 2):
        for _ in range(jobs + 20):
            enqueued.add(1)
            while enqueued.count("finished_at is null"):
                time.sleep(0.005)
            time.sleep(random.uniform(0.01, 0.1))
        waits = [
            float(wait)
            for (wait,) in enqueued.query(
                "select extract(epoch from started_at - created_at) * 1000 from generation_jobs"
                " order by created_at offset 20"
            )
        ]
    yield ["from the commit of a job to its start, idle worker", _percentiles(waits)]
    forget(database)


def _idle(database: Postgres, folder: Path, seconds: int) -> Iterable[list[str]]:
    with provider(0) as upstream, Jobs(database) as counted, _worker(database, upstream, folder, 0, 2) as target:
        time.sleep(3)
        cpu, transactions = cpu_s(target.pid), counted.transactions()
        time.sleep(seconds)
        cpu, transactions = cpu_s(target.pid) - cpu, counted.transactions() - transactions
        held = memory(target.pid)
    yield [
        "an idle worker",
        f"{cpu * 1000 / seconds:.1f} ms CPU/s, {transactions / seconds:.1f} transactions/s, {held.pss_mb:.0f} MB PSS",
    ]


@contextmanager
def _worker(database: Postgres, upstream: Target, folder: Path, number: int, concurrency: int):
    environment = service_environment(database.url, upstream.port) | {"MAX_CONCURRENT_GENERATIONS": "1000"}
    with worker(environment, folder, number, concurrency) as target:
        yield target


class Jobs:
    """Ten users' jobs, put straight into the database."""

    def __init__(self, database: Postgres) -> None:
        self._url = database.url
        self._users = [uuid4() for _ in range(10)]

    def __enter__(self) -> "Jobs":
        self._pool = open_pool(self._url, 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def add(self, count: int) -> None:
        """Queue so many."""
        bodies = payload.bodies()
        for number in range(count):
            source = SourceText(json.loads(next(bodies))["source_text"])
            inputs = {"model": "bench/model", "prompt_version": "1", "source_text": source.text}
            job = NewJob("review", inputs, source.hash, source.length)
            starts.create(self._pool, self._users[number % 10], job, quota=None)

    def query(self, statement: str) -> list[tuple]:
        """Return all rows."""
        with self._pool.connection() as conn:
            return conn.execute(statement).fetchall()

    def count(self, condition: str) -> int:
        """Return how many jobs are so."""
        return self.query(f"select count(*) from generation_jobs where {condition}")[0][0]

    def transactions(self) -> int:
        """Return how many the database has committed so far."""
        return self.query("select xact_commit from pg_stat_database where datname = current_database()")[0][0]


def forget(database: Postgres) -> None:
    """Delete all jobs and records."""
    with psycopg.connect(database.url) as conn:
        # All that hangs on jobs goes with them: attempts and suggestions.
        conn.execute("truncate generation_jobs, usage_ledger, generation_events, generations cascade")


def _percentiles(values: list[float]) -> str:
    return f"p50 {median(values):.1f} ms, p99 {quantiles(values, n=100)[98]:.1f} ms"
