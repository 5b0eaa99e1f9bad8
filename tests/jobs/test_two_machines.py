"""Workers on two machines that share nothing but the database's address, one of which loses its network."""

from urllib.parse import parse_qs, urlsplit

import pytest

from .conftest import until
from .machine import machine

pytestmark = pytest.mark.soak  # takes ten seconds

MOST = 5


@pytest.fixture
def two_machines(database, provider, tmp_path):
    """The first port of each leads to the database, its second to the provider."""
    (folder,) = parse_qs(urlsplit(database).query)["host"]
    far_ends = [f"{folder}/.s.PGSQL.5432", urlsplit(provider.base_url).netloc]
    with machine("one", tmp_path, far_ends) as one, machine("other", tmp_path, far_ends) as other:
        yield one, other


@pytest.fixture
def start_on(start_worker, database):
    """Start a worker on a machine: `with start_on(machine) as worker`."""

    def start(machine):
        database_port, provider_port = machine.ports
        return start_worker(
            concurrency=3,
            prefix=machine.enter,
            cwd=machine.home,
            HOME=str(machine.home),
            RECTO_DATA_DIR=str(machine.home / "data"),
            DATABASE_URL=f"postgresql://postgres@127.0.0.1:{database_port}{urlsplit(database).path}?sslmode=disable",
            OPENROUTER_BASE_URL=f"http://127.0.0.1:{provider_port}",
            MAX_CONCURRENT_GENERATIONS=str(MOST),
        )

    return start


def test_a_machine_that_loses_its_network_loses_no_job_and_does_none_twice(jobs, provider, two_machines, start_on):
    one, other = two_machines
    provider.delay_s = 0.1
    provider.gate.clear()
    with start_on(one) as first, start_on(one) as second, start_on(other) as third:
        for worker in (first, second, third):
            until(lambda: '"event":"worker_started"' in worker.log.read_text())  # noqa: B023  called at once
        job_ids = [jobs.start(kind="deck", count=5) if n % 5 == 0 else jobs.start() for n in range(40)]
        until(lambda: provider.open == MOST)  # of which the other machine has three at most
        with one.cut():
            provider.gate.set()
            assert jobs.ended(*job_ids) == ["succeeded"] * len(job_ids)
            assert provider.most_open == MOST
            lost = jobs.rows("select job_id from generation_error_logs where error_code = 'worker_lost'")
            assert len(lost) >= MOST - 3
            assert third.log.read_text().count('"event":"job_recovered"') == len(lost)
        # What they then commit is refused, if they did not stop waiting for the database before: it took too long then.
        ends = ('"outcome":"not_owned"', '"event":"job_not_committed"')
        until(lambda: sum(w.log.read_text().count(end) for w in (first, second) for end in ends) == len(lost))
    for job_id in job_ids:
        jobs.assert_done_once(job_id)
        assert provider.calls[jobs.tags[job_id]] == 1 + [row["job_id"] for row in lost].count(job_id)
