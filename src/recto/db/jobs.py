"""Jobs as their users see them: the view ``recto.jobs``. ``starts`` begins and retries jobs, ``attempts`` runs them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row

from recto.db.pool import Pool, as_process, as_user
from recto.errors import NotFound
from recto.telemetry import Gauges

MAX_ATTEMPTS = 3
MAX_RETRIES = 5
_FIRST_RETRY_AFTER_S = 10


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job without its texts. Tokens and dollars are the sums of its attempts, None if no call reported any.

    ``model`` is the last that answered. ``attempts_left``: before it fails for good. ``suggestions_count`` counts what
    can be reviewed; ``erased_at`` is when that and the texts were erased. ``dropped``: cards of all batches that were
    written and not kept, by reason; ``incomplete``: why the model did not write all that it would have; ``language``:
    of the last batch; ``sections``: of a text that is asked in parts, as in ``NewJob``.
    """

    id: UUID
    user_id: UUID
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
    attempts_left: int
    retries: int
    in_background: bool
    model: str | None
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: Any
    error: dict[str, Any] | None
    lease_until: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    erased_at: datetime | None
    suggestions_count: int
    dropped: dict[str, int]
    incomplete: str | None
    language: str | None
    sections: list[dict[str, Any]] | None

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it unless somebody asks."""
        return self.status in ("succeeded", "failed", "canceled")

    @property
    def ended_by(self) -> str | None:
        """The code of what ended it before it was done; None if nothing did."""
        if self.status == "failed" and self.error:
            return str(self.error["code"])
        return "canceled" if self.status == "canceled" else None

    def retry_at(self, window: timedelta) -> datetime | None:
        """When a failed job may be retried: 10 s after its failure, 20 s after the next, …; None if it cannot.

        After ``MAX_RETRIES`` its text is erased with its last failure.
        """
        if self.status != "failed" or not self.has_text or self.finished_at is None:
            return None
        if datetime.now(UTC) > self.finished_at + window:
            return None
        return self.finished_at + timedelta(seconds=_FIRST_RETRY_AFTER_S * 2**self.retries)


@dataclass(frozen=True, slots=True)
class ListedJob(JobRow):
    """A job in a list of many: with what its user may know it by, and what is left to review."""

    first_front: str | None
    reviewed_count: int


def find(pool: Pool, user_id: UUID, job_id: UUID) -> JobRow:
    """Return the user's job of that id. Raises ``NotFound``."""
    with as_user(pool, user_id) as conn:
        return read(conn, user_id, job_id)


def read(conn: Connection, user_id: UUID, job_id: UUID) -> JobRow:
    """``find`` in the caller's transaction."""
    with conn.cursor(row_factory=class_row(JobRow)) as cursor:
        row = cursor.execute("select * from recto.jobs where user_id = %s and id = %s", (user_id, job_id)).fetchone()
    if row is None:
        raise NotFound("There is no such generation.")
    return row


def newest(
    pool: Pool, user_id: UUID, *, status: str | None, before: tuple[datetime, UUID] | None, limit: int
) -> list[ListedJob]:
    """Return up to ``limit`` of the user's jobs, newest first, that come after ``before`` in that order."""
    created_at, job_id = before or (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(ListedJob)) as cursor:
        return cursor.execute(
            "select *,"
            " (select front from ai_suggestions where job_id = jobs.id order by position limit 1) as first_front,"
            " (select count(reviewed_at) from ai_suggestions where job_id = jobs.id) as reviewed_count"
            " from recto.jobs where user_id = %s and (%s::text is null or status = %s)"
            " and (created_at, id) < (%s, %s) order by created_at desc, id desc limit %s",
            (user_id, status, status, created_at, job_id, limit),
        ).fetchall()


def latest_of_deck(pool: Pool, user_id: UUID, deck_id: UUID) -> JobRow:
    """Return the deck's newest job. Raises ``NotFound``, also if the deck is somebody else's."""
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(JobRow)) as cursor:
        row = cursor.execute(
            "select * from recto.jobs where user_id = %s and deck_id = %s order by created_at desc, id desc limit 1",
            (user_id, deck_id),
        ).fetchone()
    if row is None:
        raise NotFound("There is no such deck.")
    return row


def record_event(conn: Connection, user_id: UUID, job_id: UUID, event: str) -> None:
    """Append to ``generation_events``."""
    conn.execute("insert into generation_events (user_id, job_id, event) values (%s, %s, %s)", (user_id, job_id, event))


def in_flight(pool: Pool, *, within_s: float) -> Gauges:
    """Return what waits and what runs, of all users and workers. Waits ``within_s`` seconds for a connection."""
    with as_process(pool, within_s=within_s) as conn:
        row = conn.execute("select * from recto.jobs_in_flight()").fetchone()
    assert row is not None  # noqa: S101  the function returns one row
    return Gauges(*row)
