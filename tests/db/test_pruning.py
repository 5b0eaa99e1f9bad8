"""Old rows are deleted, batch by batch, and nothing that an app's rows refer to."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from tests.db.test_adoption import A_CARD, BODY, FAILING, FLASHCARDS, ROWS, SUPABASE, USER, USUAL

from recto.db import migrations, pruning
from recto.db.pruning import LEAST_DAYS

MICROSECOND = timedelta(microseconds=1)
TIMES = {
    "generation_jobs": "finished_at",
    "generation_attempts": "started_at",
    "generation_error_logs": "created_at",
    "generations": "created_at",
    "recto.synchronous_costs": "created_at",
    "usage_ledger": "created_at",
}


@pytest.fixture
def before():
    """What is older than this is old."""
    return datetime.now(UTC) - timedelta(days=365)


def age(client, ended, tables=tuple(TIMES)):
    """Give all that has ended this time."""
    for table in tables:
        client.query(f"update {table} set {TIMES[table]} = '{ended}' where {TIMES[table]} is not null")


def left(client):
    """How many rows each table has."""
    return {table: client.query(f"select count(*) as n from {table}")[0]["n"] for table in TIMES}


def prune(client, before, **wanted):
    """Prune, and return how many rows were deleted and kept of each table."""
    deleted, kept = Counter(), Counter()
    for batch in pruning.prune(client.runtime.settings.database_url, before, **wanted):
        deleted[batch.table] += batch.deleted
        kept[batch.table] += batch.kept
    return +deleted, +kept


@pytest.fixture
def used(open_client):
    """A client with rows in every table: two calls that it waited for, one of which failed, and a job of 3 cards."""
    client = open_client(quota_generations_per_month=9)
    client.post(json=BODY)
    client.post(json=FAILING)
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "Rome", "count": 3})
    assert client.work() == ["succeeded"]
    return client


def test_what_is_old_goes_and_what_is_not_stays(used, before):
    everything = left(used)
    assert all(everything.values())
    age(used, before)
    assert prune(used, before) == ({}, {})
    assert left(used) == everything
    age(used, before - MICROSECOND)
    deleted, kept = prune(used, before)
    assert deleted == {
        "generation_jobs": 3,
        "generation_error_logs": 1,
        "generations": 2,
        "synchronous_costs": 2,
        "usage_ledger": 2,
    }
    assert kept == {}
    assert set(left(used).values()) == {0}
    assert used.rows("ai_suggestions") == []


def test_this_months_usage_and_costs_stay_whatever_the_day(used):
    """The least age is longer than any month, so that no old row is one of this month's."""
    for day in range(366):
        now = datetime(2028, 1, 1, tzinfo=UTC) + timedelta(days=day + 1) - MICROSECOND
        assert now - timedelta(days=LEAST_DAYS) < now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    usage, costs = used.get("/usage").json, used.query("select * from recto.costs order by 1, 2")
    assert prune(used, datetime.now(UTC) - timedelta(days=LEAST_DAYS)) == ({}, {})
    assert (used.get("/usage").json, used.query("select * from recto.costs order by 1, 2")) == (usage, costs)


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_job_that_has_not_ended_is_never_old(client, before, status):
    client.post("/ai/generations", json=BODY)
    if status == "running":
        client.claim()
    long_ago = before - timedelta(days=1000)
    client.query(f"update generation_jobs set created_at = '{long_ago}', started_at = '{long_ago}'")
    # As one that failed and runs again could have it, if the statement that begins it forgot to empty it.
    client.query(f"update generation_jobs set finished_at = '{long_ago}'")
    assert prune(client, before) == ({}, {})
    assert client.rows("generation_jobs")[0]["status"] == status


def test_a_picture_stays_until_it_is_asked_for_and_its_files_go_with_it(images, before):
    for prompt in ("A cat", "A dog [sandbox: failed]"):
        images.post("/v1/generations", json={"mode": "imagine", "prompt": prompt})
        images.query("update generation_jobs set status = 'failed', finished_at = now() where status = 'pending'")
    images.query(
        "update generation_jobs set status = 'succeeded' where payload ->> 'mode' = 'imagine' and id ="
        " (select id from generation_jobs order by created_at limit 1)"
    )
    images.query(
        "insert into renders (id, job_id, user_id) select gen_random_uuid(), id, user_id from generation_jobs"
        " where status = 'succeeded'"
    )
    images.query("insert into render_variants select id, 0, user_id, 1, 1 from renders")
    age(images, before - MICROSECOND, ["generation_jobs"])
    assert prune(images, before)[0]["generation_jobs"] == 1
    assert len(images.rows("renders")) == 1
    assert prune(images, before, pictures=True)[0]["generation_jobs"] == 1
    assert images.rows("renders") == []
    (render,) = {row["key"].split("/")[2] for row in images.query("select key from recto.files_to_delete")}
    assert render


def test_batches_are_bounded_and_each_is_kept_when_the_next_one_is_not_made(client, before, monkeypatch):
    monkeypatch.setattr(pruning, "_AT_ONCE", 2)
    for _ in range(5):
        client.post(json=BODY)
    age(client, before - MICROSECOND)  # all at the same time, so that only their ids tell them apart
    batches = pruning.prune(client.runtime.settings.database_url, before)
    assert next(batches).deleted == 2
    batches.close()
    assert (left(client)["generations"], left(client)["recto.synchronous_costs"]) == (3, 5)
    sizes = [(batch.table, batch.deleted) for batch in pruning.prune(client.runtime.settings.database_url, before)]
    assert sizes == [("generations", 2), ("generations", 1), *[("synchronous_costs", n) for n in (2, 2, 1)]]


def test_a_dry_run_counts_the_same_and_changes_nothing(used, before):
    used.query("create table public.cards (generation_id bigint references generations (id) on delete cascade)")
    used.query("insert into cards select min(id) from generations")
    age(used, before - MICROSECOND)
    everything = left(used)
    counted = prune(used, before, dry_run=True)
    assert left(used) == everything
    assert counted == prune(used, before)
    assert counted[1] == {"generations": 1}


@pytest.mark.parametrize(
    ("columns", "references", "on_delete", "row", "kept"),
    [
        ("its bigint", "generations (id)", "set null", "select max(id) from generations", "generations"),
        (
            "its bigint",
            "generation_error_logs (id)",
            "cascade",
            "select id from generation_error_logs",
            "generation_error_logs",
        ),
        ("its bigint", "usage_ledger (id)", "no action", "select max(id) from usage_ledger", "usage_ledger"),
        ("its uuid", "generation_jobs (id)", "cascade", "select job_id from ai_suggestions limit 1", "generation_jobs"),
        ("its uuid", "ai_suggestions (id)", "no action", "select id from ai_suggestions limit 1", "generation_jobs"),
        (
            'its uuid, "A place" integer',
            "ai_suggestions (job_id, position)",
            "set null",
            "select job_id, position from ai_suggestions limit 1",
            "generation_jobs",
        ),
    ],
)
def test_what_an_apps_row_refers_to_stays_with_all_that_it_is_made_of(
    used, before, columns, references, on_delete, row, kept
):
    names = ", ".join(column.rpartition(" ")[0] for column in columns.split(", "))
    used.query("create schema app")
    used.query(
        f"create table app.cards ({columns}, foreign key ({names}) references {references} on delete {on_delete})"
        " partition by hash (its)"
    )
    used.query("create table app.half partition of app.cards for values with (modulus 1, remainder 0)")
    used.query(f"insert into app.cards {row}")
    cards = used.query("select * from app.cards")
    age(used, before - MICROSECOND)
    for _ in range(2):
        assert prune(used, before)[1] == {kept: 1}
        assert used.query("select * from app.cards") == cards
    assert sum(left(used).values()) == 1 + (kept == "generation_jobs")  # whose attempt stays with it
    used.query("delete from app.cards")
    assert prune(used, before) == ({kept: 1}, {})


def test_what_somebody_holds_is_passed_over(used, before, database):
    """As an app does that is about to refer to it."""
    age(used, before - MICROSECOND)
    with psycopg.connect(database) as conn:
        conn.execute("select from generations order by id limit 1 for key share")
        assert prune(used, before)[0]["generations"] == 1
    assert prune(used, before) == ({"generations": 1}, {})


def test_two_runs_at_once_share_the_work(used, before, monkeypatch):
    monkeypatch.setattr(pruning, "_AT_ONCE", 1)
    age(used, before - MICROSECOND)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: prune(used, before)[0], range(2))
    assert first + second == {
        "generation_jobs": 3,
        "generation_error_logs": 1,
        "generations": 2,
        "synchronous_costs": 2,
        "usage_ledger": 2,
    }


def test_what_is_old_is_found_by_an_index(database):
    with psycopg.connect(database) as conn:
        indexes = conn.execute("select tablename, indexdef from pg_indexes").fetchall()
    for table, time in TIMES.items():
        name = table.removeprefix("recto.")
        assert any(of == name and definition.endswith(f" ({time})") for of, definition in indexes), table


def test_an_apps_own_rows_in_tables_that_it_shares_go_only_when_asked_for(empty_database, open_client, before):
    with psycopg.connect(empty_database, autocommit=True) as conn:
        conn.execute(SUPABASE + USUAL + FLASHCARDS + ROWS + A_CARD)
    migrations.migrate(empty_database)
    client = open_client(USER, database_url=empty_database)
    assert client.query("select 1 from pg_indexes where indexname = 'generations_created_at' and schemaname = 'public'")
    client.post(json=BODY)
    age(client, before - MICROSECOND, ["generations"])
    assert prune(client, before) == ({"generations": 1}, {})
    assert prune(client, before, app_rows=True) == ({"generations": 1}, {"generations": 1})
    assert client.query("select generation_id from flashcards") == [{"generation_id": 1}]


def test_in_a_schema_of_its_own_recto_deletes_nothing_of_the_apps(empty_database, open_client, before):
    with psycopg.connect(empty_database, autocommit=True) as conn:
        conn.execute(SUPABASE + USUAL + FLASHCARDS + ROWS + A_CARD)
    migrations.migrate(empty_database, schema="recto")
    client = open_client(USER, database_url=empty_database)
    client.post(json=BODY)
    client.query(f"update public.generations set created_at = '{before - MICROSECOND}'")
    age(client, before - MICROSECOND, ["recto.synchronous_costs", "generations"])
    assert prune(client, before, app_rows=True) == ({"generations": 1, "synchronous_costs": 1}, {})
    assert client.query("select count(*) as n from public.generations") == [{"n": 2}]


@pytest.mark.parametrize("role", ["authenticated", "recto_service", "recto_worker"])
def test_only_the_tables_owner_prunes(used, before, role):
    age(used, before - MICROSECOND)
    everything = left(used)
    url = f"{used.runtime.settings.database_url}&options=-c%20role%3D{role}"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        list(pruning.prune(url, before))
    assert left(used) == everything
