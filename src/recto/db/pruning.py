"""Deletes old records, in many short transactions of which none waits for another.

A row stays if one of the app's own tables refers to it, or to a row that would go with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg import Connection, sql

from recto.db.pool import SEARCH_PATH

# What is older than this is not of this month (UTC), of which quotas are counted.
LEAST_DAYS = 31

_AT_ONCE = 1000  # rows a transaction; what goes with a job comes on top

_ENDED = "status in ('succeeded', 'failed', 'canceled')"
_WITHOUT_PICTURE = "(kind <> 'image' or status <> 'succeeded')"
_OF_A_JOB = "job_id is not null"  # which rows that an app wrote into a shared table are not
_PARTS = ["generation_attempts", "ai_suggestions", "renders", "render_variants"]  # these go with their jobs

# The foreign keys of a table's rows: who has them, whether that goes with the row, and their columns.
_FOREIGN_KEYS = """
    select conrelid::regclass::text, conrelid = any(%(parts)s::regclass[]),
        array_agg(theirs.attname::text order by place), array_agg(ours.attname::text order by place)
    from pg_constraint, unnest(conkey, confkey) with ordinality as pair (their_number, our_number, place)
    join pg_attribute theirs on theirs.attnum = their_number
    join pg_attribute ours on ours.attnum = our_number
    where contype = 'f' and conparentid = 0 and confrelid = %(table)s::regclass
        and theirs.attrelid = conrelid and ours.attrelid = confrelid
    group by pg_constraint.oid, conrelid order by 1, pg_constraint.oid
"""
# What somebody holds is left to the next time. What an app's row comes to refer to meanwhile is held by it, or seen by
# the second statement. A locked row stays in its place (ctid), which rows of every table have; tables that are made of
# several have a row in each at one place, hence the condition again.
_LOCK = """
    select ctid, {time} from {table} where {time} < %(before)s and {condition} and {after}
    order by {time}, ctid limit %(at_once)s {lock}
"""
_DELETE = """
    {delete} from {table} old
    where ctid = any(%(places)s::tid[]) and {time} < %(before)s and {condition} and not ({is_referred_to})
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of some old rows of a table: ``kept`` are those that a row of the app's refers to.

    ``share``: of the time that the table's old rows span, how much is done.
    """

    table: str
    deleted: int
    kept: int
    share: float


class _Table(NamedTuple):
    """A table's name, the column that says how old a row is, and which of the old ones may go."""

    name: str
    time: str = "created_at"
    condition: str = "true"


def prune(
    database_url: str, before: datetime, *, app_rows: bool = False, pictures: bool = False, dry_run: bool = False
) -> Iterator[Batch]:
    """Delete jobs that ended ``before``, and records, debits and costs of then; yield each batch once it is committed.

    ``app_rows``: in tables that are shared with an app also rows of no job, as the app's own are. ``pictures``: also
    those that users have; workers then delete the files. ``dry_run`` only counts. The login must own the tables: raises
    ``psycopg.Error``.
    """
    records = "true" if app_rows else _OF_A_JOB
    tables = (
        _Table("generation_jobs", "finished_at", _ENDED if pictures else f"{_ENDED} and {_WITHOUT_PICTURE}"),
        _Table("generation_error_logs", condition=records),
        _Table("generations", condition=records),
        _Table("synchronous_costs"),
        _Table("usage_ledger"),
    )
    with psycopg.connect(database_url, autocommit=True, prepare_threshold=None) as conn:
        for table in tables:
            yield from _prune(conn, table, before, dry_run)


def _prune(conn: Connection, table: _Table, before: datetime, dry_run: bool) -> Iterator[Batch]:
    words = {
        "table": sql.Identifier(table.name),
        "time": sql.Identifier(table.time),
        "condition": sql.SQL(table.condition),
        "lock": sql.SQL("" if dry_run else "for update skip locked"),
        "delete": sql.SQL("select" if dry_run else "delete"),
    }
    after: sql.Composable = sql.SQL("true")
    oldest = None
    while True:
        with conn.transaction():
            conn.execute("select set_config('search_path', %s, true)", (SEARCH_PATH,))
            lock = sql.SQL(_LOCK).format(**words, after=after)
            rows = conn.execute(lock, {"before": before, "at_once": _AT_ONCE}).fetchall()
            if not rows:
                return
            is_referred_to = sql.SQL(" or ").join(_references(conn, table.name, "old"))
            delete = sql.SQL(_DELETE).format(**words, is_referred_to=is_referred_to)
            deleted = conn.execute(delete, {"before": before, "places": [place for place, _ in rows]}).rowcount
        last, newest = rows[-1]
        oldest = oldest or rows[0][1]
        yield Batch(table.name, deleted, len(rows) - deleted, (newest - oldest) / (before - oldest))
        after = sql.SQL("({time}, ctid) > ({newest}, {last})").format(**words, newest=newest, last=last)


def _references(conn: Connection, table: str, row: str) -> list[sql.Composable]:
    """Conditions of which one holds if a row of the app's refers to ``row``; the first one never does."""
    conditions: list[sql.Composable] = [sql.SQL("false")]
    found = conn.execute(_FOREIGN_KEYS, {"table": table, "parts": _PARTS}).fetchall()
    for number, (name, is_part, keys, columns) in enumerate(found):
        other = f"{row}_{number}"
        pairs = [
            sql.SQL("{} = {}").format(sql.Identifier(other, key), sql.Identifier(row, column))
            for key, column in zip(keys, columns, strict=True)
        ]
        if is_part:
            pairs.append(sql.SQL("({})").format(sql.SQL(" or ").join(_references(conn, name, other))))
        conditions.append(
            sql.SQL("exists (select from {} {} where {})").format(
                sql.SQL(name), sql.Identifier(other), sql.SQL(" and ").join(pairs)
            )
        )
    return conditions
