from collections import Counter
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

from recto.db import generations
from recto.db.pool import as_user, claims, open_pool
from recto.errors import UpstreamTimeout
from recto.providers.openrouter import Completion
from recto.text.generate import Generation
from recto.text.proposals import Proposal
from recto.text.source import SourceText

SOURCE = SourceText("A fact. " * 200)
GENERATION = Generation(
    proposals=[Proposal("front", "back")],
    drops=Counter(),
    completion=Completion("{}", "a/model", "stop", 900, 30, Decimal("0.000123")),
    prompt_version="1",
    duration_ms=1234,
)


@pytest.fixture
def pool(database):
    with open_pool(database, 2) as pool:
        yield pool


def test_a_generation_is_read_back_as_it_was_recorded(pool):
    user = uuid4()
    row = generations.find(pool, user, generations.record(pool, user, SOURCE, GENERATION))
    assert row is not None
    assert (row.model, row.generated_count, row.generation_duration) == ("a/model", 1, 1234)
    assert (row.tokens_input, row.tokens_output, row.cost_usd) == (900, 30, Decimal("0.000123"))
    assert (row.source_text_hash, row.source_text_length) == (SOURCE.hash, SOURCE.length)
    assert row.accepted_edited_count is row.accepted_unedited_count is None


def test_a_query_that_forgets_its_user_still_sees_own_rows_only(pool):
    mine, theirs = uuid4(), uuid4()
    for user in (mine, theirs):
        generations.record(pool, user, SOURCE, GENERATION)
        generations.record_error(pool, user, SOURCE, UpstreamTimeout("late"), model="a/model")
    with as_user(pool, mine) as conn:
        for table in ("generations", "generation_error_logs"):
            assert conn.execute(f"select distinct user_id from {table}").fetchall() == [(mine,)]


def test_nobody_inserts_a_row_for_somebody_else(pool):
    mine, theirs = uuid4(), uuid4()
    insert = (
        "insert into generation_error_logs (user_id, model, source_text_hash, source_text_length, error_code,"
        " error_message) values (%s, 'm', %s, 1000, 'c', 'm')"
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"), as_user(pool, mine) as conn:
        conn.execute(insert, (theirs, SOURCE.hash))
    call = "select recto.record_generation(%s, %s, 'm', 1, %s, 1000, 1, '1', null, null, null)"
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"), pool.connection() as conn:
        conn.execute(call, (claims(mine), theirs, SOURCE.hash))


@pytest.mark.parametrize("table", ["generations", "generation_error_logs"])
def test_a_user_can_neither_change_nor_delete_records(pool, table):
    for statement in (f"update {table} set model = 'cheap'", f"delete from {table}"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), as_user(pool, uuid4()) as conn:
            conn.execute(statement)


def test_the_identity_ends_with_the_statement_and_with_the_transaction(pool):
    generations.record(pool, uuid4(), SOURCE, GENERATION)
    with as_user(pool, uuid4()):
        pass
    for _ in range(2):  # both connections
        with pool.connection() as conn:
            identity = conn.execute("select current_user, current_setting('request.jwt.claims', true)").fetchone()
            assert identity in (("postgres", ""), ("postgres", None))


def test_somebody_elses_generation_is_not_found(pool):
    generation_id = generations.record(pool, uuid4(), SOURCE, GENERATION)
    assert generations.find(pool, uuid4(), generation_id) is None


def test_pages_go_from_new_to_old_without_gap_or_repetition(pool):
    user = uuid4()
    ids = [generations.record(pool, user, SOURCE, GENERATION) for _ in range(5)]
    first = generations.newest(pool, user, before=None, limit=3)
    second = generations.newest(pool, user, before=first[-1].id, limit=3)
    assert [row.id for row in first + second] == ids[::-1]


@pytest.mark.parametrize(
    ("column", "value"), [("source_text_length", 999), ("source_text_length", 10_001), ("generation_duration", -1)]
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
    assert generations.record(pool, uuid4(), SOURCE, GENERATION)
