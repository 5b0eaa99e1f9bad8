"""The table ``generation_jobs`` as users see it. ``starts`` begins and retries jobs, ``attempts`` runs them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row

from recto.db.pool import Pool, as_service, as_user
from recto.errors import NotFound

MAX_ATTEMPTS = 3
MAX_RETRIES = 5
_FIRST_RETRY_AFTER_S = 10

# A synchronous generation has a job only to be counted against a quota while it runs; its results are kept nowhere.
SHOWN = "kind <> 'synchronous'"

# What a user wrote: erased once it is needed no more.
ERASED = "payload - '{source_text,topic,banlist}'::text[]"


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job without its texts. ``suggestions_count`` counts what can be reviewed."""

    id: UUID
    kind: str
    status: str
    deck_id: UUID | None
    session_id: UUID | None
    count: int | None
    prompt_version: str
    has_text: bool
    source_text_hash: str
    source_text_length: int
    attempts: int
    retries: int
    model_used: str | None
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: Any
    error: dict[str, Any] | None
    lease_until: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    suggestions_count: int

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it unless somebody asks."""
        return self.status in ("succeeded", "failed", "canceled")

    def retry_at(self, window: timedelta) -> datetime | None:
        """When a failed job may be retried: 10 s after its failure, 20 s after the next, …; None if it cannot."""
        if self.status != "failed" or not self.has_text or self.retries >= MAX_RETRIES or self.finished_at is None:
            return None
        if datetime.now(UTC) > self.finished_at + window:
            return None
        return self.finished_at + timedelta(seconds=_FIRST_RETRY_AFTER_S * 2**self.retries)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a job that has begun. Its number is what its writes are checked against: a later one locks it out."""

    job_id: UUID
    user_id: UUID
    kind: str
    number: int
    attempts_left: int
    payload: dict[str, Any]
    source_text_hash: str
    source_text_length: int
    deck_id: UUID | None


JOB = (
    "id, kind, status, deck_id, session_id, (payload ->> 'count')::int as count,"
    " payload ->> 'prompt_version' as prompt_version, has_text, source_text_hash, source_text_length, attempts,"
    " retries, model_used, tokens_input, tokens_output, cost_usd, error, lease_until, created_at, started_at,"
    " finished_at,"
    " (select count(*) from ai_suggestions where ai_suggestions.generation_id = job.id) as suggestions_count"
)
ATTEMPT = (
    "id as job_id, user_id, kind, attempts as number, attempts_left, payload, source_text_hash, source_text_length,"
    " deck_id"
)


def cancel(pool: Pool, user_id: UUID, job_id: UUID) -> None:
    """Cancel a job that has not ended, and erase the text and the suggestions of any. Raises ``NotFound``.

    The runner of a canceled job finds out when it is done; what it brings is not kept.
    """
    with as_service(pool, user_id) as conn:
        row = conn.execute(
            f"update generation_jobs set payload = {ERASED},"  # noqa: S608  our own column names
            " status = case when status in ('pending', 'running') then 'canceled' else status end,"
            " finished_at = coalesce(finished_at, now())"
            f" where user_id = %s and id = %s and {SHOWN} returning idempotency_key",
            (user_id, job_id),
        ).fetchone()
        if row is None:
            raise NotFound("There is no such generation.")
        conn.execute("delete from ai_suggestions where user_id = %s and generation_id = %s", (user_id, job_id))
        if row[0] is not None:  # its answer may hold the suggestions too
            conn.execute("delete from recto.idempotency_keys where user_id = %s and key = %s", (user_id, row[0]))


def find(pool: Pool, user_id: UUID, job_id: UUID) -> JobRow:
    """Return the user's job of that id. Raises ``NotFound``."""
    with as_user(pool, user_id) as conn:
        return read(conn, user_id, job_id)


def read(conn: Connection, user_id: UUID, job_id: UUID, *, lock: bool = False) -> JobRow:
    """``find`` in the caller's transaction; with ``lock``, nobody else changes the job until that ends."""
    with conn.cursor(row_factory=class_row(JobRow)) as cursor:
        row = cursor.execute(
            f"select {JOB} from generation_jobs job where user_id = %s and id = %s and {SHOWN}"  # noqa: S608  our own column names
            f" {'for update of job' if lock else ''}",
            (user_id, job_id),
        ).fetchone()
    if row is None:
        raise NotFound("There is no such generation.")
    return row


def newest(
    pool: Pool, user_id: UUID, *, status: str | None, before: tuple[datetime, UUID] | None, limit: int
) -> list[JobRow]:
    """Return up to ``limit`` of the user's jobs, newest first, that come after ``before`` in that order."""
    created_at, job_id = before or (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(JobRow)) as cursor:
        return cursor.execute(
            f"select {JOB} from generation_jobs job where user_id = %s and {SHOWN}"  # noqa: S608  our own column names
            " and (%s::text is null or status = %s) and (created_at, id) < (%s, %s)"
            " order by created_at desc, id desc limit %s",
            (user_id, status, status, created_at, job_id, limit),
        ).fetchall()


def latest_of_deck(pool: Pool, user_id: UUID, deck_id: UUID) -> JobRow:
    """Return the deck's newest job. Raises ``NotFound``, also if the deck is somebody else's."""
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(JobRow)) as cursor:
        row = cursor.execute(
            f"select {JOB} from generation_jobs job where user_id = %s and deck_id = %s"  # noqa: S608  our own column names
            " order by created_at desc limit 1",
            (user_id, deck_id),
        ).fetchone()
    if row is None:
        raise NotFound("There is no such deck.")
    return row


def tell(conn: Connection, user_id: UUID, job_id: UUID, event: str) -> None:
    """Append to the events."""
    conn.execute("insert into generation_events (user_id, job_id, event) values (%s, %s, %s)", (user_id, job_id, event))
