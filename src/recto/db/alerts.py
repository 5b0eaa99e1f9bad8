"""Which final failures an alert has not reported yet."""

from dataclasses import dataclass
from uuid import UUID

from recto.db.pool import Pool, as_worker

# Whoever moves sent_at on sends the message: at most one a minute over all workers.
_DUE = """
    update recto.alerts set sent_at = now()
    where sent_at < now() - interval '1 minute' and exists (
        select from generation_jobs where status = 'failed' and alerted_at is null and kind <> 'synchronous'
            and finished_at > now() - interval '1 day')
    returning true
"""
_FAILURES = """
    select error ->> 'log_code', array_agg(id) from generation_jobs
    where status = 'failed' and alerted_at is null and kind <> 'synchronous' and finished_at > now() - interval '1 day'
    group by 1 order by count(*) desc, 1
"""


@dataclass(frozen=True, slots=True)
class Alert:
    """The jobs that failed for good and were not reported, by ``log_code``."""

    failures: dict[str, list[UUID]]


def due(pool: Pool) -> Alert | None:
    """Return what an alert must report, if one is due: at most one a minute over all workers."""
    with as_worker(pool) as conn:
        return Alert(dict(conn.execute(_FAILURES).fetchall())) if conn.execute(_DUE).fetchone() else None


def arrived(pool: Pool, alert: Alert) -> None:
    """Remember that the alert arrived; until then the next one reports the same failures again."""
    job_ids = [job_id for failed in alert.failures.values() for job_id in failed]
    with as_worker(pool) as conn:
        conn.execute("update generation_jobs set alerted_at = now() where id = any(%s)", (job_ids,))
