"""The table ``generation_jobs`` as its runners see it: claim a job, then end the attempt in one of five ways.

Every write is one transaction and checks the attempt's number, so that a runner that was thought dead changes nothing:
the functions then return False.
"""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from recto.db import usage
from recto.db.jobs import ATTEMPT, ERASED, MAX_ATTEMPTS, MAX_RETRIES, Attempt, tell
from recto.db.pool import Pool, as_service
from recto.db.queue import enqueue
from recto.providers.openrouter import Completion
from recto.text.generate import Generation


@dataclass(frozen=True, slots=True)
class Pair:
    """A proposal and the SHA-256 of its normalised front."""

    front: str
    back: str
    front_hash: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why an attempt failed. ``message`` and ``code`` are what the caller may read, the rest is the operator's.

    ``detail`` goes to ``generation_error_logs`` alone; none of it holds a text. What the attempt cost all the same is
    kept there and added to the job's sums.
    """

    code: str
    message: str
    log_code: str
    detail: str
    model: str
    upstream_status: int | None = None
    request_id: str | None = None
    duration_ms: int | None = None
    tokens_input: int | None = None
    tokens_output: int | None = None
    cost_usd: Decimal | None = None

    def to_json(self) -> Jsonb:
        """Return what is kept in the job's row."""
        return Jsonb({name: getattr(self, name) for name in self.__slots__ if name not in _KEPT_ELSEWHERE})


_KEPT_ELSEWHERE = frozenset({"detail", "tokens_input", "tokens_output", "cost_usd"})

# What the provider did not tell adds nothing, and stays unknown if it never tells.
_ADDED_COSTS = ", ".join(
    f"{name} = coalesce({name} + %({name})s, {name}, %({name})s)"
    for name in ("tokens_input", "tokens_output", "cost_usd")
)


LOST = Diagnosis(
    code="internal_error",
    message="The process that generated was stopped.",
    log_code="worker_lost",
    detail="the process that ran the attempt stopped answering; the provider may have been paid",
    model="",
)


def claim(pool: Pool, job_id: UUID, queue_job_id: int) -> Attempt | None:
    """Begin the next attempt of the job, if this entry of the queue still stands for it.

    A job that is found running was left behind by a worker that died: the attempt is logged as ``worker_lost``, and the
    next one begins, or the job fails if none is left.
    """
    with as_service(pool, None) as conn:
        row = conn.execute(
            "select status, attempts_left from generation_jobs"
            " where id = %s and queue_job_id = %s and status in ('pending', 'running') for update",
            (job_id, queue_job_id),
        ).fetchone()
        if row is None:
            return None
        status, attempts_left = row
        if status == "running":
            log(conn, job_id, LOST)
        if attempts_left == 0:
            end_as_failed(conn, job_id, LOST)
            return None
        with conn.cursor(row_factory=class_row(Attempt)) as cursor:
            return cursor.execute(
                "update generation_jobs set status = 'running', attempts = attempts + 1,"  # noqa: S608  our own column names
                f" attempts_left = attempts_left - 1, started_at = now() where id = %s returning {ATTEMPT}",
                (job_id,),
            ).fetchone()


def add_pairs(pool: Pool, attempt: Attempt, pairs: list[Pair], generation: Generation) -> bool:
    """Commit one batch of a deck and what it cost; the next batch has all of its attempts before it."""
    with as_service(pool, attempt.user_id) as conn:
        if not _holds(conn, attempt, generation):
            return False
        _insert_pairs(conn, attempt, pairs)
        if pairs:  # what brings nothing, again and again, must come to an end
            conn.execute(
                "update generation_jobs set attempts_left = %s where id = %s", (MAX_ATTEMPTS - 1, attempt.job_id)
            )
        return True


def succeed(pool: Pool, attempt: Attempt, pairs: list[Pair], generation: Generation) -> int | None:
    """Commit the results with the analytics row, the debit and the event; erase what the user wrote.

    ``pairs`` and ``generation`` are what is not committed yet: all, or a deck's last batch; the pairs of a synchronous
    generation are not kept. Returns the id of the row in ``generations``, or None if the attempt holds no more.
    """
    with as_service(pool, attempt.user_id) as conn:
        if not _holds(conn, attempt, generation):
            return None
        if attempt.kind != "synchronous":
            _insert_pairs(conn, attempt, pairs)
        row = conn.execute(
            "insert into generations (user_id, model, generated_count, source_text_hash, source_text_length,"
            " generation_duration, prompt_version, tokens_input, tokens_output, cost_usd, is_topic)"
            " select user_id, model_used,"
            " greatest(%s, (select count(*) from ai_suggestions where ai_suggestions.generation_id = job.id)),"
            " source_text_hash, source_text_length, (ai_metadata ->> 'duration_ms')::int, payload ->> 'prompt_version',"
            " tokens_input, tokens_output, cost_usd, payload ? 'topic'"
            " from generation_jobs job where id = %s returning id",
            (len(pairs), attempt.job_id),
        ).fetchone()
        assert row is not None  # noqa: S101  the job's row is locked
        conn.execute(
            "update generation_jobs set status = 'succeeded', generation_id = %s, error = null,"  # noqa: S608  our own column names
            f" payload = {ERASED}, lease_until = null, finished_at = now() where id = %s",
            (row[0], attempt.job_id),
        )
        usage.debit(conn, attempt.user_id, attempt.job_id, attempt.kind)
        tell(conn, attempt.user_id, attempt.job_id, "ai_generation_succeeded")
        return int(row[0])


def fail(pool: Pool, attempt: Attempt, diagnosis: Diagnosis, *, retry_in_s: float | None = None) -> bool:
    """Log why the attempt failed; queue the next one for ``retry_in_s`` from now, or with None end the job."""
    with as_service(pool, attempt.user_id) as conn:
        held = _holds(conn, attempt)
        conn.execute(
            f"update generation_jobs set {_ADDED_COSTS} where id = %(job_id)s",  # noqa: S608  our own words
            _costs(attempt, diagnosis),
        )
        if not held:
            return False
        log(conn, attempt.job_id, diagnosis)
        if retry_in_s is None:
            end_as_failed(conn, attempt.job_id, diagnosis)
        else:
            conn.execute(
                "update generation_jobs set status = 'pending', queue_job_id = %s, error = %s where id = %s",
                (enqueue(conn, attempt.job_id, delay_s=retry_in_s), diagnosis.to_json(), attempt.job_id),
            )
        return True


def hand_back(pool: Pool, attempt: Attempt) -> bool:
    """Return a job of which nothing is being generated to the queue; the attempt is not counted against it."""
    with as_service(pool, attempt.user_id) as conn:
        if not _holds(conn, attempt):
            return False
        conn.execute(
            "update generation_jobs set status = 'pending', queue_job_id = %s, attempts_left = attempts_left + 1"
            " where id = %s",
            (enqueue(conn, attempt.job_id), attempt.job_id),
        )
        return True


def end_as_failed(conn: Connection, job_id: UUID, diagnosis: Diagnosis) -> None:
    """End the job; what the user wrote is kept for as long as a retry is possible."""
    row = conn.execute(
        "update generation_jobs set status = 'failed', error = %s, lease_until = null, finished_at = now(),"  # noqa: S608  our own column names
        f" payload = case when retries >= %s then {ERASED} else payload end where id = %s returning user_id",
        (diagnosis.to_json(), MAX_RETRIES, job_id),
    ).fetchone()
    assert row is not None  # noqa: S101  the caller has locked it
    tell(conn, row[0], job_id, "ai_generation_failed")


def _holds(conn: Connection, attempt: Attempt, generation: Generation | None = None) -> bool:
    """Lock the job and tell whether the attempt still runs it; add what its completion cost in any case.

    A canceled job has its costs too, and so has one that was taken from a runner that was thought dead.
    """
    row = conn.execute(
        "select status = 'running' and attempts = %s from generation_jobs where id = %s for update",
        (attempt.number, attempt.job_id),
    ).fetchone()
    if generation is not None:
        completion = generation.completion
        facts = {
            "finish_reason": completion.finish_reason,
            "request_id": completion.request_id,
            "dropped": generation.drops,
        }
        conn.execute(
            f"update generation_jobs set {_ADDED_COSTS}, model_used = %(model)s, ai_metadata = %(facts)s ||"  # noqa: S608  our own words
            " jsonb_build_object('duration_ms', coalesce((ai_metadata ->> 'duration_ms')::int, 0) + %(duration_ms)s)"
            " where id = %(job_id)s",
            _costs(attempt, completion)
            | {"model": completion.model, "facts": Jsonb(facts), "duration_ms": generation.duration_ms},
        )
    return bool(row and row[0])


def _costs(attempt: Attempt, spent: Completion | Diagnosis) -> dict[str, object]:
    return {
        "job_id": attempt.job_id,
        "tokens_input": spent.tokens_input,
        "tokens_output": spent.tokens_output,
        "cost_usd": spent.cost_usd,
    }


def _insert_pairs(conn: Connection, attempt: Attempt, pairs: list[Pair]) -> None:
    conn.execute(
        "insert into ai_suggestions (generation_id, user_id, deck_id, position, front, back, front_hash)"
        " select %(job_id)s, %(user_id)s, %(deck_id)s,"
        "  n + (select coalesce(max(position), 0) from ai_suggestions where generation_id = %(job_id)s),"
        "  front, back, front_hash"
        " from unnest(%(fronts)s::text[], %(backs)s::text[], %(hashes)s::text[])"
        "  with ordinality as pair (front, back, front_hash, n)"
        " on conflict (deck_id, front_hash) where deck_id is not null do nothing",
        {
            "job_id": attempt.job_id,
            "user_id": attempt.user_id,
            "deck_id": attempt.deck_id,
            "fronts": [pair.front for pair in pairs],
            "backs": [pair.back for pair in pairs],
            "hashes": [pair.front_hash for pair in pairs],
        },
    )


def log(conn: Connection, job_id: UUID, diagnosis: Diagnosis) -> None:
    """Append to ``generation_error_logs``."""
    conn.execute(
        "insert into generation_error_logs"
        " (user_id, job_id, model, source_text_hash, source_text_length, error_code, error_message, is_topic,"
        "  tokens_input, tokens_output, cost_usd)"
        " select user_id, id, coalesce(nullif(%s, ''), payload ->> 'model'), source_text_hash, source_text_length,"
        "  %s, %s, payload ? 'topic', %s, %s, %s"
        " from generation_jobs where id = %s",
        (
            diagnosis.model,
            diagnosis.log_code,
            diagnosis.detail,
            diagnosis.tokens_input,
            diagnosis.tokens_output,
            diagnosis.cost_usd,
            job_id,
        ),
    )
