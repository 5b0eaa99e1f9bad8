"""The table ``recto.idempotency_keys``: stored answers, for requests that are repeated."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import Connection

from recto.db.pool import Pool, as_service
from recto.errors import IdempotencyKeyReused, InProgress

KEPT_FOR = timedelta(hours=24)

# Exactly one of several simultaneous requests gets a row back: it found no row, an old one, or one whose holder died.
_TAKE = """
    insert into recto.idempotency_keys as old (user_id, key, request_hash, locked_until)
    values (%(user_id)s, %(key)s, %(request_hash)s, now() + %(lease)s)
    on conflict (user_id, key) do update set
        request_hash = excluded.request_hash, locked_until = excluded.locked_until, created_at = now(),
        status = null, body = null, location = null, retry_after = null, job_id = null
    where old.created_at < now() - %(kept_for)s
        or (old.status is null and old.locked_until < now() and old.request_hash = excluded.request_hash)
    returning locked_until
"""
_LOOK = """
    select request_hash, status, body, location, retry_after, extract(epoch from locked_until - now())::float8
    from recto.idempotency_keys where user_id = %s and key = %s
"""
_STORE = """
    update recto.idempotency_keys set status = %(status)s, body = %(body)s, location = %(location)s,
        retry_after = %(retry_after)s, job_id = %(job_id)s
    where user_id = %(user_id)s and key = %(key)s and locked_until = %(locked_until)s and not exists (
        select from generation_jobs where id = %(job_id)s and erased_at is not null)
"""
# The condition again: a key that is taken once more meanwhile is young.
_PURGE = """
    delete from recto.idempotency_keys
    where created_at < now() - %(kept_for)s and ctid = any(array(
        select ctid from recto.idempotency_keys where created_at < now() - %(kept_for)s limit %(most)s))
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered: status, body, and its headers ``Location`` and ``Retry-After``.

    ``job_id``: the job that it is about; the answer is erased with that job's suggestions.
    """

    status: int
    body: bytes
    location: str | None
    retry_after: str | None
    job_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that the caller holds. What it writes is checked against ``locked_until``: who took it over has another."""

    user_id: UUID
    key: str
    locked_until: datetime


def take(
    pool: Pool, user_id: UUID, key: str, request_hash: str, *, lease_s: float, on_taken: Callable[[Connection], None]
) -> Claim | Answer:
    """Take the key for ``lease_s``, or return the answer that it has.

    ``on_taken`` is part of the transaction: what it raises leaves the key free. Raises ``InProgress`` while another
    request holds the key, ``IdempotencyKeyReused`` if it belongs to another request.
    """
    with as_service(pool, user_id) as conn:
        taken = conn.execute(
            _TAKE,
            {
                "user_id": user_id,
                "key": key,
                "request_hash": request_hash,
                "lease": timedelta(seconds=lease_s),
                "kept_for": KEPT_FOR,
            },
        ).fetchone()
        if taken:
            on_taken(conn)
            return Claim(user_id, key, taken[0])
        row = conn.execute(_LOOK, (user_id, key)).fetchone()
    if row is None:  # it was released in between
        raise InProgress(retry_after_s=1)
    known_hash, status, body, location, retry_after, left_s = row
    if known_hash != request_hash:
        raise IdempotencyKeyReused
    if status is None:
        raise InProgress(
            "The first request with this idempotency key is running.", retry_after_s=max(1, min(left_s, 5))
        )
    return Answer(status, body, location, retry_after)


def store(pool: Pool, claim: Claim, answer: Answer) -> None:
    """Keep the answer, unless the key was taken over or its job erased."""
    with as_service(pool, claim.user_id) as conn:
        store_in(conn, claim, answer)


def store_in(conn: Connection, claim: Claim, answer: Answer) -> None:
    """``store`` in the caller's transaction."""
    conn.execute(
        _STORE,
        {
            "status": answer.status,
            "body": answer.body,
            "location": answer.location,
            "retry_after": answer.retry_after,
            "job_id": answer.job_id,
            "user_id": claim.user_id,
            "key": claim.key,
            "locked_until": claim.locked_until,
        },
    )


def release(pool: Pool, claim: Claim) -> None:
    """Leave the key as if it had never been sent, unless it was taken over."""
    with as_service(pool, claim.user_id) as conn:
        conn.execute(
            "delete from recto.idempotency_keys where user_id = %s and key = %s and locked_until = %s",
            (claim.user_id, claim.key, claim.locked_until),
        )


def purge(conn: Connection, *, most: int) -> int:
    """Delete keys whose time is over, not more than ``most``; return how many there were."""
    return conn.execute(_PURGE, {"kept_for": KEPT_FOR, "most": most}).rowcount
