import shutil
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from recto.db.migrations import SQL_FOLDER, MigrationError, migrate, pending


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SQL_FOLDER, tmp_path / "sql")


def test_an_empty_database_is_brought_up_to_date_once(empty_database):
    names = sorted(file.name for file in SQL_FOLDER.glob("*.sql"))
    assert migrate(empty_database) == names
    assert migrate(empty_database) == []


def test_four_simultaneous_starters_apply_each_file_once(empty_database):
    with ThreadPoolExecutor(4) as pool:
        applied = [name for names in pool.map(migrate, [empty_database] * 4) for name in names]
    assert sorted(applied) == sorted(file.name for file in SQL_FOLDER.glob("*.sql"))


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


def test_a_failing_file_leaves_nothing_behind_and_can_be_mended(database, folder):
    new = folder / "0003_new.sql"
    new.write_text("create table half (); select 1 / 0")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(database, folder)
    new.write_text("create table half ()")
    assert migrate(database, folder) == ["0003_new.sql"]


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
