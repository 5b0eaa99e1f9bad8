"""The table ``usage_ledger``: what a user's generations count against a monthly quota."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from psycopg import Connection

from recto.db.pool import Pool, as_user
from recto.errors import PlanExceeded, QuotaExceeded

_LOCK = 0x5EC71  # a class of its own among the advisory locks

# In flight is what has not ended. What a caller waited for ends with its lease, also when no worker sweeps.
_USED_AND_RESERVED = """
    select
        (select coalesce(sum(amount), 0) from usage_ledger where user_id = %(user_id)s and created_at >= %(month)s
            and (kind = 'image') = %(images)s),
        (select count(*) from generation_jobs where user_id = %(user_id)s and status in ('pending', 'running')
            and (kind = 'image') = %(images)s and (in_background or lease_until > now()))
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """Generations of this month (UTC): ``used`` count, ``reserved`` are in flight; ``limit`` None is no quota."""

    limit: int | None
    used: int
    reserved: int
    resets_at: datetime


def find(pool: Pool, user_id: UUID, limit: int | None, *, images: bool = False) -> Usage:
    """Return what the user has used, of texts or of ``images``: one never uses up the other's."""
    with as_user(pool, user_id) as conn:
        return read(conn, user_id, limit, images=images)


def read(conn: Connection, user_id: UUID, limit: int | None, *, images: bool = False) -> Usage:
    """``find`` in the caller's transaction."""
    now = datetime.now(UTC)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    row = conn.execute(_USED_AND_RESERVED, {"user_id": user_id, "month": month, "images": images}).fetchone()
    assert row is not None  # noqa: S101  a select of scalars always has one row
    resets_at = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
    return Usage(limit=limit, used=int(row[0]), reserved=int(row[1]), resets_at=resets_at)


def reserve(conn: Connection, user_id: UUID, limit: int | None) -> None:
    """Make sure that the job that ``conn`` is about to start fits the quota, against all that start at the same time.

    The job's own row, in flight, is the reservation. Raises ``QuotaExceeded``.
    """
    if limit is None:
        return
    conn.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, str(user_id)))
    usage = read(conn, user_id, limit)
    if usage.used + usage.reserved >= limit:
        wait_s = (usage.resets_at - datetime.now(UTC)).total_seconds()
        raise QuotaExceeded(
            f"This month's {limit} generations are used up; the next begin at {usage.resets_at:%Y-%m-%dT%H:%MZ}.",
            retry_after_s=max(1.0, wait_s),
        )


def reserve_image(conn: Connection, user_id: UUID, limit: int) -> None:
    """``reserve`` for a picture, against the month of the user's plan. Raises ``PlanExceeded``."""
    conn.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, str(user_id)))
    usage = read(conn, user_id, limit, images=True)
    # What is in flight is the one place, whose index says so with an error of its own.
    if usage.used >= limit:
        raise PlanExceeded(limit, usage.resets_at)


def debit(conn: Connection, user_id: UUID, job_id: UUID, kind: str) -> None:
    """Count a job, once."""
    conn.execute(
        "insert into usage_ledger (user_id, job_id, kind) values (%s, %s, %s) on conflict (job_id) do nothing",
        (user_id, job_id, kind),
    )
