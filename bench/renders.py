"""Pictures: what a webhook costs, each delivered ten times, and what callers cost who ask after jobs in progress."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import time
from uuid import UUID, uuid4

import jwt
import psycopg

from bench.load import Result
from bench.processes import cpu_s
from bench.report import table
from bench.targets import JWT_SECRET, ROOT, Postgres, Target, counted, provider, service, service_environment, worker
from recto.db import images
from recto.db.images import NewImage
from recto.db.pool import open_pool
from recto.db.starts import Lease
from recto.providers.standard_webhooks import sign

WEBHOOKS_PER_S, DUPLICATES = 500, 10
GETS_PER_S, IN_PROGRESS = 200, 100
_SECRET = "whsec_YmVuY2gtc2lnbmluZy1rZXktb2YtcmVjdG8="
# The load generator sends for 2 s before the counted window and 1 s after it.
_UNCOUNTED_S = 3


@dataclass(frozen=True)
class _Job:
    id: UUID
    user_id: UUID
    prediction_id: str


def measure(database: Postgres, folder: Path, quick: bool) -> str:
    """Measure everything about pictures; return the table."""
    seconds = 3 if quick else 15
    rows: list[list[str]] = []
    for workers in (0, 1):
        rows += _webhooks(database, folder, seconds, workers)
    rows += _gets(database, folder, seconds)
    return table(["what", "p50 ms", "p99 ms", "longest ms", "errors", "Recto's CPU ms", "and"], rows)


def _webhooks(database: Postgres, folder: Path, seconds: int, workers: int) -> Iterable[list[str]]:
    with provider(0) as upstream:
        environment = _environment(database, upstream, folder)
        jobs = _in_progress(database, WEBHOOKS_PER_S * (seconds + _UNCOUNTED_S) // DUPLICATES)
        with service(environment, folder) as target:
            webhooks = [_webhook(job, upstream) for job in jobs for _ in range(DUPLICATES)]
            if workers:
                with worker(environment, folder, 0, 2):
                    row = _send(target, folder, webhooks, WEBHOOKS_PER_S, seconds)
            else:
                row = _send(target, folder, webhooks, WEBHOOKS_PER_S, seconds)
        stored, heard = _query(
            database,
            "select count(*) filter (where status = 'succeeded'), count(*) filter (where prediction ->> 'status' ="
            " 'succeeded') from generation_jobs",
        )
    if heard != len(jobs):
        raise SystemExit(f"{heard} of {len(jobs)} ends were recorded")
    doing = f"a worker stored {stored} meanwhile" if workers else "no worker"
    yield [f"{WEBHOOKS_PER_S} webhooks/s, {DUPLICATES} of each", *row, f"all of {heard} recorded; {doing}"]
    _forget(database)


def _gets(database: Postgres, folder: Path, seconds: int) -> Iterable[list[str]]:
    with provider(0) as upstream, service(_environment(database, upstream, folder), folder) as target:
        jobs = _in_progress(database, IN_PROGRESS)
        asked = [_get(job) for job in jobs]
        before = counted(upstream, "look-ups")
        row = _send(target, folder, asked, GETS_PER_S, seconds)
        looks = counted(upstream, "look-ups") - before
    sent = GETS_PER_S * (seconds + _UNCOUNTED_S)
    yield [
        f"{GETS_PER_S} GETs/s of {IN_PROGRESS} jobs in progress",
        *row,
        f"{looks} look-ups for {sent} GETs in {seconds + _UNCOUNTED_S} s",
    ]
    _forget(database)


def _environment(database: Postgres, upstream: Target, folder: Path) -> dict[str, str]:
    address = f"http://127.0.0.1:{upstream.port}"
    return service_environment(database.url, upstream.port) | {
        "REPLICATE_API_TOKEN": "bench",
        "REPLICATE_BASE_URL": address,
        "REPLICATE_OUTPUT_HOSTS": address,
        "REPLICATE_WEBHOOK_SECRET": _SECRET,
        "PUBLIC_BASE_URL": "https://recto.example",
        "STORAGE_URL": f"file://{folder}/files",
    }


def _in_progress(database: Postgres, count: int) -> list[_Job]:
    """Submitted jobs, each another user's: everyone may have one."""
    lease = Lease(holder=uuid4(), lease_s=60)
    jobs = [_Job(uuid4(), uuid4(), f"bench{uuid4().hex[:21]}") for _ in range(count)]
    pool = open_pool(database.url, 1)
    try:
        for job in jobs:
            new = NewImage("imagine", "a fox", {}, "1", "bench/model", "hash")
            images.reserve(pool, job.user_id, job.id, new, limit=1, lease=lease)
            # No worker looks by itself while this is measured.
            images.submitted(
                pool, job.user_id, job.id, lease.holder, job.prediction_id, {"status": "starting"}, look_in_s=3600
            )
    finally:
        pool.close()
    return jobs


def _webhook(job: _Job, upstream: Target) -> str:
    output = f"http://127.0.0.1:{upstream.port}/outputs/{job.prediction_id}.jpg"
    body = json.dumps({"id": job.prediction_id, "status": "succeeded", "output": output}).encode()
    now = int(time())
    return (
        f"POST /v1/webhooks/replicate?job={job.id} HTTP/1.1\r\nHost: recto\r\nContent-Type: application/json\r\n"
        f"webhook-id: {job.id}\r\nwebhook-timestamp: {now}\r\n"
        f"webhook-signature: {sign(_SECRET, str(job.id), now, body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    ) + body.decode()


def _get(job: _Job) -> str:
    now = int(time())
    claims = {"aud": "authenticated", "role": "authenticated", "sub": str(job.user_id), "iat": now, "exp": now + 3600}
    token = jwt.encode(claims, JWT_SECRET, "HS256")
    return f"GET /v1/generations/{job.id} HTTP/1.1\r\nHost: recto\r\nAuthorization: Bearer {token}\r\n\r\n"


def _send(target: Target, folder: Path, sent: list[str], per_s: int, seconds: int) -> list[str]:
    """Send the requests at that rate, in an open loop; return the figures of a row."""
    requests = folder / "requests.json"
    requests.write_text(json.dumps(sent))
    command = [sys.executable, "-m", "bench.load", "open", str(target.port), JWT_SECRET]
    command += ["--in-flight", str(per_s), "--delay", "1", "--seconds", str(seconds), "--requests", str(requests)]
    before = cpu_s(target.pid)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    spent_ms = (cpu_s(target.pid) - before) * 1000 / (per_s * (seconds + _UNCOUNTED_S))
    result = Result(**json.loads(done.stdout.splitlines()[-1]))
    percentiles = map(result.percentile_ms, (50, 99, 100))
    return [*(f"{value:.1f}" for value in percentiles), str(sum(result.errors.values())), f"{spent_ms:.2f}"]


def _query(database: Postgres, statement: str) -> tuple:
    with psycopg.connect(database.url) as conn:
        return conn.execute(statement).fetchone()


def _forget(database: Postgres) -> None:
    with psycopg.connect(database.url) as conn:
        conn.execute("truncate generation_jobs, usage_ledger, generation_events, renders cascade")
