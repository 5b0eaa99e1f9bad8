"""Whatever a provider does: 200 or 502, one row, no later than the deadline, and other requests go on meanwhile.

Every fault of the sandbox, through a real gunicorn; docs/api.md says how each ends.
"""

import http.client
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from recto.sandbox.faults import FAULTS

from .conftest import ROOT, SOURCE_TEXT

pytestmark = pytest.mark.soak  # five of them wait out the deadline; tests/api has each fault without a gunicorn

DEADLINE_S = 3.0
LATE_S = 0.25
FROZEN_S = 0.5
TRIES = 4  # a busy machine is late by itself, but not every time


def documented() -> dict[str, tuple[str, str]]:
    """Each fault in the table of docs/api.md, with what the caller gets and the error_code in the log, "–" for none."""
    table = (ROOT / "docs/api.md").read_text().partition("| NAME |")[2].partition("\n\n")[0]
    faults = {}
    for row in table.splitlines()[2:]:
        names, gets, log_code = (cell.strip() for cell in row.strip("|").split("|"))
        for name in re.findall("`([^`]+)`", names):
            name = f"http{name}" if name.startswith("-") else name
            faults[name] = (gets, log_code.strip("`").replace("<status>", name.removeprefix("http-")))
    return faults


DOCUMENTED = documented()


@dataclass
class Longest:
    """The longest time that a look at the service took."""

    seconds: float = 0.0
    looks: int = 0


@contextmanager
def looked_at(service):
    """Ask the service how it is, again and again."""
    over = threading.Event()
    longest = Longest()
    address = urlsplit(service.url)

    def look():
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
        while True:
            started = monotonic()
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
            longest.seconds = max(longest.seconds, monotonic() - started)
            longest.looks += 1
            if over.wait(0.02):
                return connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield longest
    finally:
        over.set()
        thread.join()


def rows(database, user_id, table, columns):
    with psycopg.connect(database, row_factory=psycopg.rows.dict_row) as conn:
        return conn.execute(f"select {columns} from {table} where user_id = %s", (user_id,)).fetchall()


def test_the_readme_has_all_faults():
    assert sorted(DOCUMENTED) == sorted(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_harms_its_own_request_alone(service, service_database, name):
    gets, log_code = DOCUMENTED[name]
    logged = service.log.stat().st_size
    answered, looked = [], []
    for _ in range(TRIES):
        user_id = uuid4()
        with looked_at(service) as longest:
            started = monotonic()
            response = service.post(f"{SOURCE_TEXT}\n[sandbox: {name}]", user_id=user_id, timeout=60)
            answered.append(monotonic() - started)
        looked.append(longest.seconds)

        records = rows(service_database, user_id, "generations", "generated_count")
        errors = rows(service_database, user_id, "generation_error_logs", "error_code, error_message")
        if response.status_code == 200:
            assert records == [{"generated_count": response.json()["generated_count"]}]
            assert not errors
            outcome = "–"
        else:
            assert response.status_code == 502, response.text
            assert not records
            (error,) = errors
            assert "granodiorite" not in error["error_message"]
            outcome = error["error_code"]
        if outcome == log_code and min(answered) <= DEADLINE_S + LATE_S and min(looked) <= FROZEN_S:
            break
        assert outcome in (log_code, "upstream_timeout")  # what a machine that is late makes of any fault
    assert outcome == log_code
    assert outcome == "–" or f"502 `{response.json()['error']}`" in gets
    assert min(answered) <= DEADLINE_S + LATE_S
    assert min(looked) <= FROZEN_S
    log = service.log.read_bytes()[logged:].decode()
    assert "granodiorite" not in log
    assert "unforeseen_error" not in log
