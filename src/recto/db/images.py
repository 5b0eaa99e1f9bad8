"""Jobs of pictures: rows of ``generation_jobs`` of the kind ``image``, and what they bring.

A picture is submitted by the web process that was asked for it, under a lease. Once the provider has it, the job is
pending: due when a webhook tells of its end, or when it is time to look. Who claims it then: ``db/renders``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from recto.db import usage
from recto.db.failures import Failure, end_as_failed, log_failure
from recto.db.jobs import record_event
from recto.db.pool import Pool, as_process, as_service, as_user
from recto.db.starts import Lease
from recto.errors import IdempotencyKeyReused, InvalidRequest, NotFound, TooManyInFlight

KIND = "image"

# So long a caller's look goes to the provider neither after it was heard from, nor after the last look.
HEARD_S = 5.0
LOOKED_UP_S = 10.0
# Keys of pictures are their own: the same word may be a key of a text.
_KEY = "image:"
# So many workers may die of it; what else goes wrong is tried again until its deadline.
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class NewImage:
    """A picture to be asked for. ``request_hash``: of all fields and files, for a key that comes again."""

    mode: str
    prompt: str
    settings: dict[str, str]
    prompt_version: str
    model: str
    request_hash: str
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class ImageRow:
    """A job as its user sees it. ``prediction_status``: what the provider said last."""

    id: UUID
    user_id: UUID
    status: str
    mode: str
    settings: dict[str, str]
    prediction_id: str | None
    prediction_status: str | None
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None
    heard_at: datetime | None
    looked_up_at: datetime | None
    render_id: UUID | None
    variants: list[int]

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it."""
        return self.status in ("succeeded", "failed", "canceled")


_INSERT = """
    insert into generation_jobs (id, user_id, kind, status, payload, idempotency_key, in_background, attempts,
        attempts_left, holder, lease_until, started_at)
    values (%(id)s, %(user_id)s, 'image', 'running', %(payload)s, %(key)s, false, 1, %(attempts_left)s, %(holder)s,
        clock_timestamp() + %(lease)s, now())
"""


def find_by_key(pool: Pool, user_id: UUID, key: str, request_hash: str) -> UUID | None:
    """Return the job that was started under the key. Raises ``IdempotencyKeyReused`` if it was another's request."""
    with as_service(pool, user_id) as conn:
        return _find_by_key(conn, user_id, key, request_hash)


def reserve(pool: Pool, user_id: UUID, job_id: UUID, new: NewImage, *, limit: int, lease: Lease) -> UUID | None:
    """Insert the job, which is the user's one place and the reservation in the month's plan, and open its call.

    Returns the id of the job with the same key if there is one, else None. Raises ``TooManyInFlight``,
    ``PlanExceeded`` and ``IdempotencyKeyReused``.
    """
    payload = asdict(new)
    key = payload.pop("idempotency_key")
    try:
        with as_service(pool, user_id) as conn:
            if key is not None and (existing := _find_by_key(conn, user_id, key, new.request_hash)):
                return existing
            usage.reserve_image(conn, user_id, limit)
            conn.execute(
                _INSERT,
                {
                    "id": job_id,
                    "user_id": user_id,
                    "payload": Jsonb(payload),
                    "key": key and _KEY + key,
                    "attempts_left": _ATTEMPTS,
                    "holder": lease.holder,
                    "lease": timedelta(seconds=lease.lease_s),
                },
            )
            conn.execute(
                "insert into generation_attempts (job_id, number, call, user_id, model) values (%s, 1, 1, %s, %s)",
                (job_id, user_id, new.model),
            )
            record_event(conn, user_id, job_id, "ai_generation_requested")
    except psycopg.errors.UniqueViolation as error:
        if key is not None and error.diag.constraint_name == "generation_jobs_idempotency_key":
            return find_by_key(pool, user_id, key, new.request_hash)
        raise TooManyInFlight from None
    return None


def keep_inputs(pool: Pool, user_id: UUID, job_id: UUID, holder: UUID, keys: Sequence[str]) -> bool:
    """Remember which files the job needs, before they are stored: they are deleted once it has ended.

    False if ``holder`` no longer has the job: it was canceled, say.
    """
    with as_service(pool, user_id) as conn:
        row = conn.execute(
            "update generation_jobs set payload = payload || jsonb_build_object('inputs', %s::jsonb)"
            " where id = %s and status = 'running' and holder = %s returning true",
            (Jsonb(list(keys)), job_id, holder),
        ).fetchone()
    return row is not None


def submitted(
    pool: Pool, user_id: UUID, job_id: UUID, holder: UUID, prediction_id: str, told: dict[str, Any], *, look_in_s: float
) -> bool:
    """Hand the job to the workers: the provider has it. False if it has ended meanwhile; a canceled one then counts.

    A webhook may have been faster; then the job is due at once. So may workers, if the lease was lost: what they do
    without knowing the prediction is not waited for. Repeating it changes nothing.
    """
    with as_service(pool, user_id) as conn:
        conn.execute(
            "update generation_jobs set status = 'pending', in_background = true, holder = null, lease_until = null,"
            " prediction_id = %(prediction_id)s, heard_at = coalesce(heard_at, now()),"
            " prediction = coalesce(prediction, %(told)s),"
            " run_at = case when prediction is null then now() + %(look_in)s else now() end"
            " where id = %(id)s and status in ('pending', 'running')"
            " and (prediction_id is null or holder = %(holder)s)",
            {
                "prediction_id": prediction_id,
                "told": Jsonb(told),
                "look_in": timedelta(seconds=look_in_s),
                "id": job_id,
                "holder": holder,
            },
        )
        row = conn.execute("select status from generation_jobs where id = %s for update", (job_id,)).fetchone()
        if row == ("canceled",):
            usage.debit(conn, user_id, job_id, KIND)
        conn.execute(
            "update generation_attempts set outcome = 'succeeded', request_id = %s where job_id = %s and number = 1",
            (prediction_id, job_id),
        )
    return row is not None and row[0] in ("pending", "running", "succeeded")


def not_submitted(pool: Pool, user_id: UUID, job_id: UUID, failure: Failure) -> None:
    """End a job that the provider did not take; its key is free again."""
    with as_service(pool, user_id) as conn:
        conn.execute(
            "update generation_attempts set outcome = %s, upstream_status = %s where job_id = %s and outcome is null",
            (failure.log_code, failure.upstream_status, job_id),
        )
        row = conn.execute(
            "select from generation_jobs where id = %s and status in ('pending', 'running') for update", (job_id,)
        ).fetchone()
        if row is not None:
            log_failure(conn, job_id, failure)
            end_as_failed(conn, job_id, failure)
            conn.execute(
                "update generation_jobs set idempotency_key = null where id = %s",
                (job_id,),
            )


def find(pool: Pool, user_id: UUID, job_id: UUID) -> ImageRow:
    """Return the user's job of that id. Raises ``NotFound``."""
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(ImageRow)) as cursor:
        row = cursor.execute("select * from recto.images where user_id = %s and id = %s", (user_id, job_id)).fetchone()
    if row is None:
        raise NotFound("There is no such generation.")
    return row


def newest(pool: Pool, user_id: UUID, *, before: tuple[datetime, UUID] | None, limit: int) -> list[ImageRow]:
    """Return up to ``limit`` of the user's jobs, newest first, that come after ``before`` in that order."""
    created_at, job_id = before or (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(ImageRow)) as cursor:
        return cursor.execute(
            "select * from recto.images where user_id = %s and (created_at, id) < (%s, %s)"
            " order by created_at desc, id desc limit %s",
            (user_id, created_at, job_id, limit),
        ).fetchall()


def may_look_up(pool: Pool, user_id: UUID, job_id: UUID) -> str | None:
    """Return the prediction's id if somebody should look it up now: of all that ask at once, one is told so."""
    with as_service(pool, user_id) as conn:
        row = conn.execute(
            "update generation_jobs set looked_up_at = now() where id = %s and kind = 'image' and status = 'pending'"
            " and heard_at < now() - %s and (looked_up_at is null or looked_up_at < now() - %s)"
            " and coalesce(prediction ->> 'status', '') not in ('succeeded', 'failed', 'canceled')"
            " returning prediction_id",
            (job_id, timedelta(seconds=HEARD_S), timedelta(seconds=LOOKED_UP_S)),
        ).fetchone()
    return row[0] if row else None


def hear(pool: Pool, job_id: UUID, prediction_id: str, told: dict[str, Any]) -> bool:
    """Record what the provider says of a prediction, and wake a worker; False if it changes nothing."""
    with as_process(pool) as conn:
        row = conn.execute(
            "select recto.hear_of_prediction(%s, %s, %s)", (job_id, prediction_id, Jsonb(told))
        ).fetchone()
    return bool(row and row[0])


def cancel(pool: Pool, user_id: UUID, job_id: UUID) -> str | None:
    """Cancel the user's job and return the prediction's id, if the provider has it: then the job counts.

    Raises ``NotFound``, and ``InvalidRequest`` if it has ended.
    """
    with as_service(pool, user_id) as conn:
        before = conn.execute(
            "select status, prediction_id from generation_jobs where user_id = %s and id = %s and kind = 'image'"
            " for update",
            (user_id, job_id),
        ).fetchone()
        if before is None:
            raise NotFound("There is no such generation.")
        status, prediction_id = before
        if status not in ("pending", "running"):
            raise InvalidRequest("This generation has ended.")
        conn.execute(
            "update generation_jobs set status = 'canceled', holder = null, lease_until = null, finished_at = now(),"
            " payload = recto.without_texts(payload), prediction = prediction - '{outputs,error}'::text[]"
            " where id = %s",
            (job_id,),
        )
        conn.execute(
            "update generation_attempts set outcome = 'canceled' where job_id = %s and outcome is null", (job_id,)
        )
        if prediction_id is not None:
            usage.debit(conn, user_id, job_id, KIND)
    return str(prediction_id) if prediction_id else None


def delete(pool: Pool, user_id: UUID, job_id: UUID) -> None:
    """Delete the user's finished job and its render. Raises ``NotFound``, ``InvalidRequest`` if it has not ended."""
    with as_service(pool, user_id) as conn:
        row = conn.execute("select recto.delete_image(%s)", (job_id,)).fetchone()
        if row and row[0]:
            return
        shown = conn.execute("select from recto.images where user_id = %s and id = %s", (user_id, job_id)).fetchone()
    if shown is None:
        raise NotFound("There is no such generation.")
    raise InvalidRequest("This generation has not ended: cancel it first.")


def price_id(pool: Pool, user_id: UUID) -> str | None:
    """Return what the user pays for, as the app's table of profiles says; None if it says nothing that can be read."""
    with as_service(pool, user_id) as conn:
        row = conn.execute("select recto.acting_users_price()").fetchone()
    return row[0] if row else None


def _find_by_key(conn: Connection, user_id: UUID, key: str, request_hash: str) -> UUID | None:
    row = conn.execute(
        "select id, payload ->> 'request_hash' from generation_jobs where user_id = %s and idempotency_key = %s",
        (user_id, _KEY + key),
    ).fetchone()
    if row is None:
        return None
    if row[1] != request_hash:
        raise IdempotencyKeyReused
    return UUID(str(row[0]))
