"""What a worker does for a picture that it has claimed, and the tables ``renders`` and ``render_variants``."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from recto.db import usage
from recto.db.attempts import lock_owned
from recto.db.claims import Attempt
from recto.db.failures import Failure, end_as_failed, log_failure
from recto.db.images import KIND
from recto.db.jobs import record_event
from recto.db.pool import Pool, as_service, as_user, as_worker
from recto.errors import NotFound


@dataclass(frozen=True, slots=True)
class Told:
    """What the provider said of a prediction last, how long ago, and how long the job has been there, in seconds."""

    prediction_id: str | None
    prediction: dict[str, Any] | None
    heard_s: float
    age_s: float


@dataclass(frozen=True, slots=True)
class Variant:
    """A stored picture of a render."""

    width: int
    height: int


def told(pool: Pool, attempt: Attempt) -> Told:
    """Return what is known of the picture that the attempt is to bring home."""
    with as_service(pool, attempt.user_id) as conn, conn.cursor(row_factory=class_row(Told)) as cursor:
        row = cursor.execute(
            "select prediction_id, prediction, extract(epoch from now() - created_at)::float8 as age_s,"
            " extract(epoch from now() - coalesce(heard_at, created_at))::float8 as heard_s"
            " from generation_jobs where id = %s",
            (attempt.job_id,),
        ).fetchone()
    if row is None:
        raise NotFound
    return row


def looked_up(pool: Pool, attempt: Attempt, prediction_id: str, told: dict[str, Any]) -> dict[str, Any]:
    """Record what the provider said when the attempt asked it, and return what counts: an end that was heard before."""
    with as_service(pool, attempt.user_id) as conn:
        conn.execute("select recto.hear_of_prediction(%s, %s, %s)", (attempt.job_id, prediction_id, Jsonb(told)))
        row = conn.execute(
            "update generation_jobs set looked_up_at = now() where id = %s and status = 'running' returning prediction",
            (attempt.job_id,),
        ).fetchone()
    return row[0] if row else told


def keep_outputs(pool: Pool, attempt: Attempt, keys: Sequence[str]) -> bool:
    """Remember which files the attempt stores, before it does: they are deleted if the job ends without them.

    False if the attempt no longer owns the job.
    """
    with as_service(pool, attempt.user_id) as conn:
        if lock_owned(conn, attempt) is None:
            return False
        conn.execute(
            "update generation_jobs set payload = payload || jsonb_build_object('outputs', %s::jsonb) where id = %s",
            (Jsonb(list(keys)), attempt.job_id),
        )
    return True


def succeed(pool: Pool, attempt: Attempt, render_id: UUID, variants: Sequence[Variant]) -> bool:
    """Commit the render and debit it; False if the attempt no longer owns the job. Repeating it changes nothing."""
    with as_service(pool, attempt.user_id) as conn:
        if lock_owned(conn, attempt) is None:
            row = conn.execute(
                "select from renders where id = %s and job_id = %s", (render_id, attempt.job_id)
            ).fetchone()
            return row is not None
        conn.execute(
            "insert into renders (id, job_id, user_id) values (%s, %s, %s)",
            (render_id, attempt.job_id, attempt.user_id),
        )
        for index, variant in enumerate(variants):
            conn.execute(
                "insert into render_variants (render_id, index, user_id, width, height) values (%s, %s, %s, %s, %s)",
                (render_id, index, attempt.user_id, variant.width, variant.height),
            )
        conn.execute(
            "update generation_jobs set status = 'succeeded', error = null, payload = recto.without_texts(payload),"
            " prediction = prediction - '{outputs,error}'::text[], holder = null, lease_until = null,"
            " finished_at = now() where id = %s",
            (attempt.job_id,),
        )
        usage.debit(conn, attempt.user_id, attempt.job_id, KIND)
        record_event(conn, attempt.user_id, attempt.job_id, "ai_generation_succeeded")
    return True


def fail(pool: Pool, attempt: Attempt, failure: Failure, *, unless_heard: bool = False) -> bool:
    """End the job as failed: it costs nothing. False if the attempt no longer owns it.

    ``unless_heard``: False also if a webhook has named the job's prediction by now.
    """
    with as_service(pool, attempt.user_id) as conn:
        if lock_owned(conn, attempt) is None:
            return False
        known = "select from generation_jobs where id = %s and prediction_id is not null"
        if unless_heard and conn.execute(known, (attempt.job_id,)).fetchone() is not None:
            return False
        log_failure(conn, attempt.job_id, failure)
        end_as_failed(conn, attempt.job_id, failure)
    return True


def has_ended(pool: Pool, attempt: Attempt) -> bool:
    """Whether the job has ended, or is gone, without the render that the attempt has made."""
    with as_service(pool, attempt.user_id) as conn:
        row = conn.execute("select status from generation_jobs where id = %s", (attempt.job_id,)).fetchone()
    return row is None or row[0] in ("failed", "canceled")


def require_own(pool: Pool, user_id: UUID, render_ids: Collection[UUID]) -> None:
    """Make sure that all of these different renders are the user's. Raises ``NotFound``."""
    with as_user(pool, user_id) as conn:
        row = conn.execute(
            "select count(*) from renders where user_id = %s and id = any(%s)", (user_id, list(render_ids))
        ).fetchone()
    if row is None or row[0] < len(render_ids):
        raise NotFound("There is no such render.")


def files_to_delete(pool: Pool, *, limit: int = 100) -> list[str]:
    """Return the keys of files whose rows are gone, oldest first."""
    with as_worker(pool) as conn:
        rows = conn.execute("select key from recto.files_to_delete order by created_at limit %s", (limit,)).fetchall()
    return [row[0] for row in rows]


def file_deleted(pool: Pool, key: str) -> None:
    """Forget a file that is gone."""
    with as_worker(pool) as conn:
        conn.execute("delete from recto.files_to_delete where key = %s", (key,))
