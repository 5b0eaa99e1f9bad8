"""The table ``generation_jobs`` as the doors fill it: begin a job, or begin a failed one anew."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from recto.db import attempts, usage
from recto.db.idempotency import KEPT_FOR
from recto.db.jobs import ATTEMPT, MAX_ATTEMPTS, Attempt, read, tell
from recto.db.pool import Pool, as_service
from recto.db.queue import enqueue
from recto.errors import AlreadySucceeded, Expired, InProgress, NotFound, RateLimited


@dataclass(frozen=True, slots=True)
class NewJob:
    """What is to be generated. ``payload``: the prompt's inputs; ``kind``: synchronous, review, session or deck."""

    kind: str
    payload: dict[str, Any]
    source_text_hash: str
    source_text_length: int
    deck_id: UUID | None = None
    idempotency_key: str | None = None


def create(pool: Pool, user_id: UUID, new: NewJob, *, quota: int | None) -> UUID:
    """Insert a job for the workers and its entry in the queue; return its id.

    If a job with its idempotency key exists, that is the one. Raises ``QuotaExceeded``, ``InProgress`` if the deck has
    a job in flight, and ``NotFound`` if the deck is somebody else's.
    """
    with as_service(pool, user_id) as conn:
        job_id = uuid4()
        if existing := _existing(conn, user_id, new):
            return existing
        usage.reserve(conn, user_id, quota)
        _insert(conn, user_id, job_id, new, queue_job_id=enqueue(conn, job_id))
        return job_id


def begin(pool: Pool, user_id: UUID, new: NewJob, *, quota: int | None, lease_s: float) -> Attempt | UUID:
    """Insert a job that the caller runs itself, within ``lease_s``, and return its one attempt.

    Returns the id of the job with the same idempotency key if there is one. Raises ``QuotaExceeded``.
    """
    with as_service(pool, user_id) as conn:
        job_id = uuid4()
        if existing := _existing(conn, user_id, new):
            return existing
        usage.reserve(conn, user_id, quota)
        _insert(conn, user_id, job_id, new, lease_s=lease_s)
        return _attempt(conn, job_id)


def _existing(conn: Connection, user_id: UUID, new: NewJob) -> UUID | None:
    if new.idempotency_key is None:
        return None
    # One that failed is not what the caller asks for again: its answer is gone, or the key was left free.
    conn.execute(
        "update generation_jobs set idempotency_key = null where user_id = %s and idempotency_key = %s"
        " and (created_at < now() - %s or status in ('failed', 'canceled'))",
        (user_id, new.idempotency_key, KEPT_FOR),
    )
    row = conn.execute(
        "select id from generation_jobs where user_id = %s and idempotency_key = %s", (user_id, new.idempotency_key)
    ).fetchone()
    return row[0] if row else None


def _insert(
    conn: Connection, user_id: UUID, job_id: UUID, new: NewJob, *, queue_job_id: int | None = None, lease_s: float = 0
) -> None:
    if new.deck_id is not None:
        conn.execute("insert into decks (id, user_id) values (%s, %s) on conflict do nothing", (new.deck_id, user_id))
        if not _owns_deck(conn, user_id, new.deck_id):
            raise NotFound("There is no such deck.")
    started = queue_job_id is None
    try:
        conn.execute(
            "insert into generation_jobs (id, user_id, kind, status, payload, source_text_hash, source_text_length,"
            " deck_id, session_id, idempotency_key, attempts, attempts_left, queue_job_id, lease_until, started_at)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, case when %s then now() + %s end,"
            " case when %s then now() end)",
            (
                job_id,
                user_id,
                new.kind,
                "running" if started else "pending",
                Jsonb(new.payload),
                new.source_text_hash,
                new.source_text_length,
                new.deck_id,
                uuid4() if new.kind == "session" else None,
                new.idempotency_key,
                int(started),
                0 if started else MAX_ATTEMPTS,
                queue_job_id,
                started,
                timedelta(seconds=lease_s),
                started,
            ),
        )
    except psycopg.errors.UniqueViolation:  # of the deck's one job in flight, or of a key used twice at the same time
        raise InProgress from None
    tell(conn, user_id, job_id, "ai_generation_requested")


def retry(
    pool: Pool, user_id: UUID, job_id: UUID, *, window: timedelta, quota: int | None, lease_s: float | None
) -> Attempt | None:
    """Start a failed job of the user's anew, in its row, from its stored inputs.

    With ``lease_s`` the caller runs it and gets the attempt; with None, or if it is a deck's, it goes to the workers.
    Raises ``NotFound``, ``AlreadySucceeded``, ``InProgress``, ``Expired``, ``RateLimited`` and ``QuotaExceeded``. Of
    several that ask at once exactly one proceeds.
    """
    with as_service(pool, user_id) as conn:
        row = read(conn, user_id, job_id, lock=True)
        now = datetime.now(UTC)
        lost = row.status == "running" and row.lease_until is not None and row.lease_until < now
        if row.status == "succeeded":
            raise AlreadySucceeded
        if row.status in ("pending", "running") and not lost:
            raise InProgress
        if lost:
            attempts.log(conn, job_id, attempts.LOST)
        elif (retry_at := row.retry_at(window)) is None:
            raise Expired
        elif (wait_s := (retry_at - now).total_seconds()) > 0:
            text = f"This generation failed a moment ago. Try again in {ceil(wait_s)} seconds."
            raise RateLimited(text, retry_after_s=wait_s)
        usage.reserve(conn, user_id, quota)
        tell(conn, user_id, job_id, "ai_generation_retried")
        if lease_s is None or row.kind == "deck":
            _requeue(conn, job_id)
            return None
        conn.execute(
            "update generation_jobs set status = 'running', retries = retries + 1, attempts = attempts + 1,"
            " attempts_left = 0, queue_job_id = null, lease_until = now() + %s, started_at = now(), finished_at = null,"
            " error = null where id = %s",
            (timedelta(seconds=lease_s), job_id),
        )
        return _attempt(conn, job_id)


def _requeue(conn: Connection, job_id: UUID) -> None:
    try:
        conn.execute(
            "update generation_jobs set status = 'pending', retries = retries + 1, attempts_left = %s,"
            " queue_job_id = %s, lease_until = null, started_at = null, finished_at = null, error = null where id = %s",
            (MAX_ATTEMPTS, enqueue(conn, job_id), job_id),
        )
    except psycopg.errors.UniqueViolation:
        raise InProgress("Another generation of this deck is running.") from None


def _attempt(conn: Connection, job_id: UUID) -> Attempt:
    with conn.cursor(row_factory=class_row(Attempt)) as cursor:
        row = cursor.execute(f"select {ATTEMPT} from generation_jobs where id = %s", (job_id,)).fetchone()  # noqa: S608  our own column names
    assert row is not None  # noqa: S101  it was written in this transaction
    return row


def _owns_deck(conn: Connection, user_id: UUID, deck_id: UUID) -> bool:
    return conn.execute("select from decks where id = %s and user_id = %s", (deck_id, user_id)).fetchone() is not None
