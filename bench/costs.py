"""``python -m bench.costs``: what one generation costs each part of Recto, for the simulation in ``capacity.py``.

The whole service answers closed loops of 1 and of 64 clients with a provider that answers at once; then a worker drains
a queue. Costs are what processes, tables and PostgreSQL's own counters gained, by the rows that were inserted.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any, Self
from uuid import uuid4

import psycopg

from bench.jobs import Jobs, forget
from bench.processes import cpu_s, memory
from bench.targets import JWT_SECRET, ROOT, Postgres, Target, postgres, provider, service, service_environment, worker
from recto.db import claims
from recto.db.pool import open_pool

COSTS = Path(__file__).with_name("costs.json")
_SECONDS = {1: 10, 64: 30}  # of a closed loop, by its clients
_JOBS = 1500
_CPUS = os.cpu_count() or 1

_COUNTERS = """
    select xact_commit as commits, (select wal_bytes from pg_stat_wal)::float8 as wal_bytes,
        (select sum(fsyncs) from pg_stat_io where object = 'wal')::float8 as fsyncs
    from pg_stat_database where datname = current_database()
"""
_SIZES = """
    select relname, pg_total_relation_size(oid) from pg_class
    where relkind = 'r' and relnamespace in ('public'::regnamespace, 'recto'::regnamespace)
"""


@dataclass(frozen=True)
class Snapshot:
    """What has been spent so far; the difference of two is a run's. CPU in seconds; sizes in bytes, by table."""

    target_s: float
    database_s: float
    counters: dict[str, float]
    sizes: dict[str, int]

    @classmethod
    def take(cls, database: Postgres, target: Target) -> Self:
        """Wait until all counters are told, and read them."""
        time.sleep(11)  # PostgreSQL's processes tell theirs after ten idle seconds at the latest
        with psycopg.connect(database.url, row_factory=psycopg.rows.dict_row) as conn:
            counters = conn.execute(_COUNTERS).fetchone()
            sizes = {row["relname"]: row["pg_total_relation_size"] for row in conn.execute(_SIZES)}
        return cls(cpu_s(target.pid), cpu_s(database.pid), counters, sizes)

    def since(self, before: Self, count: int) -> dict[str, Any]:
        """Return the costs of each of ``count`` generations: ms of CPU, bytes, and how often."""
        gained = {name: (value - before.counters[name]) / count for name, value in self.counters.items()}
        bytes_ = {name: (size - before.sizes.get(name, 0)) / count for name, size in self.sizes.items()}
        return {
            "count": count,
            "cpu_ms": (self.target_s - before.target_s) / count * 1e3,
            "database_cpu_ms": (self.database_s - before.database_s) / count * 1e3,
            **gained,
            "table_bytes": {name: round(size) for name, size in sorted(bytes_.items()) if size >= 1},
        }


def main() -> None:
    """Measure, and print or write."""
    url = os.environ.pop("RATE_LIMIT_STORAGE_URL", None)  # else all that is started would have it
    costs: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "cpus": _CPUS}
    with TemporaryDirectory(prefix="recto-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        database = stack.enter_context(postgres(folder))
        upstream = stack.enter_context(provider(0))
        environment = service_environment(database.url, upstream.port)
        with service(environment, folder) as target:
            costs["idle_web_mb"] = memory(target.pid).pss_mb / _CPUS
            _load(target, 64, 2)
            costs |= {f"clients_{clients}": _closed(database, upstream, target, clients) for clients in _SECONDS}
        if url:
            with service(environment | {"RATE_LIMIT_STORAGE_URL": url}, folder) as target:
                _load(target, 64, 2)
                costs["clients_64_valkey"] = _closed(database, upstream, target, 64)
        costs |= {"fsync_ms": _fsync_ms(database), "claim_ms": _claim_ms(database)}
        costs["job"] = _drained(database, environment, folder)
    text = json.dumps(costs, indent=1)
    print(text)
    if "--write" in sys.argv:
        COSTS.write_text(text + "\n")


def _claim_ms(database: Postgres) -> dict[int, float]:
    """Return how long a claim takes by how many jobs run, whose count is a part of it."""
    by_running = {}
    with Jobs(database) as jobs:
        for running in (10, 1500):
            jobs.add(running)
            jobs.query("update generation_jobs set status = 'running' where status = 'pending' returning id")
            jobs.add(100)
            with open_pool(database.url, 1) as pool:
                by_running[running] = _quick_ms(lambda: claims.claim(pool, uuid4(), lease_s=900, capacity=10_000), 100)
            forget(database)
    return by_running


def _fsync_ms(database: Postgres) -> float:
    """Return what the disk takes of a commit."""
    with psycopg.connect(database.url, autocommit=True) as conn:
        conn.execute("create table probe (n int)")
        insert = lambda: conn.execute("insert into probe values (1)")  # noqa: E731
        synchronous = _quick_ms(insert, 300)
        conn.execute("set synchronous_commit = off")
        return synchronous - _quick_ms(insert, 300)


def _quick_ms(call: Callable[[], object], times: int) -> float:
    """The quickest tenth's longest: what else runs on the machine is no cost of the call."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1e3)
    return quantiles(took, n=10)[0]


def _closed(database: Postgres, upstream: Target, target: Target, clients: int) -> dict[str, Any]:
    before, had = Snapshot.take(database, target), _generations(database)
    roots = [target.pid, database.pid, upstream.pid]
    busy, own = _busy_s(), list(map(cpu_s, roots))
    result = _load(target, clients, _SECONDS[clients])
    # What others on this machine took meanwhile, in cores: validation must not count with those.
    own = [now - then for now, then in zip(map(cpu_s, roots), own, strict=True)]
    spent = _busy_s() - busy - sum(own) - result["whole_cpu_s"]
    after = Snapshot.take(database, target)
    count = _generations(database) - had
    latencies = sorted(result["latencies_ms"])
    return after.since(before, count) | {
        "requests_a_second": len(latencies) / result["seconds"],
        "p50_ms": latencies[len(latencies) // 2],
        "others_cores": max(0.0, spent / result["took_s"]),
        "client_cpu_ms": result["cpu_s"] / result["requests"] * 1e3,
        "provider_cpu_ms": own[2] / count * 1e3,
    }


def _load(target: Target, clients: int, seconds: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.load", "closed", str(target.port), JWT_SECRET]
    command += ["--clients", str(clients), "--seconds", str(seconds)]
    began, before = time.monotonic(), os.times()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return json.loads(done.stdout.splitlines()[-1]) | {"took_s": time.monotonic() - began, "whole_cpu_s": spent}


def _drained(database: Postgres, environment: dict[str, str], folder: Path) -> dict[str, Any]:
    """A worker of the default concurrency."""
    with Jobs(database) as jobs, ExitStack() as stack:
        jobs.add(_JOBS)  # what asking costs is a web process's
        target = stack.enter_context(worker(environment | {"MAX_CONCURRENT_GENERATIONS": "1000"}, folder, 0, 2))
        while jobs.count("finished_at is not null") < 50:
            time.sleep(0.05)
        before, had = Snapshot.take(database, target), jobs.count("finished_at is not null")
        while jobs.count("finished_at is null"):
            time.sleep(0.5)
        after, now = Snapshot.take(database, target), jobs.count("finished_at is not null")
        sizes = {name: size / _JOBS for name, size in after.sizes.items() if name.startswith(("generation_", "ai_"))}
        held = memory(target.pid).pss_mb
    return after.since(before, now - had) | {"memory_mb": held, "table_bytes": {n: round(s) for n, s in sizes.items()}}


def _generations(database: Postgres) -> int:
    with psycopg.connect(database.url) as conn:
        row = conn.execute("select count(*) from generations").fetchone()
    return row[0] if row else 0


def _busy_s() -> float:
    """Seconds of CPU that all of the machine has spent, of all processes."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
