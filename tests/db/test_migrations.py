import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from tests.conftest import until

from recto.db import migrations
from recto.db.migrations import SQL_FOLDER, Migrated, MigrationError, migrate, pending


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SQL_FOLDER, tmp_path / "sql")


def test_an_empty_database_is_brought_up_to_date_once(empty_database):
    names = sorted(file.name for file in SQL_FOLDER.glob("*.sql"))
    assert migrate(empty_database) == Migrated(names, [])
    assert migrate(empty_database) == Migrated([], [])


def test_four_simultaneous_starters_apply_each_file_once(empty_database):
    with ThreadPoolExecutor(4) as pool:
        applied = [name for done in pool.map(migrate, [empty_database] * 4) for name in done.files]
    assert sorted(applied) == sorted(file.name for file in SQL_FOLDER.glob("*.sql"))


@contextmanager
def held(database, lock):
    """A lock that somebody else holds, and how many wait for any."""
    with psycopg.connect(database) as conn:
        conn.execute("select pg_advisory_xact_lock(%s)", (lock,))
        with psycopg.connect(database, autocommit=True) as look:
            yield lambda: look.execute("select count(*) from pg_locks where not granted").fetchone()[0]


def test_nothing_is_made_while_another_starter_makes_it(empty_database):
    with ThreadPoolExecutor(1) as threads:
        with held(empty_database, migrations._LOCK) as waiting, psycopg.connect(empty_database) as conn:
            starter = threads.submit(migrate, empty_database)
            until(lambda: waiting() == 1)
            assert conn.execute("select to_regnamespace('recto')").fetchone() == (None,)
        assert starter.result()


def test_a_starter_waits_for_the_file_that_another_applies(empty_database, tmp_path):
    (tmp_path / "0001_slow.sql").write_text("select pg_advisory_xact_lock(42)")
    with ThreadPoolExecutor(2) as threads:
        with held(empty_database, 42) as waiting:
            starters = []
            for number in (1, 2):
                starters.append(threads.submit(migrate, empty_database, tmp_path))
                until(lambda number=number: waiting() == number)
        assert sorted(starter.result().files for starter in starters) == [[], ["0001_slow.sql"]]


def test_files_are_applied_in_the_order_of_their_numbers(empty_database, tmp_path):
    names = [f"{number:04}.sql" for number in (2, 10, 1, 9)]
    for name in names:
        (tmp_path / name).write_text("select 1")
    (tmp_path / "notes.sql").write_text("this is no migration")
    assert migrate(empty_database, tmp_path).files == sorted(names)


def test_an_edited_file_is_refused_before_anything_is_changed(database, folder):
    (folder / "0001_generations.sql").write_text("select 1")
    (folder / "0003_new.sql").write_text("create table new ()")
    with pytest.raises(MigrationError, match=r"0001_generations\.sql was edited"):
        migrate(database, folder)
    with psycopg.connect(database) as conn:
        assert pending(conn, folder) == ["0003_new.sql"]


def test_a_database_ahead_of_the_files_is_refused(database, folder):
    (folder / "0002_rate_limits.sql").unlink()
    with pytest.raises(MigrationError, match="missing here"):
        migrate(database, folder)


def test_a_folder_without_files_is_refused_and_not_up_to_date(empty_database, tmp_path):
    with pytest.raises(MigrationError, match="there are no migrations"):
        migrate(empty_database, tmp_path)


def test_what_fails_leaves_nothing_of_any_file_behind_and_can_be_mended(empty_database, folder):
    new = folder / "9999_new.sql"
    new.write_text("create table half (); select 1 / 0")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty_database, folder)
    with psycopg.connect(empty_database) as conn:
        schemas = conn.execute("select to_regnamespace('recto'), to_regnamespace('auth'), to_regclass('generations')")
        assert schemas.fetchone() == (None, None, None)
    new.write_text("create table half ()")
    assert migrate(empty_database, folder).files[-1] == "9999_new.sql"


def test_a_file_is_not_searched_for_names_where_the_one_before_was(empty_database, tmp_path):
    (tmp_path / "0001.sql").write_text("create schema elsewhere; set local search_path = elsewhere")
    (tmp_path / "0002.sql").write_text("create table here ()")
    migrate(empty_database, tmp_path)
    with psycopg.connect(empty_database) as conn:
        assert conn.execute("select to_regclass('public.here') is not null").fetchone() == (True,)


@pytest.mark.parametrize(("there", "asked"), [("public", "recto"), ("recto", "public")])
def test_tables_do_not_move_to_another_schema(empty_database, there, asked):
    migrate(empty_database, schema=there)
    with pytest.raises(MigrationError, match=f"stand in the schema {there} here; set DATABASE_SCHEMA={there}"):
        migrate(empty_database, schema=asked)
    assert migrate(empty_database, schema=there) == Migrated([], [])


def test_files_that_said_the_same_before_count_as_applied(database):
    files = {file.name[:4]: file.name for file in SQL_FOLDER.glob("*.sql")}
    assert migrations._FORMER
    with psycopg.connect(database) as conn:
        for checksum, number in migrations._FORMER.items():
            conn.execute("update recto.migrations set checksum = %s where name = %s", (checksum, files[number]))
    assert migrate(database) == Migrated([], [])
    with psycopg.connect(database) as conn:
        conn.execute(
            "update recto.migrations set checksum = %s where name like '0002%%'", (next(iter(migrations._FORMER)),)
        )
    with pytest.raises(MigrationError, match=r"0002_rate_limits\.sql was edited"):
        migrate(database)


def test_percent_signs_and_several_statements_are_plain_sql(database, folder):
    (folder / "0003_new.sql").write_text("create table t (a text); insert into t values ('100 %s')")
    migrate(database, folder)
    with psycopg.connect(database) as conn:
        assert conn.execute("select a from t").fetchone() == ("100 %s",)


def test_what_supabase_has_is_left_as_it_is(empty_database):
    with psycopg.connect(empty_database, autocommit=True) as conn:
        conn.execute("create schema auth")
        conn.execute("create function auth.uid() returns uuid language sql stable as 'select null::uuid'")
        before = conn.execute("select oid from pg_proc where proname = 'uid'").fetchone()
        migrate(empty_database)
        assert conn.execute("select oid from pg_proc where proname = 'uid'").fetchone() == before
