"""What models were asked for, what became of their cards, and what that cost, over a number of days."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import dict_row

from recto.db.pool import SEARCH_PATH, Pool, as_user

MAX_DAYS = 3650

# All but the last have a row for each model, version of the prompt and language. `user_id` null: everybody's.
_MADE = """
    select model, prompt_version, language, count(*) as generations, sum(generated_count) as proposed,
        coalesce(sum(accepted_unedited_count), 0) as accepted_unedited,
        coalesce(sum(accepted_edited_count), 0) as accepted_edited,
        coalesce(sum(rejected_count), 0) as rejected,
        coalesce(sum(grounded_count), 0) as grounded,
        coalesce(sum(generated_count) filter (where grounded_count is not null), 0) as grounding_known,
        round(percentile_cont(0.5) within group (order by first_proposal_ms))::integer as median_first_proposal_ms
    from generations
    where created_at >= %(since)s and (%(user_id)s::uuid is null or user_id = %(user_id)s)
    group by 1, 2, 3
"""
_DROPPED = """
    select model, prompt_version, language, jsonb_object_agg(reason, dropped) as dropped
    from (
        select model, prompt_version, language, reason, sum(number::numeric::integer) as dropped
        from generations, jsonb_each_text(generations.dropped) as drops (reason, number)
        where created_at >= %(since)s and (%(user_id)s::uuid is null or user_id = %(user_id)s)
        group by 1, 2, 3, 4
    ) counted
    group by 1, 2, 3
"""
_FAILED = """
    select log.model, log.prompt_version, record.language, count(*) as failures
    from generation_error_logs log left join generations record using (job_id)
    where not is_image and log.created_at >= %(since)s and (%(user_id)s::uuid is null or log.user_id = %(user_id)s)
    group by 1, 2, 3
"""
_SPENT = """
    select model, prompt_version, language, sum(tokens_input) as tokens_input, sum(tokens_output) as tokens_output,
        sum(cost_usd)::float8 as cost_usd
    from recto.costs
    where not is_image and coalesce(tokens_input, tokens_output, cost_usd) is not null
        and created_at >= %(since)s and (%(user_id)s::uuid is null or user_id = %(user_id)s)
    group by 1, 2, 3
"""
_SPENT_A_DAY = """
    select (created_at at time zone 'utc')::date as date, sum(cost_usd)::float8 as cost_usd
    from recto.costs
    where not is_image and cost_usd is not null
        and created_at >= %(since)s and (%(user_id)s::uuid is null or user_id = %(user_id)s)
    group by 1 order by 1
"""


@dataclass(frozen=True, slots=True)
class ModelStats:
    """What one model made with one version of the prompt in one language; None for a language that is not known.

    ``failures``: attempts that brought no card. Tokens and dollars are those of all calls, of failed ones too, as far
    as the provider told; a kept card is one that was accepted. ``grounded``: of the ``grounding_known`` proposals that
    were looked at. The median is over what was streamed.
    """

    model: str
    prompt_version: str | None
    language: str | None
    generations: int = 0
    failures: int = 0
    proposed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    accepted_unedited: int = 0
    accepted_edited: int = 0
    rejected: int = 0
    grounded: int = 0
    grounding_known: int = 0
    tokens_input: int | None = None
    tokens_output: int | None = None
    cost_usd: float | None = None
    tokens_per_kept_card: float | None = None
    cost_usd_per_kept_card: float | None = None
    median_first_proposal_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DayCost:
    """The US dollars of one day (UTC)."""

    date: date
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Stats:
    """The last ``days`` days in UTC, today included; ``cost_by_day`` names only days on which something was paid."""

    days: int
    since: datetime
    models: list[ModelStats]
    cost_by_day: list[DayCost]


def find(pool: Pool, user_id: UUID, *, days: int) -> Stats:
    """Return what the user's generations came to."""
    with as_user(pool, user_id) as conn:
        return _read(conn, days, user_id)


def of_everybody(database_url: str, *, days: int) -> Stats:
    """Return what all users' generations came to."""
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "select set_config('role', 'recto_worker', true), set_config('search_path', %s, true)", (SEARCH_PATH,)
        )
        return _read(conn, days, None)


def _read(conn: Connection, days: int, user_id: UUID | None) -> Stats:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = today - timedelta(days=days - 1)
    asked = {"since": since, "user_id": user_id}
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    with conn.cursor(row_factory=dict_row) as cursor:
        for query in (_MADE, _DROPPED, _FAILED, _SPENT):
            for row in cursor.execute(query, asked):
                key = (row["model"], row["prompt_version"] or "", row["language"] or "")
                found.setdefault(key, {}).update(row)
        cost_by_day = [DayCost(**row) for row in cursor.execute(_SPENT_A_DAY, asked)]
    return Stats(days, since, [_of_model(found[key]) for key in sorted(found)], cost_by_day)


def _of_model(row: dict[str, Any]) -> ModelStats:
    kept = row.get("accepted_unedited", 0) + row.get("accepted_edited", 0)
    tokens = [row[name] for name in ("tokens_input", "tokens_output") if row.get(name) is not None]
    if kept and tokens:
        row["tokens_per_kept_card"] = sum(tokens) / kept
    if kept and row.get("cost_usd") is not None:
        row["cost_usd_per_kept_card"] = row["cost_usd"] / kept
    return ModelStats(**row)
