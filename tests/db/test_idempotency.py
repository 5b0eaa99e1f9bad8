"""Who holds a key, and until when."""

from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest

from recto.db import idempotency
from recto.db.idempotency import Answer, Claim
from recto.db.pool import as_worker, open_pool
from recto.errors import IdempotencyKeyReused, InProgress

USER = uuid4()
ANSWER = Answer(502, b"{}", "/somewhere", "7")


@pytest.fixture
def pool(database):
    with open_pool(database, 2) as pool:
        yield pool


@pytest.fixture
def take(pool):
    def take_(request_hash="hash", *, key="key", lease_s=60.0, on_taken=lambda _: None):
        return idempotency.take(pool, USER, key, request_hash, lease_s=lease_s, on_taken=on_taken)

    return take_


@pytest.fixture
def row(database):
    def row_(key="key"):
        with psycopg.connect(database, row_factory=psycopg.rows.dict_row) as conn:
            return conn.execute("select * from recto.idempotency_keys where key = %s", (key,)).fetchone()

    return row_


def age(database, **by):
    with psycopg.connect(database) as conn:
        conn.execute(
            "update recto.idempotency_keys set created_at = created_at - %(by)s, locked_until = locked_until - %(by)s",
            {"by": timedelta(**by)},
        )


def test_a_key_is_held_for_its_lease(take, row):
    claim = take(lease_s=60)
    assert claim == Claim(USER, "key", row()["locked_until"])
    assert row()["locked_until"] - row()["created_at"] == timedelta(seconds=60)
    with pytest.raises(InProgress) as caught:
        take()
    assert caught.value.retry_after_s == 5  # a lease that runs out says nothing of when the answer comes


def test_who_waits_for_the_end_of_a_lease_waits_at_least_a_second(take):
    take(lease_s=0.9)
    with pytest.raises(InProgress) as caught:
        take()
    assert caught.value.retry_after_s == 1


def test_what_its_taking_raises_leaves_the_key_free(take, row):
    def refuse(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        take(on_taken=refuse)
    assert row() is None


def test_only_who_gets_the_key_counts(pool, take):
    counted = []
    claim = take(on_taken=lambda conn: counted.append(conn.execute("select current_user").fetchone()[0]))
    idempotency.store(pool, claim, ANSWER)
    assert take(on_taken=counted.append) == ANSWER
    assert counted == ["recto_service"]


def test_a_key_taken_over_belongs_to_its_new_holder_alone(pool, take, row):
    lost, held = take(lease_s=0), take(lease_s=60)
    assert row()["locked_until"] == held.locked_until
    idempotency.store(pool, lost, ANSWER)
    assert row()["status"] is None
    idempotency.release(pool, lost)
    assert row() is not None
    idempotency.store(pool, held, ANSWER)
    assert take() == ANSWER


@pytest.mark.parametrize("end", [lambda pool, claim: idempotency.store(pool, claim, ANSWER), idempotency.release])
def test_a_holder_ends_its_own_key_alone(pool, take, row, end, database):
    claim = take()
    take(key="another")
    with psycopg.connect(database) as conn:  # one statement's now() is one lease
        conn.execute("update recto.idempotency_keys set locked_until = %s", (claim.locked_until,))
    end(pool, claim)
    assert row("another")["status"] is None


def test_the_key_of_another_request_is_not_taken_over(take):
    take(lease_s=0)
    with pytest.raises(IdempotencyKeyReused):
        take("another hash")


def test_a_key_taken_again_after_a_day_keeps_nothing_of_before(pool, take, row, database):
    idempotency.store(pool, take(), ANSWER)
    age(database, hours=24, seconds=1)
    before = row()
    take("another hash", lease_s=30)
    after = row()
    assert after["created_at"] - before["created_at"] >= timedelta(hours=24)
    assert after["locked_until"] - after["created_at"] == timedelta(seconds=30)
    assert after["request_hash"] == "another hash"
    assert [after[name] for name in ("status", "body", "location", "retry_after")] == [None] * 4


def test_only_keys_of_more_than_a_day_are_purged(pool, take, row, database):
    take(key="old")
    age(database, hours=24, seconds=1)
    take(key="new")
    age(database, hours=23)
    with as_worker(pool) as conn:
        assert idempotency.purge(conn, most=9) == 1
    assert row("old") is None
    assert row("new") is not None


def test_a_key_that_is_released_meanwhile_can_be_tried_again_soon(take, database, monkeypatch):
    take()
    monkeypatch.setattr(idempotency, "_LOOK", idempotency._LOOK + " and false")
    with pytest.raises(InProgress) as caught:
        take()
    assert caught.value.retry_after_s == 1
