"""Why jobs fail: the table ``generation_error_logs`` as jobs write it, and the end of a job that failed."""

from dataclasses import dataclass
from typing import Self
from uuid import UUID

from psycopg import Connection
from psycopg.types.json import Jsonb

from recto.db.jobs import MAX_RETRIES, record_event
from recto.errors import UpstreamError


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. ``message`` and ``code`` are what the caller may read, the rest is the operator's.

    ``detail`` goes to ``generation_error_logs`` alone; none of it holds a text.
    """

    code: str
    message: str
    log_code: str
    detail: str
    model: str | None = None
    upstream_status: int | None = None
    request_id: str | None = None
    duration_ms: int | None = None

    @classmethod
    def of(cls, error: UpstreamError, *, model: str, duration_ms: int | None = None) -> Self:
        """Describe a provider's failure; ``model`` is the one asked for."""
        return cls(
            code=error.code,
            message=error.message,
            log_code=error.log_code,
            detail=error.detail,
            model=error.model or model,
            upstream_status=error.upstream_status,
            request_id=error.request_id,
            duration_ms=duration_ms,
        )

    def to_json(self) -> Jsonb:
        """Return what is kept in the job's row, which its user may read."""
        return Jsonb({name: getattr(self, name) for name in self.__slots__ if name != "detail"})


ABANDONED = Failure(
    code="internal_error",
    message="The process that generated was stopped.",
    log_code="worker_lost",
    detail="the process that ran the attempt stopped renewing its lease; the provider may have been paid",
)

# Of a deck's attempt only the calls that failed: the batches before them are not what the log is about.
_LOG = """
    insert into generation_error_logs (user_id, job_id, attempt, model, source_text_hash, source_text_length,
        error_code, error_message, is_topic, is_image, tokens_input, tokens_output, cost_usd, prompt_version)
    select user_id, id, attempts, coalesce(%(model)s, spent.model, payload ->> 'model'), source_text_hash,
        source_text_length, %(log_code)s, %(detail)s, payload ? 'topic', kind = 'image', spent.tokens_input,
        spent.tokens_output, spent.cost_usd, payload ->> 'prompt_version'
    from generation_jobs job, lateral (
        select sum(tokens_input) as tokens_input, sum(tokens_output) as tokens_output, sum(cost_usd) as cost_usd,
            max(model) as model
        from generation_attempts attempt
        where attempt.job_id = job.id and number = job.attempts and outcome is distinct from 'succeeded'
    ) spent
    where id = %(job_id)s
    on conflict (job_id, attempt) do nothing
"""


def log_failure(conn: Connection, job_id: UUID, failure: Failure) -> None:
    """Append to ``generation_error_logs`` why the job's attempt failed; repeating it changes nothing."""
    conn.execute(
        _LOG,
        {"job_id": job_id, "model": failure.model, "log_code": failure.log_code, "detail": failure.detail},
    )


def end_as_failed(conn: Connection, job_id: UUID, failure: Failure) -> None:
    """End the job; what the user wrote is kept for as long as a retry is possible, of which a picture has none."""
    row = conn.execute(
        "update generation_jobs set status = 'failed', error = %s, holder = null, lease_until = null,"
        " finished_at = now(), alerted_at = null, prediction = prediction - '{outputs,error}'::text[],"
        " payload = case when retries >= %s or kind = 'image' then recto.without_texts(payload) else payload end"
        " where id = %s returning user_id, kind",
        (failure.to_json(), MAX_RETRIES, job_id),
    ).fetchone()
    assert row is not None  # noqa: S101  the caller has locked it
    user_id, kind = row
    if kind != "synchronous":
        record_event(conn, user_id, job_id, "ai_generation_failed")
