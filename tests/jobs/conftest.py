"""Workers under fire: a provider that counts, and workers that soon take each other for dead."""

import json
import re
import threading
from collections import Counter
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.conftest import until

from recto.db import starts
from recto.db.pool import Pool, open_pool
from recto.db.starts import NewJob
from recto.settings import Settings
from recto.text.source import SourceText, Topic

# Tests mark their texts with it.
TAG = re.compile(r"tag-[0-9a-z-]+")


class CountingProvider:
    """``calls`` by tag; ``most_open`` at once. Calls wait for ``gate``, and ``delay_s``, before they are answered.

    ``failures``: by tag the statuses of its first calls; None is a good answer, 200 one without a card.
    """

    def __init__(self):
        self.calls, self.open, self.most_open = Counter(), 0, 0
        self.failures, self.headers, self.delay_s = {}, {}, 0.0
        self.gate = threading.Event()
        self.gate.set()
        self.lock = threading.Lock()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                provider.answer(self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None  # a killed client is what the tests are about
        self.base_url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def answer(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        system, user = (message["content"] for message in body["messages"])
        tag = TAG.search(user)[0]
        with self.lock:
            self.calls[tag] += 1
            call = self.calls[tag]
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        try:
            self.gate.wait(30)
            if self.delay_s:
                threading.Event().wait(self.delay_s)
        finally:
            with self.lock:
                self.open -= 1
        failures = self.failures.get(tag, [])
        failure = failures[call - 1] if call <= len(failures) else None
        if failure not in (None, 200):
            status, answer = failure, {"error": {"code": failure, "message": "no"}}
        else:
            wanted = 0 if failure else int(re.search(r"at most (\d+) flashcards", system)[1])
            cards = [{"front": f"What is {tag} {call}.{n}?", "back": f"Answer {n}"} for n in range(wanted)]
            content = json.dumps({"flashcards": cards})
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
            usage = {"prompt_tokens": 100, "completion_tokens": 10, "cost": 0.001}
            status, answer = 200, {"id": f"gen-{tag}-{call}", "model": "m", "choices": [choice], "usage": usage}
        raw = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(raw)))
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(raw)

    def close(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


until = partial(until, timeout_s=40)


class Jobs:
    """The test's jobs and what became of them, seen past all policies. Their texts are tagged for the provider."""

    def __init__(self, url: str, pool: Pool) -> None:
        self.url, self.pool, self.tags = url, pool, {}

    def start(self, *, kind="review", user_id=None, **payload) -> UUID:
        """Queue a job."""
        tag = f"tag-{uuid4().hex[:8]}"
        source = Topic(tag) if kind == "deck" else SourceText(f"{tag} " + "A fact. " * 150)
        text = {"topic": tag, "banlist": []} if kind == "deck" else {"source_text": source.text}
        new = NewJob(
            kind,
            text | {"model": "m", "prompt_version": "1"} | payload,
            source.hash,
            source.length,
            deck_id=uuid4() if kind == "deck" else None,
        )
        job_id = starts.create(self.pool, user_id or uuid4(), new, quota=None)
        self.tags[job_id] = tag
        return job_id

    def rows(self, query, *parameters):
        with psycopg.connect(self.url, row_factory=dict_row, autocommit=True) as conn:
            return conn.execute(query, parameters).fetchall()

    def row(self, job_id):
        return self.rows("select * from generation_jobs where id = %s", job_id)[0]

    def ended(self, *job_ids):
        """Wait until all of them have ended, and return their states."""
        query = "select status from generation_jobs where id = any(%s) and status not in ('pending', 'running')"
        until(lambda: len(self.rows(query, list(job_ids))) == len(job_ids))
        return [self.row(job_id)["status"] for job_id in job_ids]

    def errors(self, job_id):
        return [
            row["error_code"]
            for row in self.rows("select error_code from generation_error_logs where job_id = %s order by id", job_id)
        ]

    def assert_done_once(self, job_id):
        """One analytics row, one debit, one set of results."""
        row = self.row(job_id)
        assert row["status"] == "succeeded"
        (record,) = self.rows("select * from generations where job_id = %s", job_id)
        (debit,) = self.rows("select amount from usage_ledger where job_id = %s", job_id)
        cards = self.rows("select position from ai_suggestions where job_id = %s order by position", job_id)
        assert debit["amount"] == 1
        assert [card["position"] for card in cards] == list(range(1, record["generated_count"] + 1))
        of_user = self.rows("select count(*) from generations where source_text_hash = %s", row["source_text_hash"])
        assert of_user == [{"count": 1}]
        calls = self.rows("select outcome, model from generation_attempts where job_id = %s", job_id)
        assert all(call["outcome"] for call in calls)

    def waits_for_lock(self):
        """Whether somebody waits for a table that the test holds."""
        return self.rows(
            "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            " and wait_event = 'relation'"
        )

    @contextmanager
    def locked(self, table, mode="access exclusive"):
        """Hold a table, so that who writes to it waits."""
        with psycopg.connect(self.url) as conn:
            conn.execute(f"lock table {table} in {mode} mode")
            yield


@pytest.fixture
def provider():
    server = CountingProvider()
    yield server
    server.close()


@pytest.fixture
def settings(settings, provider):
    return Settings(**(settings.model_dump() | {"openrouter_base_url": provider.base_url, "openrouter_model": "m"}))


@pytest.fixture
def jobs(database):
    with open_pool(database, 2) as pool:
        yield Jobs(database, pool)


# A worker that is soon thought dead, and waits little before it tries again.
IMPATIENT = {"lease_s": 1.5, "poll_s": 0.5, "backoff_s": 0.1}


@pytest.fixture
def start_worker(start_worker):
    """Start an impatient worker: `with start_worker(concurrency=2, times={...}, …) as worker`.

    `patient=True` starts one by its command line, as an operator does.
    """
    return lambda times=None, *, patient=False, **options: start_worker(
        times=None if patient else IMPATIENT | (times or {}), **options
    )
