"""The table ``generation_attempts``: one row for each call to a provider that a job made."""

from collections.abc import Sequence
from uuid import UUID

from psycopg import Connection

from recto.calls import Call

_RECORD_CALLS = """
    with recorded as (
    insert into generation_attempts as known (job_id, number, call, user_id, model, started_at, duration_ms, outcome,
        upstream_status, request_id, tokens_input, tokens_output, cost_usd)
    select job.id, %(number)s, %(first_call)s + n - 1, job.user_id, model,
        now() - make_interval(secs => duration_ms / 1e3), duration_ms, outcome,
        upstream_status, request_id, tokens_input, tokens_output, cost_usd
    from generation_jobs job, unnest(%(models)s::text[], %(durations_ms)s::int[], %(outcomes)s::text[],
        %(statuses)s::int[], %(request_ids)s::text[], %(tokens_input)s::int[], %(tokens_output)s::int[],
        %(costs_usd)s::numeric[]) with ordinality as call (model, duration_ms, outcome, upstream_status, request_id,
        tokens_input, tokens_output, cost_usd, n)
    where job.id = %(job_id)s
    on conflict (job_id, number, call) do update set (model, duration_ms, outcome, upstream_status, request_id,
        tokens_input, tokens_output, cost_usd) = (excluded.model, excluded.duration_ms, excluded.outcome,
        excluded.upstream_status, excluded.request_id, excluded.tokens_input, excluded.tokens_output, excluded.cost_usd)
    returning request_id, user_id, job_id, tokens_output
    )
    insert into recto.untold_costs (request_id, user_id, job_id)
    select request_id, user_id, job_id from recorded where request_id is not null and tokens_output is null
    on conflict do nothing
"""


def open_call(conn: Connection, job_id: UUID, call: int) -> None:
    """Record that the job's attempt is about to make its call of this number, from 1."""
    conn.execute(
        "insert into generation_attempts (job_id, number, call, user_id, model)"
        " select id, attempts, %s, user_id, payload ->> 'model' from generation_jobs where id = %s"
        " on conflict do nothing",
        (call, job_id),
    )


def record_calls(conn: Connection, job_id: UUID, attempt: int, calls: Sequence[Call], first_call: int) -> None:
    """Record calls of an attempt, numbered from ``first_call``; repeating it changes nothing.

    What a call took that did not say so will be asked for.
    """
    conn.execute(
        _RECORD_CALLS,
        {
            "job_id": job_id,
            "number": attempt,
            "first_call": first_call,
            "models": [call.model for call in calls],
            "durations_ms": [call.duration_ms for call in calls],
            "outcomes": [call.outcome for call in calls],
            "statuses": [call.upstream_status for call in calls],
            "request_ids": [call.request_id for call in calls],
            "tokens_input": [call.tokens_input for call in calls],
            "tokens_output": [call.tokens_output for call in calls],
            "costs_usd": [call.cost_usd for call in calls],
        },
    )
