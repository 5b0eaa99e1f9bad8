from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from uuid import uuid4

import psycopg
import pytest

from recto.calls import Call
from recto.db import generations, starts, usage
from recto.db.pool import as_user, claims, open_pool
from recto.db.starts import Lease, NewJob
from recto.db.together import Together, _Caller
from recto.errors import UpstreamTimeout
from recto.providers.openrouter import Completion
from recto.text.generate import Generation
from recto.text.proposals import Proposal
from recto.text.source import SourceText

SOURCE = SourceText("A fact. " * 200)
GENERATION = Generation(
    proposals=[Proposal("front", "back")],
    drops=Counter(),
    completion=Completion("{}", "stop", (Call("a/model", "succeeded", 40, 200, None, 900, 30, Decimal("0.000123")),)),
    prompt_version="1",
    duration_ms=1234,
)


@pytest.fixture
def pool(database):
    with open_pool(database, 2) as pool:
        yield pool


def record(pool, user):
    return generations.Records(pool).record(user, uuid4(), SOURCE, GENERATION, counted=False)


def reserve(pool, user, job_id):
    new = NewJob("synchronous", {"model": "m", "prompt_version": "1"}, SOURCE.hash, SOURCE.length)
    starts.reserve(pool, user, job_id, new, quota=5, lease=Lease(uuid4(), 60))


def test_a_generation_is_read_back_as_it_was_recorded(pool):
    user = uuid4()
    row = generations.find(pool, user, record(pool, user))
    assert row is not None
    assert (row.model, row.generated_count, row.generation_duration) == ("a/model", 1, 1234)
    assert (row.tokens_input, row.tokens_output, row.cost_usd) == (900, 30, Decimal("0.000123"))
    assert (row.source_text_hash, row.source_text_length) == (SOURCE.hash, SOURCE.length)
    assert row.accepted_edited_count is row.accepted_unedited_count is None


@pytest.mark.parametrize("counted", [False, True])
def test_a_record_that_is_repeated_is_the_same(pool, database, counted):
    user, job_id = uuid4(), uuid4()
    if counted:
        reserve(pool, user, job_id)
    ids = {generations.Records(pool).record(user, job_id, SOURCE, GENERATION, counted=counted) for _ in range(3)}
    assert len(ids) == 1
    with psycopg.connect(database) as conn:
        assert conn.execute("select count(*) from generations").fetchone() == (1,)
        assert conn.execute("select count(*) from usage_ledger").fetchone() == (int(counted),)


def test_generations_of_many_users_that_end_at_once_are_each_theirs(pool):
    users = [uuid4() for _ in range(40)]
    records = generations.Records(pool)
    with ThreadPoolExecutor(40) as threads:
        ids = list(threads.map(lambda user: records.record(user, uuid4(), SOURCE, GENERATION, counted=False), users))
    assert [[row.id for row in generations.newest(pool, user, before=None, limit=5)] for user in users] == [
        [record_id] for record_id in ids
    ]


def test_one_that_the_database_refuses_harms_no_other(pool):
    user = uuid4()
    good = {"claims": claims(user), "user_id": user, "job_id": uuid4(), "model": "m", "generated_count": 1}
    good |= {"source_text_hash": SOURCE.hash, "source_text_length": SOURCE.length, "generation_duration": 1}
    good |= {"prompt_version": "1", "counted": False, "dropped": {}, "untold": ["gen-1", "gen-2"]}
    bad = good | {"generated_count": -1}
    insert = Together(partial(generations._insert, pool))
    insert._waiting.append(caller := _Caller(bad))
    (record_id,) = [insert.write(good)]
    assert [found.id for found in generations.newest(pool, user, before=None, limit=5)] == [record_id]
    with pytest.raises(psycopg.errors.CheckViolation):
        caller.result()


@pytest.mark.parametrize("counted", [False, True])
def test_an_error_that_is_repeated_is_logged_once(pool, database, counted):
    user, job_id = uuid4(), uuid4()
    if counted:
        reserve(pool, user, job_id)
    for _ in range(3):
        generations.record_error(
            pool, user, job_id, SOURCE, UpstreamTimeout("late"), model="m", prompt_version="1", counted=counted
        )
    with psycopg.connect(database) as conn:
        assert conn.execute("select count(*) from generation_error_logs").fetchone() == (1,)
        assert conn.execute("select count(*) from usage_ledger").fetchone() == (0,)


def test_a_reservation_ends_with_its_record(pool, database):
    user = uuid4()
    jobs = [uuid4(), uuid4()]
    for job_id in jobs:
        reserve(pool, user, job_id)
    assert usage.find(pool, user, 5).reserved == 2
    generations.Records(pool).record(user, jobs[0], SOURCE, GENERATION, counted=True)
    generations.record_error(
        pool, user, jobs[1], SOURCE, UpstreamTimeout("late"), model="m", prompt_version="1", counted=True
    )
    with psycopg.connect(database) as conn:
        query = "select status, holder, lease_until, finished_at is not null from generation_jobs order by status"
        assert conn.execute(query).fetchall() == [("failed", None, None, True), ("succeeded", None, None, True)]
    counts = usage.find(pool, user, 5)
    assert (counts.used, counts.reserved) == (1, 0)


@pytest.mark.parametrize("table", ["generations", "generation_error_logs"])
def test_a_user_can_neither_change_nor_delete_records(pool, table):
    for statement in (f"update {table} set model = 'cheap'", f"delete from {table}"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), as_user(pool, uuid4()) as conn:
            conn.execute(statement)


def test_the_identity_ends_with_the_statement_and_with_the_transaction(pool):
    record(pool, uuid4())
    with as_user(pool, uuid4()):
        pass
    for _ in range(2):  # both connections
        with pool.connection() as conn:
            identity = conn.execute("select current_user, current_setting('request.jwt.claims', true)").fetchone()
            assert identity in (("postgres", ""), ("postgres", None))


def test_somebody_elses_generation_is_not_found(pool):
    generation_id = record(pool, uuid4())
    assert generations.find(pool, uuid4(), generation_id) is None


def test_pages_go_from_new_to_old_without_gap_or_repetition(pool):
    user = uuid4()
    ids = [record(pool, user) for _ in range(5)]
    first = generations.newest(pool, user, before=None, limit=3)
    second = generations.newest(pool, user, before=first[-1].id, limit=3)
    assert [row.id for row in first + second] == ids[::-1]


@pytest.mark.parametrize(
    ("column", "value"), [("source_text_length", 999), ("source_text_length", 1_000_001), ("generation_duration", -1)]
)
def test_the_tables_refuse_what_cannot_be(database, column, value):
    values = {"generated_count": 1, "source_text_length": 1000, "generation_duration": 0} | {column: value}
    with psycopg.connect(database) as conn, pytest.raises(psycopg.errors.CheckViolation, match=column):
        conn.execute(
            "insert into generations (user_id, model, source_text_hash, prompt_version, generated_count,"
            " source_text_length, generation_duration) values (%s, 'm', %s, '1', %s, %s, %s)",
            (uuid4(), SOURCE.hash, *values.values()),
        )


@pytest.mark.parametrize("table", ["generations", "generation_error_logs"])
def test_a_list_is_read_from_its_index(database, table):
    with psycopg.connect(database) as conn:
        conn.execute("set enable_seqscan = off; set enable_bitmapscan = off")  # empty tables are read whole
        plan = conn.execute(f"explain select * from {table} where user_id = %s order by id desc limit 5", (uuid4(),))
        text = "\n".join(line for (line,) in plan)
    assert f"{table}_user_id_id" in text
    assert "Sort" not in text


def test_a_restarted_database_is_noticed_before_a_connection_is_used(pool, postgres):
    for _ in range(2):
        with pool.connection() as conn:
            pid = conn.info.backend_pid
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(%s, 5000)", (pid,))
    assert record(pool, uuid4())
