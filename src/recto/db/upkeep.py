"""What the worker's periodic tasks do to the tables: take up what was left behind, erase what is needed no more."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from recto.db import idempotency
from recto.db.attempts import LOST, end_as_failed, log
from recto.db.jobs import ERASED, SHOWN
from recto.db.pool import Pool, as_service
from recto.db.queue import enqueue
from recto.telemetry import Gauges

# Jobs in flight whose entry in the queue is gone: the task ended without ending the job.
_ORPHANED = """
    select id from generation_jobs job
    where status in ('pending', 'running') and queue_job_id is not null and not exists (
        select from procrastinate_jobs entry where entry.id = job.queue_job_id and entry.status in ('todo', 'doing'))
    for update skip locked
"""
_LEASE_RAN_OUT = """
    select id from generation_jobs where status = 'running' and lease_until < now() for update skip locked
"""
_IN_FLIGHT = """
    select count(*) filter (where status = 'pending'), count(*) filter (where status = 'running'),
        coalesce(extract(epoch from now() - min(created_at) filter (where status = 'pending')), 0)::float8
    from generation_jobs where status in ('pending', 'running')
"""
# One a minute: who moves sent_at on sends the message.
_DUE_ALERT = f"""
    update recto.alerts set sent_at = now()
    where sent_at < now() - interval '1 minute' and exists (
        select from generation_jobs where {SHOWN} and status = 'failed' and finished_at > covered_until)
    returning covered_until, now()
"""  # noqa: S608  our own words
_FAILURES = f"""
    select error ->> 'log_code', count(*) from generation_jobs
    where {SHOWN} and status = 'failed' and finished_at > %s and finished_at <= %s group by 1 order by 2 desc, 1
"""  # noqa: S608  our own words


@dataclass(frozen=True, slots=True)
class Alert:
    """Final failures by ``log_code`` since the last message that arrived, up to ``until``."""

    failures: dict[str, int]
    until: datetime


def requeue_orphans(pool: Pool) -> int:
    """Queue anew each job in flight that no entry of the queue stands for; return how many there were."""
    with as_service(pool, None) as conn:
        orphans = conn.execute(_ORPHANED).fetchall()
        for (job_id,) in orphans:
            conn.execute("update generation_jobs set queue_job_id = %s where id = %s", (enqueue(conn, job_id), job_id))
        return len(orphans)


def fail_lost(pool: Pool) -> int:
    """Fail the jobs that a process of the API began and did not end within its lease; return how many there were."""
    with as_service(pool, None) as conn:
        lost = conn.execute(_LEASE_RAN_OUT).fetchall()
        for (job_id,) in lost:
            log(conn, job_id, LOST)
            end_as_failed(conn, job_id, LOST)
        return len(lost)


def erase(pool: Pool, *, retry_window: timedelta, retention: timedelta) -> None:
    """Erase what users wrote in jobs that can no longer be retried, old suggestions and old idempotency keys."""
    with as_service(pool, None) as conn:
        conn.execute(
            f"update generation_jobs set payload = {ERASED}"  # noqa: S608  our own column names
            " where has_text and status not in ('pending', 'running') and finished_at < now() - %s",
            (retry_window,),
        )
        conn.execute("delete from ai_suggestions where created_at < now() - %s", (retention,))
    idempotency.purge(pool)


def in_flight(pool: Pool) -> Gauges:
    """Return what waits and what runs, over all workers."""
    with as_service(pool, None) as conn:
        row = conn.execute(_IN_FLIGHT).fetchone()
    assert row is not None  # noqa: S101  an aggregate always has one row
    return Gauges(*row)


def due_alert(pool: Pool) -> Alert | None:
    """Return what an alert must tell, if one is due: at most one a minute over all workers."""
    with as_service(pool, None) as conn:
        row = conn.execute(_DUE_ALERT).fetchone()
        return Alert(dict(conn.execute(_FAILURES, row).fetchall()), row[1]) if row else None


def alert_arrived(pool: Pool, alert: Alert) -> None:
    """Remember that the alert arrived; until then the next one tells the same failures again."""
    with as_service(pool, None) as conn:
        conn.execute("update recto.alerts set covered_until = %s", (alert.until,))
