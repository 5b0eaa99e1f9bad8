import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from limits import parse
from limits.strategies import FixedWindowRateLimiter

from recto.db.pool import open_pool
from recto.db.rate_limits import PostgresStorage

THREE = parse("3 per minute")


@pytest.fixture
def pool(database):
    with open_pool(database, 4) as pool:
        yield pool


@pytest.fixture
def limiter(pool):
    return FixedWindowRateLimiter(PostgresStorage(pool=pool))


def test_hits_are_counted_up_to_the_limit(limiter):
    assert [limiter.hit(THREE, "key") for _ in range(5)] == [True, True, True, False, False]


def test_keys_are_counted_apart(limiter):
    for _ in range(3):
        limiter.hit(THREE, "one")
    assert limiter.hit(THREE, "another")


def test_the_window_is_told_after_a_hit(limiter):
    limiter.hit(THREE, "key")
    reset_time, remaining = limiter.get_window_stats(THREE, "key")
    assert remaining == 2
    assert 50 < reset_time - time.time() <= 60


def test_several_windows_are_hit_at_once(pool):
    storage = PostgresStorage(pool=pool)
    storage.hit([("a", 60)])
    (a, b) = storage.hit([("a", 60), ("b", 600)])
    assert (a[0], b[0]) == (2, 1)
    assert 530 < b[1] - a[1] <= 541


def test_a_hit_weighs_one(limiter):
    with pytest.raises(NotImplementedError):
        limiter.hit(THREE, "key", cost=2)


def test_a_key_without_hits_has_its_whole_limit(limiter):
    assert limiter.get_window_stats(THREE, "unknown") == (0, 3)


def test_a_window_that_has_ended_starts_anew(limiter, database):
    for _ in range(4):
        limiter.hit(THREE, "key")
    with psycopg.connect(database) as conn:
        conn.execute("update recto.rate_limits set expires_at = now() - interval '1 second'")
    assert limiter.hit(THREE, "key")
    assert limiter.get_window_stats(THREE, "key").remaining == 2


def test_simultaneous_hits_are_counted_exactly(limiter):
    with ThreadPoolExecutor(8) as threads:
        allowed = list(threads.map(lambda _: limiter.hit(parse("10 per minute"), "key"), range(40)))
    assert allowed.count(True) == 10


def test_hits_that_are_counted_together_are_counted_one_after_the_other(pool):
    storage = PostgresStorage(pool=pool)
    storage.hit([("user a", 60), ("ip", 600)])
    asked = [[("user a", 60), ("ip", 600)], [("user b", 60), ("ip", 600)], [("user a", 60)]]
    counts = [[hits for hits, _ in counts] for counts in storage._hit_all(asked)]
    assert counts == [[2, 2], [1, 3], [3]]


@pytest.mark.parametrize("call", ["hit", "look"])
def test_ended_windows_are_swept_away(pool, database, call):
    storage = PostgresStorage(pool=pool)
    storage.hit([("old", 60), ("running", 60)])
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("update recto.rate_limits set expires_at = now() - interval '1 second' where key = 'old'")
        for _ in range(999):
            storage.hit([("running", 60)]) if call == "hit" else storage.look(["running"])
        assert conn.execute("select key from recto.rate_limits").fetchall() == [("running",)]


def test_a_sweep_waits_for_nobody(pool, database):
    storage = PostgresStorage(pool=pool)
    storage.incr("old", 60)
    with psycopg.connect(database) as conn:
        conn.execute("update recto.rate_limits set expires_at = now() - interval '1 second'")
        conn.commit()
        conn.execute("select * from recto.rate_limits for update")
        for _ in range(1000):
            storage.incr("new", 60)


def test_a_window_is_fixed(pool, database):
    storage = PostgresStorage(pool=pool)
    storage.incr("key", 60)
    with psycopg.connect(database) as conn:
        conn.execute("update recto.rate_limits set expires_at = now() + interval '10 seconds'")
    ends = storage.get_expiry("key")
    storage.incr("key", 60)
    assert storage.get_expiry("key") == ends


def test_looking_counts_nothing(pool):
    storage = PostgresStorage(pool=pool)
    ((_, ends),) = storage.hit([("b", 60)])
    for _ in range(2):
        assert storage.look(["a", "b"]) == [(0, 0.0), (1, ends)]


def test_a_hit_is_given_back_to_the_window_that_it_was_counted_in(pool, database):
    storage = PostgresStorage(pool=pool)
    ((_, ended),) = storage.hit([("key", 60)])
    with psycopg.connect(database) as conn:
        conn.execute("update recto.rate_limits set expires_at = now()")
    ((_, ends), _) = storage.hit([("key", 60), ("other", 60)])
    storage.give_back("key", ended)
    assert storage.get("key") == 1
    storage.give_back("key", ends)
    assert storage.get("key") == 0
    assert storage.get("other") == 1


def test_a_hit_may_be_part_of_a_transaction(pool):
    storage = PostgresStorage(pool=pool)
    with pool.connection() as conn, conn.transaction(force_rollback=True):
        assert storage.hit([("key", 60)], conn)[0][0] == 1
        assert storage.get("key") == 0  # to everybody else
    assert storage.get("key") == 0


def test_hits_can_be_forgotten(pool):
    storage = PostgresStorage(pool=pool)
    storage.incr("one", 60)
    storage.clear("one")
    assert storage.incr("one", 60) == 1
    assert storage.reset() == 1
    assert storage.check()
