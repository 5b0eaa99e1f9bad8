"""The tables ``generations`` and ``generation_error_logs``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row
from pydantic_core import to_json

from recto.db.pool import Pool, as_service, as_user, claims
from recto.db.together import Together
from recto.errors import InvalidRequest, NotFound, ReviewedHere, UpstreamError
from recto.text.generate import Generation
from recto.text.source import SourceText


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """What is kept of a generation; ``generation_duration`` in ms.

    ``prompt_version`` is None if an app that shares the table wrote the row itself.
    """

    id: int
    user_id: UUID
    model: str
    generated_count: int
    accepted_unedited_count: int | None
    accepted_edited_count: int | None
    source_text_hash: str
    source_text_length: int
    generation_duration: int
    prompt_version: str | None
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: Decimal | None
    dropped: dict[str, int]
    incomplete: str | None
    first_proposal_ms: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class GenerationErrorLogRow:
    """What is kept of a generation that the provider failed."""

    id: int
    user_id: UUID
    model: str
    source_text_hash: str
    source_text_length: int
    error_code: str
    error_message: str
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: Decimal | None
    created_at: datetime


_MAX_ID = 2**63 - 1

_RECORD = """
    select recto.record_generation(claims, user_id, job_id, model, generated_count, source_text_hash,
        source_text_length, generation_duration, prompt_version, tokens_input, tokens_output, cost_usd, counted,
        incomplete, dropped, first_proposal_ms, untold, grounded_count, language)
    from jsonb_to_recordset(%s::jsonb) as record (claims text, user_id uuid, job_id uuid, model text,
        generated_count integer, source_text_hash text, source_text_length integer, generation_duration integer,
        prompt_version text, tokens_input integer, tokens_output integer, cost_usd numeric, counted boolean,
        incomplete text, dropped jsonb, first_proposal_ms integer, untold text[], grounded_count integer, language text)
"""
_RECORD_ERROR = """
    select recto.record_generation_error(%s, %s, %s, %s, %s, %s::int, %s, %s, %s::int, %s::int, %s::numeric, %s,
        %s::text[], %s)
"""
_FIND = """
    select id, user_id, model, generated_count, accepted_unedited_count, accepted_edited_count, source_text_hash,
        source_text_length, generation_duration, prompt_version, tokens_input, tokens_output, cost_usd, dropped,
        incomplete, first_proposal_ms, created_at, updated_at
    from generations where user_id = %s and id = %s
"""
_NEWEST = """
    select id, user_id, model, generated_count, accepted_unedited_count, accepted_edited_count, source_text_hash,
        source_text_length, generation_duration, prompt_version, tokens_input, tokens_output, cost_usd, dropped,
        incomplete, first_proposal_ms, created_at, updated_at
    from generations where user_id = %s and id < %s order by id desc limit %s
"""
_NEWEST_ERRORS = """
    select id, user_id, model, source_text_hash, source_text_length, error_code, error_message, tokens_input,
        tokens_output, cost_usd, created_at
    from generation_error_logs where user_id = %s and id < %s and not is_image order by id desc limit %s
"""
# One that came of a job with suggestions is counted by their reviews.
_REPORT_ACCEPTED = """
    update generations set accepted_unedited_count = %s, accepted_edited_count = %s
    where user_id = %s and id = %s and not exists (
        select from recto.jobs where recto.jobs.id = generations.job_id)
    returning updated_at
"""


class Records:
    """Inserts generations, each under its user's identity; those that end at the same time go in one round trip."""

    def __init__(self, pool: Pool) -> None:
        self._rows = Together(partial(_insert, pool))

    def record(
        self,
        user_id: UUID,
        job_id: UUID,
        source: SourceText,
        generation: Generation,
        *,
        counted: bool,
        grounded_count: int | None = None,
        language: str | None = None,
    ) -> int:
        """Insert the generation and return its id.

        ``counted``: it holds a reservation, made under ``job_id``, which becomes a debit. ``grounded_count``: proposals
        that the text supports; None if that was not looked at. ``language``: of the cards, if that was. Repeating it
        changes nothing.
        """
        completion = generation.completion
        return self._rows.write(
            {
                "claims": claims(user_id),
                "user_id": user_id,
                "job_id": job_id,
                "model": completion.model,
                "generated_count": len(generation.proposals),
                "source_text_hash": source.hash,
                "source_text_length": source.length,
                "generation_duration": generation.duration_ms,
                "prompt_version": generation.prompt_version,
                "tokens_input": completion.tokens_input,
                "tokens_output": completion.tokens_output,
                "cost_usd": completion.cost_usd,
                "counted": counted,
                "incomplete": generation.incomplete,
                "dropped": generation.drops,
                "first_proposal_ms": generation.first_proposal_ms,
                "untold": completion.untold,
                "grounded_count": grounded_count,
                "language": language,
            }
        )


def _insert(pool: Pool, rows: Sequence[dict[str, object]]) -> list[int]:
    with pool.connection() as conn:
        return [record_id for (record_id,) in conn.execute(_RECORD, (to_json(rows).decode(),))]


def record_error(
    pool: Pool,
    user_id: UUID,
    job_id: UUID,
    source: SourceText,
    error: UpstreamError,
    *,
    model: str,
    prompt_version: str,
    counted: bool,
) -> None:
    """Insert why the provider failed; ``model`` is the one asked for, unless the error names the one that answered.

    ``counted``: it holds a reservation, made under ``job_id``, which is given back. Repeating it changes nothing.
    """
    with pool.connection() as conn:
        conn.execute(
            _RECORD_ERROR,
            (
                claims(user_id),
                user_id,
                job_id,
                error.model or model,
                source.hash,
                source.length,
                error.log_code,
                error.detail,
                error.tokens_input,
                error.tokens_output,
                error.cost_usd,
                counted,
                error.untold,
                prompt_version,
            ),
        )


def find(pool: Pool, user_id: UUID, record_id: int) -> GenerationRow | None:
    """Return the user's generation of that id."""
    with as_user(pool, user_id) as conn:
        return _find(conn, user_id, record_id)


def _find(conn: Connection, user_id: UUID, record_id: int) -> GenerationRow | None:
    with conn.cursor(row_factory=class_row(GenerationRow)) as cursor:
        return cursor.execute(
            _FIND,
            (user_id, record_id),
        ).fetchone()


def newest(pool: Pool, user_id: UUID, *, before: int | None, limit: int) -> list[GenerationRow]:
    """Return up to ``limit`` of the user's generations, newest first, older than id ``before``."""
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(GenerationRow)) as cursor:
        return cursor.execute(
            _NEWEST,
            (user_id, before or _MAX_ID, limit),
        ).fetchall()


def newest_errors(pool: Pool, user_id: UUID, *, before: int | None, limit: int) -> list[GenerationErrorLogRow]:
    """Return up to ``limit`` of the user's failed generations, newest first, older than id ``before``."""
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(GenerationErrorLogRow)) as cursor:
        return cursor.execute(
            _NEWEST_ERRORS,
            (user_id, before or _MAX_ID, limit),
        ).fetchall()


def report_accepted(pool: Pool, user_id: UUID, record_id: int, *, unedited: int, edited: int) -> GenerationRow:
    """Store how many of the proposals an app accepted that reviews them itself, and return the user's generation.

    Raises ``NotFound``, ``ReviewedHere`` if the service counts by itself, and ``InvalidRequest`` if more were accepted
    than were made.
    """
    with as_service(pool, user_id) as conn:
        row = _find(conn, user_id, record_id)
        if row is None:
            raise NotFound("There is no such generation.")
        if unedited + edited > row.generated_count:
            raise InvalidRequest(f"The accepted counts must not add up to more than {row.generated_count}.")
        updated = conn.execute(_REPORT_ACCEPTED, (unedited, edited, user_id, record_id)).fetchone()
        if updated is None:
            raise ReviewedHere
    return replace(row, accepted_unedited_count=unedited, accepted_edited_count=edited, updated_at=updated[0])
