"""Kills at random, of everything that may die: nothing is lost, nothing is counted twice, nothing stays in flight."""

import json
import logging
import os
import random
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from decimal import Decimal
from hashlib import sha256
from itertools import count
from time import sleep
from uuid import uuid4

import psutil
import pytest
import requests
from tests.conftest import children

from recto.db import embedded, migrations
from recto.db.pool import open_pool

from .conftest import IMPATIENT, Jobs, until

log = logging.getLogger(__name__)

PATIENT_S = 1.0
TIMES = IMPATIENT | {"patience_s": PATIENT_S, "worker_patience_s": PATIENT_S}
QUOTA = "1000000"
TOPIC_OR_TEXT = " " + "A fact. " * 150


class Database:
    """A PostgreSQL that can be killed and started again."""

    def __init__(self, folder):
        self._cluster = folder / "pg18"
        self._binaries = embedded._binaries(self._cluster)

    def kill(self):
        """Kill it and all of its processes: one that is busy goes on for a while without its parent."""
        postmaster = psutil.Process(int((self._cluster / "data/postmaster.pid").read_text().split()[0]))
        for process in [postmaster, *postmaster.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def start(self):
        embedded._start(self._binaries, self._cluster, durable=True)


@pytest.fixture
def folder(short_folder):
    folder = short_folder / uuid4().hex[:8]
    folder.mkdir()
    folder.chmod(0o755)
    return folder


@pytest.fixture
def killable(folder):
    """The URL of a database, and what kills it. What it has committed survives, as with an operator's."""
    with embedded.running(folder) as url:
        migrations.migrate(url)
        yield url, Database(folder)


@pytest.fixture
def start_impatient(start_service):
    """Start a web service with the times of the tests: `with start_impatient(DATABASE_URL=…) as service`."""
    return lambda **environment: start_service(
        app="tests.jobs.wsgi_with_times:app", TEST_TIMES=json.dumps(TIMES), **environment
    )


def body(tag):
    return {"source_text": tag + TOPIC_OR_TEXT}


def hash_of(tag):
    return sha256(body(tag)["source_text"].strip().encode()).hexdigest()


def headers(service, user_id, **more):
    return {"Authorization": f"Bearer {service.token(user_id)}", "Connection": "close"} | more


@pytest.mark.soak
def test_a_database_that_dies_while_twenty_wait_costs_no_answer_and_no_row(killable, provider, start_impatient):
    url, database = killable
    provider.gate.clear()
    with ExitStack() as running, ThreadPoolExecutor(25) as threads, open_pool(url, 2) as pool:
        plain = running.enter_context(start_impatient(DATABASE_URL=url))
        counted = running.enter_context(start_impatient(DATABASE_URL=url, QUOTA_GENERATIONS_PER_MONTH=QUOTA))

        def send(path, service, tag, user_id):
            key = {"Idempotency-Key": tag} if path == "/sessions/ai" else {}
            url = f"{service.url}{path}"
            return requests.post(url, json=body(tag), headers=headers(service, user_id, **key), timeout=60)

        users = {f"tag-{number}": uuid4() for number in range(25)}
        sent = [
            ("/sessions/ai" if number >= 20 else "/generations", (plain, counted)[number % 2], tag, user_id)
            for number, (tag, user_id) in enumerate(users.items())
        ]
        answers = [threads.submit(send, *request) for request in sent]
        until(lambda: provider.open == 25)
        database.kill()
        provider.gate.set()
        read = [answer.result() for answer in answers]
        assert {answer.status_code for answer in read[:20]} == {200}
        assert {answer.json()["generation_id"] for answer in read[:20]} == {None}
        assert {answer.status_code for answer in read[20:]} == {503}
        delayed = [line for service in (plain, counted) for line in lines(service.log, "commit_delayed")]
        assert {line["user_id"] for line in delayed} == set(map(str, users.values()))
        assert {(line["cost_usd"], line["tokens_input"]) for line in delayed} == {(0.001, 100)}

        database.start()
        jobs = Jobs(url, pool)
        until(lambda: jobs.rows("select count(*) as n from generations")[0]["n"] == 25)
        rows = jobs.rows("select user_id, source_text_hash from generations")
        assert {row["user_id"]: row["source_text_hash"] for row in rows} == {
            user_id: hash_of(tag) for tag, user_id in users.items()
        }
        assert jobs.rows("select count(*) as n, sum(amount) as amount from usage_ledger") == [{"n": 15, "amount": 15}]
        assert jobs.rows("select 1 from generation_jobs where status <> 'succeeded'") == []
        again = [send(*request) for request in sent[20:]]  # with their keys
        assert {answer.status_code for answer in again} == {200}
        assert sum(provider.calls.values()) == 25


def lines(log, event):
    """The lines of that event in a log that may end within a line."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        with suppress(ValueError):
            if (parsed := json.loads(line))["event"] == event:
                found.append(parsed)
    return found


class Fleet:
    """Two web services, one of them with a quota, and two workers over one database; any part may be killed."""

    def __init__(self, url, database, start_service, start_worker, chance):
        self.chance, self.logs = chance, []
        self._database = database
        self._start = [
            lambda: start_service(DATABASE_URL=url, WEB_CONCURRENCY="2"),
            lambda: start_service(DATABASE_URL=url, WEB_CONCURRENCY="2", QUOTA_GENERATIONS_PER_MONTH=QUOTA),
            lambda: start_worker(DATABASE_URL=url, times=TIMES, concurrency=4),
            lambda: start_worker(DATABASE_URL=url, times=TIMES, concurrency=4),
        ]
        self._stack, self._parts = ExitStack(), []

    def __enter__(self):
        for start in self._start:
            self._parts.append(self._started(start))
        return self

    def __exit__(self, *error):
        self._stack.close()

    def _started(self, start):
        part = self._stack.enter_context(start())
        self.logs.append(part.log)
        return part

    @property
    def services(self):
        return self._parts[:2]

    def hurt(self):
        """Kill or stop one part at random, and mend it; return what it was."""
        return self.chance.choice(
            [self.kill_web_process, self.kill_service, self.reload, self.kill_worker, self.kill_database, self.stop]
        )()

    def kill_web_process(self):
        os.kill(self.chance.choice(children(self.chance.choice(self.services).process.pid)), signal.SIGKILL)
        return "web process killed"

    def kill_service(self):
        number = self.chance.randrange(2)
        self._parts[number].kill()
        self._parts[number] = self._started(self._start[number])
        return "service killed"

    def reload(self):
        self.chance.choice(self.services).process.send_signal(signal.SIGHUP)
        return "service reloaded"

    def kill_worker(self):
        number = self.chance.choice((2, 3))
        self._parts[number].kill()
        self._parts[number] = self._started(self._start[number])
        return "worker killed"

    def kill_database(self):
        self._database.kill()
        sleep(self.chance.uniform(0, 2 * PATIENT_S))
        self._database.start()
        return "database killed"

    def stop(self):
        """Stop a process for longer than its lease."""
        part = self.chance.choice(self._parts)
        pid = self.chance.choice(children(part.process.pid) or [part.process.pid])
        os.kill(pid, signal.SIGSTOP)
        sleep(1.5 * TIMES["lease_s"])
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        return "process stopped for a while"


class Load:
    """What callers ask for, and what they were answered."""

    KINDS = ("generation", "session", "background", "deck", "canceled")

    def __init__(self, fleet, provider):
        self._fleet, self._provider = fleet, provider
        self._numbers = count()
        self.answers = {}  # by tag: the kind, and the answer or None if the connection broke

    def ask(self, kind):
        tag, chance = f"tag-{next(self._numbers)}", self._fleet.chance
        if kind in ("background", "deck") and chance.random() < 0.3:
            self._provider.failures[tag] = [503]
        service, user_id = chance.choice(self._fleet.services), uuid4()
        self.answers[tag] = (kind, None)
        with suppress(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            self.answers[tag] = (kind, self._send(service, kind, tag, user_id))

    def _send(self, service, kind, tag, user_id):
        def post(path, json):
            return requests.post(f"{service.url}{path}", json=json, headers=headers(service, user_id), timeout=60)

        match kind:
            case "generation":
                return post("/generations", body(tag))
            case "session":
                return post("/sessions/ai", body(tag))
            case "deck":
                return post(f"/decks/{uuid4()}/generation", {"topic": tag, "count": 20})
        accepted = post("/ai/generations", body(tag))
        if kind == "canceled" and accepted.status_code == 202:
            sleep(self._fleet.chance.uniform(0, 0.2))
            path = f"{service.url}/ai/generations/{accepted.json()['generation_id']}"
            requests.delete(path, headers=headers(service, user_id), timeout=60)
        return accepted


@pytest.mark.soak
def test_sixty_kills_at_random(killable, provider, start_impatient, start_worker):
    url, database = killable
    seed = random.randrange(2**32)
    log.warning("seed %d", seed)  # shown if the test fails
    provider.delay_s = 0.1
    with (
        open_pool(url, 2) as pool,
        Fleet(url, database, start_impatient, start_worker, random.Random(seed)) as fleet,
        ThreadPoolExecutor(10) as threads,
    ):
        jobs, load, hurt = Jobs(url, pool), Load(fleet, provider), Counter()
        for _ in range(60):
            asked = [threads.submit(load.ask, kind) for kind in Load.KINDS * 2]
            sleep(fleet.chance.uniform(0, 0.3))
            hurt[fleet.hurt()] += 1
            for each in asked:
                each.result()
        answers = Counter((kind, getattr(answer, "status_code", None)) for kind, answer in load.answers.values())
        log.warning("%s %s", hurt, answers)
        settled = "select 1 from generation_jobs where status in ('pending', 'running')"
        until(lambda: not jobs.rows(settled))
        assert_nothing_is_lost_or_counted_twice(jobs, load, fleet, provider)


def assert_nothing_is_lost_or_counted_twice(jobs, load, fleet, provider):
    late = {line.get("source_text_hash") for log in fleet.logs for line in lines(log, "commit_delayed")}
    for tag, (kind, answer) in load.answers.items():
        records = jobs.rows("select id, cost_usd from generations where source_text_hash = %s", hash_of(tag))
        if kind == "generation":
            assert len(records) <= 1, tag
            if answer is not None and answer.status_code == 200:
                if (record_id := answer.json()["generation_id"]) is not None:
                    assert [row["id"] for row in records] == [record_id], tag
                else:  # a process that was killed before the database came back has left its figures
                    assert records or hash_of(tag) in late, tag
            continue
        found = jobs.rows(
            "select id, status, erased_at, error ->> 'log_code' as reason from generation_jobs"
            " where payload::text like %s or source_text_hash in (%s, %s)",
            f"%{tag} %",
            hash_of(tag),
            sha256(tag.encode()).hexdigest(),
        )
        assert len(found) <= 1, tag
        if answer is not None and answer.status_code in (200, 202):
            (job,) = found
            assert job["status"] in ("succeeded", "canceled") or job["reason"] == "worker_lost", (tag, job)
            if kind == "session":
                assert job["status"] == "succeeded", tag
        for job in found:
            if job["status"] == "succeeded" and not job["erased_at"]:
                jobs.assert_done_once(job["id"])
            calls = jobs.rows("select cost_usd, outcome from generation_attempts where job_id = %s", job["id"])
            assert all(call["outcome"] for call in calls), (tag, calls)
            unknown = [call for call in calls if call["cost_usd"] is None]
            assert {call["outcome"] for call in unknown} <= {"worker_lost", "canceled", "upstream_http_error_503"}, tag
            assert len(calls) >= provider.calls[tag], tag
    assert_the_ledger_is_right(jobs)
    assert_no_dollar_is_counted_twice(jobs, provider)


def assert_the_ledger_is_right(jobs):
    debited = {row["job_id"] for row in jobs.rows("select job_id from usage_ledger where amount = 1")}
    query = (
        "select id from generation_jobs job where status = 'succeeded' or status = 'canceled' and exists ("
        " select from generation_attempts attempt where attempt.job_id = job.id and ({}))"
    )
    # A call that failed costs nothing; but one that ran when its job was canceled counts, whatever it brings later.
    paid_for = jobs.rows(query.format("outcome in ('succeeded', 'canceled', 'worker_lost')"))
    assert {row["id"] for row in paid_for} <= debited <= {row["id"] for row in jobs.rows(query.format("true"))}
    assert jobs.rows("select 1 from usage_ledger where amount <> 1") == []


def assert_no_dollar_is_counted_twice(jobs, provider):
    (known,) = jobs.rows("select coalesce(sum(cost_usd), 0) as usd from recto.costs")
    assert known["usd"] <= sum(provider.calls.values()) * Decimal("0.001")
