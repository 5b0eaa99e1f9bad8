"""Old rows are deleted while a worker runs jobs, and erases what it finds of the same rows."""

import json
import subprocess
from contextlib import ExitStack

import psycopg
import pytest
from tests.commands import RECTO
from tests.db.test_pruning import TIMES

from .conftest import until

# More than one batch of jobs that nobody has erased yet, each with its card, its record and its debit.
OLD = """
    create temp view old as select md5('job' || n)::uuid as job_id, md5('user' || n)::uuid as user_id,
        repeat(md5(n::text), 2) as hash, now() - interval '40 days' as ended from generate_series(1, 1500) n;
    insert into generation_jobs (id, user_id, kind, status, payload, source_text_hash, source_text_length, attempts,
        attempts_left, created_at, started_at, finished_at)
    select job_id, user_id, 'review', 'succeeded', '{"source_text": "Old.", "model": "m", "prompt_version": "1"}', hash,
        1000, 1, 2, ended, ended, ended from old;
    insert into generation_attempts (job_id, number, call, user_id, model, started_at, outcome)
    select job_id, 1, 1, user_id, 'm', ended, 'succeeded' from old;
    insert into ai_suggestions (job_id, user_id, position, front, back, front_hash, created_at)
    select job_id, user_id, 1, 'Front', 'Back', hash, ended from old;
    insert into generations (user_id, job_id, model, generated_count, source_text_hash, source_text_length,
        generation_duration, prompt_version, created_at)
    select user_id, job_id, 'm', 1, hash, 1000, 1000, '1', ended from old;
    insert into usage_ledger (user_id, job_id, kind, created_at) select user_id, job_id, 'review', ended from old;
"""
CONCURRENCY, MOST = 4, 40  # jobs: at a time, in all


@pytest.mark.soak
def test_old_rows_are_deleted_while_a_worker_runs_jobs(jobs, provider, start_worker):
    with psycopg.connect(jobs.url) as conn:
        conn.execute(OLD)
    with ExitStack() as held:
        held.enter_context(jobs.locked("ai_suggestions"))
        prune = subprocess.Popen(
            [RECTO, "prune", "--older-than", "31"], env={"DATABASE_URL": jobs.url}, stdout=subprocess.PIPE
        )
        until(jobs.waits_for_lock)  # in the middle of its first batch
        started = [jobs.start() for _ in range(CONCURRENCY)]
        with start_worker(concurrency=CONCURRENCY, times={"lease_s": 60}) as worker:
            until(lambda: len(jobs.waits_for_lock()) == 1 + CONCURRENCY + 1)  # it erases as soon as it starts
            held.close()
            while prune.poll() is None and len(started) < MOST:
                started += [jobs.start(), jobs.start(kind="deck", count=5)]
            assert set(jobs.ended(*started)) == {"succeeded"}
        assert prune.communicate()[0] == b"Deleted 1500 generation_jobs, 1500 generations, 1500 usage_ledger.\n"
    for job_id in started:
        jobs.assert_done_once(job_id)
        assert jobs.row(job_id)["attempts"] == provider.calls[jobs.tags[job_id]] == 1
    for table, time in TIMES.items():
        assert jobs.rows(f"select 1 from {table} where {time} < now() - interval '31 days'") == []
    told = [json.loads(line) for line in worker.log.read_text().splitlines()]
    assert {line["event"] for line in told} == {"worker_started", "job", "worker_stopped"}
    # A commit that met one would be repeated without a word.
    assert jobs.rows("select deadlocks from pg_stat_database where datname = current_database()") == [{"deadlocks": 0}]
