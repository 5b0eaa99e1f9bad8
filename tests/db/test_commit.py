"""Results that were paid for are written, although the database may be away."""

from threading import Event

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from structlog.testing import capture_logs
from tests.conftest import until

from recto.db import commit
from recto.db.commit import Commits, Delayed

FIGURES = {"job_id": "a-job", "tokens_input": 7}


class Database:
    """Refuses writes while it is away, and does what it is told when it is back."""

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.tries, self.written = list(failures), 0, Event()
        self.back = Event()

    def write(self) -> str:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        if not self.back.is_set():
            raise psycopg.OperationalError("away")
        self.written.set()
        return "row"


@pytest.mark.parametrize(
    "failure",
    [psycopg.OperationalError("reset"), PoolTimeout("none free"), psycopg.errors.ReadOnlySqlTransaction("standby")],
)
def test_a_database_that_blinks_costs_nothing_but_time(failure):
    database = Database(failure, failure)
    database.back.set()
    assert Commits(30).write(database.write, figures=FIGURES) == "row"
    assert database.tries == 3


def test_a_caller_waits_for_as_long_as_it_may_and_no_longer(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(commit, "monotonic", lambda: clock[0])
    monkeypatch.setattr(commit, "sleep", lambda seconds: clock.append(clock.pop() + seconds))
    commits = Commits(10)
    with pytest.raises(Delayed):
        commits.write(Database().write, figures=FIGURES)
    assert 10 <= clock[0] <= 11
    commits.close()


def test_what_the_database_refuses_is_not_tried_again():
    database = Database(psycopg.errors.CheckViolation("no"))
    with pytest.raises(psycopg.errors.CheckViolation):
        Commits(30).write(database.write, figures=FIGURES)
    assert database.tries == 1


def test_what_is_late_is_logged_at_once_and_written_when_the_database_is_back():
    database, commits = Database(), Commits(0)
    with capture_logs() as logs, pytest.raises(Delayed):
        commits.write(database.write, figures=FIGURES)
    assert logs == [{"event": "commit_delayed", "log_level": "error", "reason": "OperationalError", **FIGURES}]
    assert not database.written.is_set()
    database.back.set()
    assert database.written.wait(20)
    commits.close()


@pytest.mark.parametrize("refusal", [psycopg.errors.CheckViolation("no"), KeyError("a mistake of ours")])
def test_several_late_writes_are_all_written_and_a_refused_one_holds_up_none(refusal):
    databases = [Database(), Database(), Database()]
    away = [
        psycopg.OperationalError("away"),
        PoolTimeout("none free"),
        psycopg.errors.ReadOnlySqlTransaction("standby"),
    ]
    databases[1].failures = [*away, refusal]
    commits = Commits(0)
    for database in databases:
        with pytest.raises(Delayed):
            commits.write(database.write, figures=FIGURES)
    for database in databases:
        database.back.set()
    assert databases[0].written.wait(20)
    assert databases[2].written.wait(20)
    assert not databases[1].written.is_set()
    commits.close()


def test_after_all_is_written_a_later_outage_is_handled_alike():
    commits = Commits(0)
    for _ in range(2):
        database = Database()
        with pytest.raises(Delayed):
            commits.write(database.write, figures=FIGURES)
        database.back.set()
        assert database.written.wait(20)
    commits.close()


def test_the_end_of_the_process_is_the_last_try(monkeypatch):
    databases, commits = [Database(), Database()], Commits(-1)
    monkeypatch.setattr(commit, "_PAUSE_S", 3600)
    for database in databases:
        with pytest.raises(Delayed):
            commits.write(database.write, figures=FIGURES)
    until(lambda: databases[0].tries == 2)
    for database in databases:
        database.back.set()
    commits.close()
    assert all(database.written.is_set() for database in databases)


def test_what_cannot_be_written_before_the_end_is_counted_in_the_log():
    database, commits = Database(), Commits(0)
    with pytest.raises(Delayed):
        commits.write(database.write, figures=FIGURES)
    with capture_logs() as logs:
        commits.close()
    assert {"event": "commits_lost", "log_level": "error", "count": 1} in logs
    assert database.tries >= 2  # the last one after the caller's
    assert not commits._thread.is_alive()


def test_no_more_is_kept_than_memory_holds(monkeypatch):
    monkeypatch.setattr(commit, "_MOST_LATE", 2)
    databases, commits = [Database(), Database(), Database()], Commits(0)
    with capture_logs() as logs:
        for database in databases:
            with pytest.raises(Delayed):
                commits.write(database.write, figures=FIGURES)
    assert [line["event"] for line in logs].count("commits_lost") == 1
    for database in databases:
        database.back.set()
    assert databases[1].written.wait(20)
    commits.close()
    assert not databases[2].written.is_set()
