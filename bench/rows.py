"""What the documented queries take with 10 thousand and with 10 million records: ``python -m bench.rows``.

The small database has records of the last 30 days alone, the large one as many after three years of others: what grows
with the tables shows. Then the large one gets 30 times as many in the last 30 days: what grows with the month shows.
It takes about 12 minutes and 9 GB in the folder of temporary files. PostgreSQL's ``fsync`` is off.
"""

import argparse
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg

from bench import report
from bench.targets import ROOT
from recto.calls import Call
from recto.db import embedded, generations, jobs, migrations, stats, usage
from recto.db.generations import Records
from recto.db.pool import SEARCH_PATH, Pool, open_pool
from recto.db.rate_limits import PostgresStorage
from recto.providers.openrouter import Completion
from recto.text.generate import Generation
from recto.text.proposals import Proposal
from recto.text.source import SourceText

RECENT, BUSY = 10_000, 300_000
MONTH, YEARS = timedelta(days=30), timedelta(days=3 * 365)
USERS_NOW, USERS_EVER = 1_003, 10_007  # numbers that share no factor with the tenths below
AT_ONCE = 500_000
RUNS = 25

# Every tenth record is a job's, and for every tenth there is a failure.
LOAD = """
    create temp view made as select n, created_at, md5('job' || n)::uuid as job_id,
        md5('failed' || n)::uuid as failed_id, md5('user' || n %% %(users)s)::uuid as user_id,
        repeat(md5(n::text), 2) as hash,
        (array['openai/gpt-4o-mini', 'google/gemini-2.5-flash', 'a/third'])[1 + n %% 3] as model
    from generate_series(%(first)s, %(last)s) n,
        lateral (select %(begin)s + (n - %(first)s) * %(step)s as created_at) at;
    insert into generation_jobs (id, user_id, kind, status, payload, source_text_hash, source_text_length, attempts,
        attempts_left, created_at, started_at, finished_at, erased_at)
    select job_id, user_id, 'review', 'succeeded',
        jsonb_build_object('count', 10, 'model', model, 'prompt_version', '2'), hash, 4000, 1, 2,
        created_at, created_at, created_at, created_at
        from made where n %% 10 = 1;
    insert into generation_attempts (job_id, number, call, user_id, model, started_at, duration_ms, outcome,
        tokens_input, tokens_output, cost_usd)
    select job_id, 1, 1, user_id, model, created_at, 4000, 'succeeded', 1200, 600, 0.0005 from made where n %% 10 = 1;
    insert into usage_ledger (user_id, job_id, kind, created_at)
    select user_id, job_id, 'review', created_at from made where n %% 10 = 1;
    insert into generations (user_id, job_id, model, generated_count, accepted_unedited_count, accepted_edited_count,
        rejected_count, source_text_hash, source_text_length, generation_duration, prompt_version, tokens_input,
        tokens_output, cost_usd, dropped, grounded_count, language, created_at)
    select user_id, job_id, model, 10, 6, 1, 3, hash, 4000, 4000, '2', 1200, 600, 0.0005, '{"duplicate": 1}', 9, 'en',
        created_at
        from made;
    insert into generation_error_logs (user_id, job_id, attempt, model, source_text_hash, source_text_length,
        error_code, error_message, prompt_version, created_at)
    select user_id, failed_id, 1, model, hash, 4000, 'timeout', 'no answer in 30 s', '2', created_at
        from made where n %% 10 = 2;
    insert into recto.synchronous_costs (job_id, user_id, model, tokens_input, tokens_output, cost_usd, prompt_version,
        language, created_at)
    select job_id, user_id, model, 1200, 600, 0.0005, '2', 'en', created_at from made where n %% 10 <> 1
    union all
    select failed_id, user_id, model, null, null, null, '2', null, created_at from made where n %% 10 = 2;
    drop view made
"""
# A user with records of all the time, and one of them that is no job's.
READER = """
    select user_id, record.id from generations record
    where user_id = md5('user1')::uuid and not exists (select from generation_jobs job where job.id = job_id)
    order by record.id desc limit 1
"""


def main() -> None:
    """Load, measure, print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.rows", description="The documented queries in large tables.")
    parser.add_argument("--rows", type=int, default=10_000_000, help="records in the large tables")
    rows = parser.parse_args().rows
    now = datetime.now(UTC)
    with TemporaryDirectory(prefix="recto-bench-") as name:
        Path(name).chmod(0o755)  # Postgres, which does not run as root, must be able to walk through it
        with embedded.running(Path(name), durable=False) as url:
            small, large = (url.replace("///postgres?", f"///{database}?") for database in ("small", "large"))
            for database_url, old in ((small, 0), (large, rows - RECENT)):
                _create(url, database_url)
                load(database_url, 1, old, now - MONTH - YEARS, YEARS, USERS_EVER)
                load(database_url, rows, RECENT, now - MONTH, MONTH, USERS_NOW)
            before = measure(small, large)
            load(large, 2 * rows, BUSY - RECENT, now - MONTH, MONTH, USERS_NOW)
            after = measure(small, large)
            with psycopg.connect(url) as conn:
                print(report.machine(conn.info.parameter_status("server_version") or ""), end="\n\n")
    header = ["ms", f"{RECENT:,} records", f"{rows:,}", f"{RECENT:,} again", f"{rows:,} and {BUSY:,} this month"]
    print(report.table(header, ([name, *(f"{ms:.2f}" for ms in before[name] + after[name])] for name in before)))


def _create(url: str, database_url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"create database {urlsplit(database_url).path[1:]}".encode())
    migrations.migrate(database_url)


def load(database_url: str, first: int, rows: int, begin: datetime, span: timedelta, users: int) -> None:
    """Insert so many records, numbered from ``first``, evenly over the span, and bring statistics up to date."""
    step = span / max(rows, 1)
    with psycopg.connect(database_url, autocommit=True, cursor_factory=psycopg.ClientCursor) as conn:
        conn.execute("select set_config('search_path', %s, false)", (SEARCH_PATH,))
        for done in range(0, rows, AT_ONCE):
            last = min(done + AT_ONCE, rows) - 1
            numbers = {"first": first + done, "last": first + last, "begin": begin + done * step, "step": step}
            conn.execute(LOAD, numbers | {"users": users})
        conn.execute("vacuum analyze")


def measure(*database_urls: str) -> dict[str, list[float]]:
    """Return the median ms of each query in each database; they take turns, so that what else runs meets all alike."""
    with ExitStack() as stack:
        by_query = zip(*(_queries(url, stack.enter_context(open_pool(url, 1))) for url in database_urls), strict=True)
        return {queries[0][0]: _medians_ms([query for _, query in queries]) for queries in by_query}


def _queries(database_url: str, pool: Pool) -> Iterator[tuple[str, Callable[[], object]]]:
    with pool.connection() as conn:
        user_id, record_id = conn.execute(READER).fetchone() or (None, None)
    records, limits = Records(pool), PostgresStorage(pool=pool)
    source = SourceText("A fact. " * 500)
    call = Call("a/model", "succeeded", 4000, tokens_input=1200, tokens_output=600)
    generation = Generation([Proposal("front", "back")], Counter(), Completion("", "stop", (call,)), "2", 4000)
    yield "hit two rate limits", lambda: limits.hit([(f"user/{user_id}", 300), ("address/192.0.2.1", 300)])
    yield "record a generation", lambda: records.record(user_id, uuid4(), source, generation, counted=False)
    yield "`GET /generations`", lambda: generations.newest(pool, user_id, before=None, limit=20)
    yield "`GET /generations/{id}`", lambda: generations.find(pool, user_id, record_id)
    yield (
        "`PATCH /generations/{id}`",
        lambda: generations.report_accepted(pool, user_id, record_id, unedited=1, edited=0),
    )
    yield "`GET /generation-error-logs`", lambda: generations.newest_errors(pool, user_id, before=None, limit=20)
    yield "`GET /ai/generations`", lambda: jobs.newest(pool, user_id, status=None, before=None, limit=20)
    yield "`GET /usage`", lambda: usage.find(pool, user_id, 100)
    yield "`GET /stats`", lambda: stats.find(pool, user_id, days=30)
    yield "`recto stats`", lambda: stats.of_everybody(database_url, days=30)
    for comment, query in _documented():
        yield comment, lambda query=query: _read(pool, query)


def _documented() -> Iterator[tuple[str, str]]:
    """The queries in docs/operations.md, each with the comment above it."""
    text = (ROOT / "docs/operations.md").read_text()
    for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL):
        for comment, query in re.findall(r"^-- ([^\n]+)\n(select .+?);$", block, re.DOTALL | re.MULTILINE):
            yield comment.split(":")[0], query


def _read(pool: Pool, query: str) -> object:
    with pool.connection() as conn, conn.transaction():
        conn.execute("select set_config('search_path', %s, true)", (SEARCH_PATH,))
        return conn.execute(query.encode()).fetchall()


def _medians_ms(queries: Sequence[Callable[[], object]]) -> list[float]:
    times: list[list[float]] = [[] for _ in queries]
    for _ in range(RUNS):
        for query, taken in zip(queries, times, strict=True):
            begin = perf_counter()
            query()
            taken.append((perf_counter() - begin) * 1000)
    return [median(taken) for taken in times]


if __name__ == "__main__":
    main()
