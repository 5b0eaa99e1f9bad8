"""Who runs a job: a worker claims one that is due, and recovers one that nobody runs any more."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row

from recto.db.failures import ABANDONED, end_as_failed, log_failure
from recto.db.pool import Pool, as_worker

_LOCK = 0x5EC72  # of its own among the advisory locks

# So long a picture whose submission was interrupted waits for the webhook that names it.
_ORPHANED_SUBMISSION = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a job that has begun, by ``holder``. What it commits is refused once another attempt has begun.

    ``payload``: what the prompt is made of. ``sections``: of a long text, as in ``NewJob``. ``in_background``: a worker
    runs it; else a caller waits for it.
    """

    job_id: UUID
    user_id: UUID
    kind: str
    number: int
    holder: UUID
    in_background: bool
    payload: dict[str, Any]
    source_text_hash: str | None
    source_text_length: int | None
    deck_id: UUID | None
    sections: list[dict[str, Any]] | None


# The lease begins now: the transaction, whose time now() is, may have waited long for another claim.
_CLAIM = """
    with due as (
        select id from generation_jobs where status = 'pending' and run_at <= now()
            and %(capacity)s > (select count(*) from generation_jobs where status = 'running' and in_background)
        order by run_at limit 1 for update skip locked
    ), begun as (
        update generation_jobs job set status = 'running', attempts = attempts + 1, attempts_left = attempts_left - 1,
            holder = %(holder)s, lease_until = clock_timestamp() + %(lease)s, started_at = now()
        from due where job.id = due.id
        returning job.id as job_id, user_id, kind, attempts as number, holder, in_background, payload, source_text_hash,
            source_text_length, deck_id, sections
    ), opened as (
        insert into generation_attempts (job_id, number, call, user_id, model)
        select job_id, number, 1, user_id, payload ->> 'model' from begun where kind <> 'image'
    )
    select * from begun
"""


def claim(pool: Pool, holder: UUID, *, lease_s: float, capacity: int) -> Attempt | None:
    """Begin the next attempt of the job that has been due for longest, as ``holder``, for ``lease_s``.

    Returns None if no job is due, or if ``capacity`` jobs run in the background already, on all machines together.
    """
    with as_worker(pool) as conn, conn.cursor(row_factory=class_row(Attempt)) as cursor:
        conn.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))  # or two claims would count the same jobs
        return cursor.execute(
            _CLAIM, {"holder": holder, "lease": timedelta(seconds=lease_s), "capacity": capacity}
        ).fetchone()


def recover_abandoned(pool: Pool) -> UUID | None:
    """Recover one job whose lease is over and return its id; None if there is none.

    Its attempt is logged as ``worker_lost``. It becomes pending again, or fails if no attempt is left.
    """
    with as_worker(pool) as conn:
        row = conn.execute(
            "select id from generation_jobs where status = 'running' and lease_until < now()"
            " order by lease_until limit 1 for update skip locked"
        ).fetchone()
        if row is not None:
            abandon(conn, row[0])
    return row[0] if row else None


def _leave_image(conn: Connection, job_id: UUID) -> None:
    """Leave a picture to the next worker, at once or, if the provider may have it unknown to us, after some time."""
    conn.execute(
        "update generation_jobs set status = 'pending', in_background = true, holder = null, lease_until = null,"
        " run_at = case when prediction_id is null then now() + %s else now() end where id = %s",
        (_ORPHANED_SUBMISSION, job_id),
    )


def abandon(conn: Connection, job_id: UUID) -> None:
    """End the attempt of a job whose lease is over. The caller has locked the job."""
    conn.execute(
        "update generation_attempts set outcome = %s where job_id = %s and outcome is null",
        (ABANDONED.log_code, job_id),
    )
    row = conn.execute(
        "select kind, in_background, attempts_left > 0 from generation_jobs where id = %s", (job_id,)
    ).fetchone()
    assert row is not None  # noqa: S101  the caller has locked it
    kind, in_background, is_left = row
    again = in_background and is_left
    if kind == "image" and is_left:
        _leave_image(conn, job_id)
        return
    # What a caller waited for without keeping it has its one row or none, as if there were no quota.
    if kind != "synchronous":
        log_failure(conn, job_id, ABANDONED)
    if again:
        conn.execute(
            "update generation_jobs set status = 'pending', run_at = now(), holder = null, lease_until = null"
            " where id = %s",
            (job_id,),
        )
    else:
        end_as_failed(conn, job_id, ABANDONED)
