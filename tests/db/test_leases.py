"""A process renews the leases of all that it runs, and of nothing else."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from tests.conftest import Client, until

from recto.db import claims, leases, starts, usage
from recto.db.leases import Leases
from recto.db.pool import as_process, as_worker, open_pool
from recto.db.starts import Lease, NewJob

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15


@pytest.fixture
def fast(client):
    fast = Leases(client.runtime.pool, lease_s=3600, renew_every_s=0.05)
    yield fast
    fast.close()


def left_s(client, job_id):
    query = f"select extract(epoch from lease_until - now())::int as s from generation_jobs where id = '{job_id}'"
    return client.query(query)[0]["s"]


def claim(client, count):
    for _ in range(count):
        client.post("/ai/generations", json={"source_text": TEXT})
    return [client.claim() for _ in range(count)]


def reserve(client):
    new = NewJob("synchronous", {"model": "m", "prompt_version": "1"}, "0" * 64, 1000)
    lease = Lease(uuid4(), client.runtime.leases.lease_s)
    starts.reserve(client.runtime.pool, client.user_id, uuid4(), new, quota=9, lease=lease)


@pytest.mark.parametrize(
    ("lock", "begin"),
    [(f"{claims._LOCK}", Client.claim), (f"{usage._LOCK}, hashtext('{{user_id}}')", reserve)],
    ids=["claim", "reserve"],
)
def test_a_lease_begins_when_its_job_does_though_that_waited_for_others(client, database, lock, begin):
    """A process that stops in the middle of a claim holds up all others for ten seconds."""
    client.post("/ai/generations", json={"source_text": TEXT})
    with ThreadPoolExecutor(1) as threads, psycopg.connect(database) as conn:
        conn.execute(f"select pg_advisory_xact_lock({lock.format(user_id=client.user_id)})")
        begun = threads.submit(begin, client)
        until(lambda: client.query("select 1 from pg_locks where locktype = 'advisory' and not granted"))
        (later,) = conn.execute("select clock_timestamp()").fetchone()
        conn.commit()
        begun.result()
    (job,) = client.query("select lease_until from generation_jobs where status = 'running'")
    assert job["lease_until"] >= later + timedelta(seconds=client.runtime.leases.lease_s)


def test_what_runs_is_renewed_and_what_has_ended_is_not(client, fast):
    one, two, ended = claim(client, 3)
    client.query(f"update generation_jobs set holder = '{fast.holder}'")
    with fast.renewed(one.job_id), fast.renewed(two.job_id):
        with fast.renewed(ended.job_id):
            pass
        until(lambda: left_s(client, one.job_id) > 3000 and left_s(client, two.job_id) > 3000)
    assert left_s(client, ended.job_id) < 20


def test_a_jobs_next_attempt_is_renewed_though_the_one_before_returns_late(client, fast):
    """Its failure was committed, and another thread of this process has begun the next one since."""
    (job,) = claim(client, 1)
    client.query(f"update generation_jobs set holder = '{fast.holder}'")
    with ExitStack() as earlier:
        earlier.enter_context(fast.renewed(job.job_id))
        with fast.renewed(job.job_id):
            earlier.close()
            until(lambda: left_s(client, job.job_id) > 3000)


def test_a_job_that_this_process_does_not_know_of_is_not_renewed(client, fast):
    """Its claim was committed, and the acknowledgement lost: nobody runs it."""
    known, unknown = claim(client, 2)
    client.query(f"update generation_jobs set holder = '{fast.holder}'")
    with fast.renewed(known.job_id):
        until(lambda: left_s(client, known.job_id) > 3000)
    assert left_s(client, unknown.job_id) < 20


@pytest.mark.parametrize("change", ["holder = gen_random_uuid()", "status = 'canceled'"])
def test_what_somebody_else_owns_or_has_ended_is_not_renewed(client, change):
    (job,) = claim(client, 1)
    client.query(f"update generation_jobs set {change}")
    with closing(open_pool(client.runtime.settings.database_url, 1)) as pool:
        leases.renew(pool, job.holder, [job.job_id], 3600)
        with pool.connection() as conn:
            assert conn.execute("show role").fetchone() == ("none",)
    assert left_s(client, job.job_id) < 20


def test_a_login_that_may_do_nothing_by_itself_renews(client):
    (job,) = claim(client, 1)
    url, login = client.runtime.settings.database_url, f"login_{uuid4().hex}"
    client.query(f"create role {login} login noinherit")
    client.query(f"grant recto_service to {login}")
    try:
        with closing(open_pool(url.replace("user=postgres", f"user={login}"), 1)) as pool:
            leases.renew(pool, job.holder, [job.job_id], 3600)
        assert left_s(client, job.job_id) > 3000
    finally:
        client.query(f"drop role {login}")


def test_a_renewal_that_fails_is_tried_again(client, fast, monkeypatch):
    (job,) = claim(client, 1)
    client.query(f"update generation_jobs set holder = '{fast.holder}'")
    renew, failures = (
        leases.renew,
        [PoolTimeout("none free"), psycopg.OperationalError("away"), psycopg.InterfaceError("gone")],
    )

    def failing(*arguments):
        if failures:
            raise failures.pop()
        renew(*arguments)

    monkeypatch.setattr(leases, "renew", failing)
    with fast.renewed(job.job_id):
        until(lambda: left_s(client, job.job_id) > 3000)


@pytest.mark.parametrize("acting", [as_process, as_worker])
def test_the_server_ends_a_transaction_whose_process_was_stopped(client, acting):
    """It holds locks that others wait for, every worker's claim among them."""
    with acting(client.runtime.pool) as conn:
        assert conn.execute("show idle_in_transaction_session_timeout").fetchone() == ("10s",)
