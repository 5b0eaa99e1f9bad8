"""How jobs begin: one is asked for, or a failed one is retried."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from recto.db import claims, jobs, usage
from recto.db.calls import open_call
from recto.db.claims import Attempt
from recto.db.idempotency import KEPT_FOR
from recto.db.jobs import MAX_ATTEMPTS, JobRow, record_event
from recto.db.pool import Pool, as_service
from recto.errors import AlreadySucceeded, Expired, InProgress, NotFound, RateLimited


@dataclass(frozen=True, slots=True)
class NewJob:
    """What is to be generated. ``payload``: what the prompt is made of; ``kind``: review, session or deck.

    ``sections``: of a text that is asked in parts, each as a ``recto.text.deck.Part``.
    """

    kind: str
    payload: dict[str, Any]
    source_text_hash: str
    source_text_length: int
    deck_id: UUID | None = None
    idempotency_key: str | None = None
    sections: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """For whom, and for how many seconds, a job begins to run at once."""

    holder: UUID
    lease_s: float


# Leases begin now: the transaction, whose time now() is, may have waited long for another start.
_INSERT = """
    insert into generation_jobs (id, user_id, kind, status, payload, source_text_hash, source_text_length, deck_id,
        session_id, idempotency_key, in_background, attempts, attempts_left, holder, lease_until, started_at, sections)
    values (%(id)s, %(user_id)s, %(kind)s, case when %(background)s then 'pending' else 'running' end, %(payload)s,
        %(hash)s, %(length)s, %(deck_id)s, %(session_id)s, %(key)s, %(background)s, %(attempts)s, %(attempts_left)s,
        %(holder)s, clock_timestamp() + %(lease)s, case when not %(background)s then now() end, %(sections)s)
"""
_RUN_AGAIN = """
    update generation_jobs set status = case when %(background)s then 'pending' else 'running' end,
        in_background = %(background)s, run_at = now(), retries = retries + 1, attempts = attempts + %(attempts)s,
        attempts_left = %(attempts_left)s, holder = %(holder)s, lease_until = clock_timestamp() + %(lease)s,
        started_at = case when not %(background)s then now() end, finished_at = null, error = null
    where id = %(id)s
"""
_ATTEMPT = """
    select id as job_id, user_id, kind, attempts as number, holder, in_background, payload, source_text_hash,
        source_text_length, deck_id, sections
    from generation_jobs where id = %s
"""


def create(pool: Pool, user_id: UUID, new: NewJob, *, quota: int | None) -> UUID:
    """Insert a job for the workers and return its id.

    If a job with its idempotency key exists, that is the one. Raises ``QuotaExceeded``, ``InProgress`` if the deck has
    a job in flight, and ``NotFound`` if the deck is somebody else's.
    """
    with as_service(pool, user_id) as conn:
        job_id = _find_by_key(conn, user_id, new)
        if job_id is None:
            job_id = uuid4()
            usage.reserve(conn, user_id, quota)
            _insert(conn, user_id, job_id, new, None)
        return job_id


def begin(pool: Pool, user_id: UUID, new: NewJob, *, quota: int | None, lease: Lease) -> Attempt | UUID:
    """Insert a job that the caller runs at once and return its one attempt.

    Returns the id of the job with the same idempotency key if there is one. Raises ``QuotaExceeded``.
    """
    with as_service(pool, user_id) as conn:
        if existing := _find_by_key(conn, user_id, new):
            return existing
        job_id = uuid4()
        usage.reserve(conn, user_id, quota)
        _insert(conn, user_id, job_id, new, lease)
        return _attempt(conn, job_id)


def reserve(pool: Pool, user_id: UUID, job_id: UUID, new: NewJob, *, quota: int, lease: Lease) -> None:
    """Reserve a place in the user's quota for a generation that leaves nothing but its record.

    It ends with ``generations.Records`` or ``record_error``, or with the lease. Raises ``QuotaExceeded``.
    """
    with as_service(pool, user_id) as conn:
        usage.reserve(conn, user_id, quota)
        _insert(conn, user_id, job_id, new, lease)


def retry(
    pool: Pool, user_id: UUID, job_id: UUID, *, window: timedelta, quota: int | None, lease: Lease | None
) -> Attempt | JobRow:
    """Run a failed job of the user's again, in its row, from its stored inputs.

    With a ``lease`` the caller runs it and gets the attempt; without one, or if it is a deck's, a worker does, and the
    pending job is returned. Raises ``NotFound``, ``AlreadySucceeded``, ``InProgress``, ``Expired``, ``RateLimited`` and
    ``QuotaExceeded``. Of several that ask at once exactly one proceeds.
    """
    with as_service(pool, user_id) as conn:
        job, abandoned = _lock_failed(conn, user_id, job_id)
        retry_at = job.retry_at(window)
        if retry_at is None:
            raise Expired
        wait_s = (retry_at - datetime.now(UTC)).total_seconds()
        if wait_s > 0 and not abandoned:  # whose caller has waited for the lease to end
            text = f"This generation failed a moment ago. Try again in {ceil(wait_s)} seconds."
            raise RateLimited(text, retry_after_s=wait_s)
        usage.reserve(conn, user_id, quota)
        record_event(conn, user_id, job_id, "ai_generation_retried")
        if job.kind == "deck":
            lease = None
        try:
            conn.execute(_RUN_AGAIN, {"id": job_id} | _begun(lease))
        except psycopg.errors.UniqueViolation:
            raise InProgress("Another generation of this deck is running.") from None
        if lease is None:
            return jobs.read(conn, user_id, job_id)
        open_call(conn, job_id, 1)
        return _attempt(conn, job_id)


def _lock_failed(conn: Connection, user_id: UUID, job_id: UUID) -> tuple[JobRow, bool]:
    """Lock the job and return it, failed. One that its process abandoned is ended first; the second value says so."""
    row = conn.execute(
        "select status = 'running' and lease_until < now() from generation_jobs"
        " where user_id = %s and id = %s for update",
        (user_id, job_id),
    ).fetchone()
    abandoned = bool(row and row[0])
    if abandoned:
        claims.abandon(conn, job_id)
    job = jobs.read(conn, user_id, job_id)
    if job.status in ("pending", "running"):
        raise InProgress
    if job.status == "succeeded":
        raise AlreadySucceeded
    return job, abandoned


def _find_by_key(conn: Connection, user_id: UUID, new: NewJob) -> UUID | None:
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


def _insert(conn: Connection, user_id: UUID, job_id: UUID, new: NewJob, lease: Lease | None) -> None:
    if new.deck_id is not None:
        conn.execute("insert into decks (id, user_id) values (%s, %s) on conflict do nothing", (new.deck_id, user_id))
        if not _owns_deck(conn, user_id, new.deck_id):
            raise NotFound("There is no such deck.")
    try:
        conn.execute(
            _INSERT,
            {
                "id": job_id,
                "user_id": user_id,
                "kind": new.kind,
                "payload": Jsonb(new.payload),
                "hash": new.source_text_hash,
                "length": new.source_text_length,
                "deck_id": new.deck_id,
                "session_id": uuid4() if new.kind == "session" else None,
                "key": new.idempotency_key,
                "sections": new.sections and Jsonb(new.sections),
            }
            | _begun(lease),
        )
    except psycopg.errors.UniqueViolation:  # of the deck's one job in flight, or of a key used twice at the same time
        raise InProgress from None
    if new.kind == "synchronous":
        return
    record_event(conn, user_id, job_id, "ai_generation_requested")
    if lease is not None:
        open_call(conn, job_id, 1)


def _begun(lease: Lease | None) -> dict[str, object]:
    """Return the columns of a job that begins at once, or waits for a worker."""
    return {
        "background": lease is None,
        "attempts": 0 if lease is None else 1,
        "attempts_left": MAX_ATTEMPTS if lease is None else 0,
        "holder": lease and lease.holder,
        "lease": lease and timedelta(seconds=lease.lease_s),
    }


def _attempt(conn: Connection, job_id: UUID) -> Attempt:
    with conn.cursor(row_factory=class_row(Attempt)) as cursor:
        row = cursor.execute(_ATTEMPT, (job_id,)).fetchone()
    assert row is not None  # noqa: S101  it was written in this transaction
    return row


def _owns_deck(conn: Connection, user_id: UUID, deck_id: UUID) -> bool:
    return conn.execute("select from decks where id = %s and user_id = %s", (deck_id, user_id)).fetchone() is not None
