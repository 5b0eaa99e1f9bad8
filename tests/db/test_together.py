"""What several callers ask for at the same time goes into one call, and each gets its own result."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import psycopg
import pytest
from tests.conftest import until

from recto.db.together import Together


class Writes:
    """Doubles numbers, one call at a time; the first call waits for ``gate``."""

    def __init__(self, error=None):
        self.calls, self.gate, self.error = [], Event(), error
        self.together = Together(self.write)

    def write(self, numbers):
        self.calls.append(list(numbers))
        self.gate.wait(30)
        if self.error and 0 in numbers:
            raise self.error
        return [2 * number for number in numbers]

    def write_during_the_first(self, threads, numbers):
        """Let all of these come while the number 9 is being written."""
        first = threads.submit(self.together.write, 9)
        until(lambda: self.calls)
        others = []
        for number in numbers:
            others.append(threads.submit(self.together.write, number))
            until(lambda: len(self.together._waiting) == len(others))
        self.gate.set()
        assert first.result() == 18
        return others


@pytest.fixture
def threads():
    with ThreadPoolExecutor(300) as pool:
        yield pool


def test_who_comes_alone_is_served_at_once():
    writes = Writes()
    writes.gate.set()
    assert [writes.together.write(number) for number in (1, 2)] == [2, 4]
    assert writes.calls == [[1], [2]]


def test_who_comes_meanwhile_goes_into_the_next_call(threads):
    writes = Writes()
    others = writes.write_during_the_first(threads, [1, 2, 3])
    assert [other.result() for other in others] == [2, 4, 6]
    assert writes.calls == [[9], [1, 2, 3]]


def test_a_call_has_a_bound(threads):
    writes = Writes()
    others = writes.write_during_the_first(threads, range(1, 251))
    assert [other.result() for other in others] == [2 * number for number in range(1, 251)]
    assert [len(call) for call in writes.calls] == [1, 200, 50]


def test_a_bad_item_fails_alone(threads):
    writes = Writes(ValueError("no zero"))
    good, bad, last = writes.write_during_the_first(threads, [1, 0, 3])
    assert (good.result(), last.result()) == (2, 6)
    with pytest.raises(ValueError, match="no zero"):
        bad.result()


def test_a_database_that_is_away_is_asked_once_for_all(threads):
    writes = Writes(psycopg.OperationalError("away"))
    for other in writes.write_during_the_first(threads, [1, 0, 3]):
        with pytest.raises(psycopg.OperationalError):
            other.result()
    assert writes.calls == [[9], [1, 0, 3]]


class Broken(BaseException):
    """As the end of a process breaks off what runs."""


def test_where_one_is_broken_off_another_writes_for_those_who_wait(threads):
    writes = Writes()
    numbers = writes.write

    def write(items):
        result = numbers(items)
        if writes.calls == [[9], [1, 2, 3]]:
            raise Broken
        return result

    writes.together = Together(write)
    first, *others = writes.write_during_the_first(threads, [1, 2, 3])
    with pytest.raises(Broken):
        first.result()
    assert [other.result() for other in others] == [4, 6]
    assert writes.calls == [[9], [1, 2, 3], [2, 3]]
