"""The tables ``generations`` and ``generation_error_logs``."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from psycopg.rows import class_row

from recto.db.pool import Pool, as_user, claims
from recto.errors import UpstreamError
from recto.text.generate import Generation
from recto.text.source import SourceText


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """What is kept of a generation; ``generation_duration`` in ms."""

    id: int
    model: str
    generated_count: int
    accepted_unedited_count: int | None
    accepted_edited_count: int | None
    source_text_hash: str
    source_text_length: int
    generation_duration: int
    prompt_version: str
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: Decimal | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class GenerationErrorLogRow:
    """What is kept of a generation that the provider failed."""

    id: int
    model: str
    source_text_hash: str
    source_text_length: int
    error_code: str
    error_message: str
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: Decimal | None
    created_at: datetime


_GENERATION = ", ".join(GenerationRow.__dataclass_fields__)
_ERROR_LOG = ", ".join(GenerationErrorLogRow.__dataclass_fields__)
_NEWEST = 2**63 - 1


def record(pool: Pool, user_id: UUID, source: SourceText, generation: Generation) -> int:
    """Insert the generation under the user's identity, in one round trip, and return its id."""
    completion = generation.completion
    with pool.connection() as conn:
        row = conn.execute(
            "select recto.record_generation(%s, %s, %s, %s::int, %s, %s::int, %s::int, %s, %s::int, %s::int, %s)",
            (
                claims(user_id),
                user_id,
                completion.model,
                len(generation.proposals),
                source.hash,
                source.length,
                generation.duration_ms,
                generation.prompt_version,
                completion.tokens_input,
                completion.tokens_output,
                completion.cost_usd,
            ),
        ).fetchone()
    assert row is not None  # noqa: S101  a scalar function always returns one row
    return int(row[0])


def record_error(pool: Pool, user_id: UUID, source: SourceText, error: UpstreamError, *, model: str) -> None:
    """Insert why the provider failed; ``model`` is the one asked for, unless the error names the one that answered."""
    with as_user(pool, user_id) as conn:
        conn.execute(
            "insert into generation_error_logs"
            " (user_id, model, source_text_hash, source_text_length, error_code, error_message,"
            " tokens_input, tokens_output, cost_usd) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                user_id,
                error.model or model,
                source.hash,
                source.length,
                error.log_code,
                error.detail,
                error.tokens_input,
                error.tokens_output,
                error.cost_usd,
            ),
        )


def find(pool: Pool, user_id: UUID, generation_id: int) -> GenerationRow | None:
    """Return the user's generation of that id."""
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(GenerationRow)) as cursor:
        return cursor.execute(
            f"select {_GENERATION} from generations where user_id = %s and id = %s",  # noqa: S608  our own column names
            (user_id, generation_id),
        ).fetchone()


def newest(pool: Pool, user_id: UUID, *, before: int | None, limit: int) -> list[GenerationRow]:
    """Return up to ``limit`` of the user's generations, newest first, older than id ``before``."""
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(GenerationRow)) as cursor:
        return cursor.execute(
            f"select {_GENERATION} from generations where user_id = %s and id < %s order by id desc limit %s",  # noqa: S608  our own column names
            (user_id, before or _NEWEST, limit),
        ).fetchall()


def newest_errors(pool: Pool, user_id: UUID, *, before: int | None, limit: int) -> list[GenerationErrorLogRow]:
    """Return up to ``limit`` of the user's failed generations, newest first, older than id ``before``."""
    with as_user(pool, user_id) as conn, conn.cursor(row_factory=class_row(GenerationErrorLogRow)) as cursor:
        return cursor.execute(
            f"select {_ERROR_LOG} from generation_error_logs where user_id = %s and id < %s order by id desc limit %s",  # noqa: S608  our own column names
            (user_id, before or _NEWEST, limit),
        ).fetchall()
