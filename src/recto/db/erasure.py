"""The one place that erases what users wrote: on their own wish, when its time is over, or with the user."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import psycopg
from psycopg import Connection

from recto.db import idempotency, usage
from recto.db.pool import Pool, as_service, as_worker
from recto.errors import NotFound

# A canceled job counts if the provider may have been paid: it runs, an earlier call of it brought cards, or the process
# that ran it was lost.
_CANCEL = """
    update generation_jobs job set status = 'canceled', holder = null, lease_until = null, finished_at = now()
    from (select id, status from generation_jobs where user_id = %(user_id)s and id = %(job_id)s for update) before
    where job.id = before.id and before.status in ('pending', 'running')
    returning job.kind, before.status = 'running' or exists (
        select from generation_attempts attempt
        where attempt.job_id = job.id and outcome in ('succeeded', 'worker_lost'))
"""
_ERASE_TEXTS = """
    update generation_jobs set payload = recto.without_texts(payload) where id = any(array(
        select id from generation_jobs
        where has_text and status not in ('pending', 'running') and finished_at < now() - %(age)s
        limit %(most)s for update skip locked))
"""
_DELETE_EVENTS = """
    delete from generation_events where id = any(array(
        select id from generation_events where created_at < now() - %(age)s limit %(most)s))
"""
# As many rows as one transaction erases, so that it holds no row for long.
_AT_ONCE = 500


def cancel(pool: Pool, user_id: UUID, job_id: UUID) -> None:
    """Cancel a job that has not ended, and erase the texts and suggestions of any. Raises ``NotFound``.

    Once the provider was asked, a canceled job counts against the quota. What its runner still brings is not kept.
    """
    with as_service(pool, user_id) as conn:
        shown = conn.execute("select from recto.jobs where user_id = %s and id = %s", (user_id, job_id)).fetchone()
        if shown is None:
            raise NotFound("There is no such generation.")
        canceled = conn.execute(_CANCEL, {"user_id": user_id, "job_id": job_id}).fetchone()
        if canceled is not None:
            kind, asked = canceled
            conn.execute(
                "update generation_attempts set outcome = 'canceled' where job_id = %s and outcome is null", (job_id,)
            )
            if asked:
                usage.debit(conn, user_id, job_id, kind)
        conn.execute("select recto.erase_jobs(%s)", ([job_id],))


def erase_old(pool: Pool, *, retry_window: timedelta, retention: timedelta) -> None:
    """Erase the texts of jobs that can no longer be retried, and what is older than ``retention``.

    Old are suggestions, events, and idempotency keys by a time of their own. A job that somebody holds is left to
    the next time.
    """
    _in_batches(pool, lambda conn: conn.execute(_ERASE_TEXTS, {"age": retry_window, "most": _AT_ONCE}).rowcount)
    _in_batches(pool, lambda conn: _erase_jobs(conn, retention))
    _in_batches(pool, lambda conn: conn.execute(_DELETE_EVENTS, {"age": retention, "most": _AT_ONCE}).rowcount)
    _in_batches(pool, lambda conn: idempotency.purge(conn, most=_AT_ONCE))


def _in_batches(pool: Pool, erase_some: Callable[[Connection], int]) -> None:
    """Erase up to ``_AT_ONCE`` rows a transaction until there are fewer."""
    erased = _AT_ONCE
    while erased == _AT_ONCE:
        with as_worker(pool) as conn:
            erased = erase_some(conn)


def _erase_jobs(conn: Connection, retention: timedelta) -> int:
    rows = conn.execute(
        "select id from generation_jobs where erased_at is null and finished_at < now() - %s"
        " limit %s for update skip locked",
        (retention, _AT_ONCE),
    ).fetchall()
    conn.execute("select recto.erase_jobs(%s)", ([row[0] for row in rows],))
    return len(rows)


def forget(database_url: str, user_id: UUID) -> None:
    """Delete everything that is kept of a user. What they have in flight ends without a trace."""
    with psycopg.connect(database_url) as conn:
        conn.execute("select set_config('role', 'recto_worker', true)")
        conn.execute("select recto.forget_user(%s)", (user_id,))
