"""The service as an operator runs it: gunicorn, its workers, real sockets."""

import json
import os
import re
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from uuid import uuid4

import psycopg
import pytest
import requests

from recto import telemetry

from .conftest import children, gunicorn, until

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15


def fault(name):
    return f"{TEXT}\n[sandbox: {name}]"


def count(database, table):
    with psycopg.connect(database) as conn:
        return conn.execute(f"select count(*) from {table}").fetchone()[0]


@pytest.mark.soak
def test_the_deadline_is_total_in_the_workers_too(start_service):
    with start_service(OPENROUTER_TIMEOUT_MS="1000") as service, ThreadPoolExecutor(4) as threads:
        started = monotonic()
        faults = ["timeout", "drip", "drip-headers", "keep-alive"]
        responses = list(threads.map(lambda name: service.post(fault(name)), faults))
        assert [response.json()["error"] for response in responses] == ["upstream_timeout"] * 4
        assert monotonic() - started >= 1  # without a total deadline none of these would ever end


def test_waiting_requests_hold_no_database_connection(start_service, database):
    with start_service(WEB_CONCURRENCY="1", DATABASE_POOL_SIZE="2") as service, ThreadPoolExecutor(50) as threads:
        responses = list(threads.map(lambda _: service.post(fault("slow")), range(50)))
        assert {response.status_code for response in responses} == {200}
        assert count(database, "generations") == 50


def test_limits_on_a_valkey_outlive_web_processes_and_its_absence_is_told(start_service, empty_valkey):
    rules = {"RATE_LIMIT_PER_USER": "3 per hour", "RATE_LIMIT_PER_IP": "5 per hour", "WEB_CONCURRENCY": "2"}
    with start_service(**rules, RATE_LIMIT_STORAGE_URL=empty_valkey.url) as service:
        one, other = uuid4(), uuid4()

        def statuses(user, times):
            with ThreadPoolExecutor(times) as threads:
                answers = threads.map(lambda _: service.post(user_id=user).status_code, range(times))
                return sorted(answers)

        assert statuses(one, 8) == [200] * 3 + [429] * 5
        killed = children(service.process.pid)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(set(children(service.process.pid)) - set(killed)) == 2)
        assert statuses(one, 1) == [429]
        assert statuses(other, 4) == [200] * 2 + [429] * 2  # of one address
        empty_valkey.stop()
        assert statuses(one, 4) == [503] * 4
        empty_valkey.start()  # its counts were in its memory
        assert statuses(one, 8) == [200] * 3 + [429] * 5
    log = service.log.read_text()
    assert '"event":"limits_not_counted"' in log
    assert empty_valkey.password not in log


@pytest.mark.soak
def test_limits_hold_over_two_processes_on_two_ports(start_service):
    limits = {"RATE_LIMIT_PER_USER": "10 per minute", "WEB_CONCURRENCY": "2"}
    user = uuid4()
    with start_service(**limits) as one, start_service(**limits) as other, ThreadPoolExecutor(8) as threads:
        statuses = list(
            threads.map(lambda number: (one, other)[number % 2].post(TEXT, user_id=user).status_code, range(24))
        )
    assert sorted(statuses) == [200] * 10 + [429] * 14


def test_metrics_are_right_over_all_processes(start_service):
    with start_service(WEB_CONCURRENCY="2") as service:
        for _ in range(10):
            service.post(TEXT)
        service.post(fault("http-402"))
        text = requests.get(f"{service.url}/metrics", timeout=30).text
        assert 'recto_http_requests_total{method="POST",route="/generations",status="200"} 10.0' in text
        assert 'recto_http_requests_total{method="POST",route="/generations",status="502"} 1.0' in text
        assert 'recto_upstream_calls_total{outcome="success"} 10.0' in text
        assert 'recto_upstream_calls_total{outcome="upstream_http_error_402"} 1.0' in text
        assert "recto_upstream_seconds_count 11.0" in text
        assert "recto_http_requests_in_flight 1.0" in text  # the one that asks
        tokens = re.search(r'recto_tokens_total{direction="input",model="sandbox/extractive"} (\d+)', text)
        assert int(tokens[1]) > 1000


def test_the_log_says_what_happened_and_repeats_nothing_that_was_sent(start_service):
    with start_service() as service:
        good = service.post(TEXT)
        failed = service.post(fault("http-403"))
        requests.post(f"{service.url}/generations", data=TEXT, headers={"Connection": "close"}, timeout=30)
        requests.get(f"{service.url}/playground/style.css", headers={"Connection": "close"}, timeout=30)
        bearer = service.token()
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert [line["status"] for line in lines if line["event"] == "request"] == [200, 502, 401]
    assert lines[0]["request_id"] == good.headers["X-Request-ID"]
    assert lines[0]["generated_count"] == good.json()["generated_count"]
    assert {"user_id", "duration_ms", "upstream_ms", "model", "tokens_input", "cost_usd", "dropped"} <= set(lines[0])
    assert "path" not in lines[0]
    assert lines[1]["error_code"] == "upstream_http_error_403"
    assert lines[1]["request_id"] == failed.headers["X-Request-ID"]
    log = service.log.read_text()
    for secret in ("Rosetta", "granodiorite", bearer.split(".")[2], "eyJ", "sk-or-v1", "secret of the tests"):
        assert secret not in log


def test_a_person_reads_a_line_a_request(start_service):
    with start_service(LOG_FORMAT="console", WEB_CONCURRENCY="1") as service:
        cards = service.post(TEXT).json()["generated_count"]
        service.post(fault("http-402"))
        for path in ("/playground/style.css", "/generations/7%1b[31m"):
            requests.get(f"{service.url}{path}", headers={"Connection": "close"}, timeout=30)
    lines = [re.sub(r"  \d+ ms", "", line) for line in service.log.read_text().splitlines()]
    assert lines[0] == f"POST  /generations  200  {cards} cards"
    assert lines[1].startswith("POST  /generations  502  upstream_http_error_402: ")
    assert lines[2:] == ["GET  /generations/7%1B%5B31m  404"]


@pytest.mark.parametrize(("status", "color"), [(201, 32), (304, 36), (404, 33), (503, 31)])
def test_a_terminal_shows_statuses_in_colors(status, color):
    event = {"event": "request", "method": "GET", "path": "/", "status": status, "duration_ms": 1.26}
    rendered = telemetry._for_a_person(colors=True)(None, "info", event)
    assert rendered == f"GET  /  \x1b[{color}m{status}\x1b[0m  1 ms"


def test_an_error_of_the_database_is_logged_for_the_operator(start_service, database):
    with start_service() as service:
        with psycopg.connect(database) as conn:
            conn.execute("alter table generations rename to elsewhere")
        assert service.post(TEXT).status_code == 500
    failure = next(
        line for line in map(json.loads, service.log.read_text().splitlines()) if line["event"] == "unforeseen_error"
    )
    assert failure["type"] == "UndefinedTable"
    assert "generations" in failure["reason"]
    assert "Rosetta" not in json.dumps(failure)


def test_sigterm_loses_no_accepted_request(start_service, database):
    with start_service() as service, ThreadPoolExecutor(20) as threads:
        waiting = [threads.submit(service.post, fault("slow")) for _ in range(20)]
        until(lambda: "recto_http_requests_in_flight 21.0" in requests.get(f"{service.url}/metrics", timeout=30).text)
        service.process.send_signal(signal.SIGTERM)
        assert [answer.result().status_code for answer in waiting] == [200] * 20
        assert service.process.wait(30) == 0
    assert count(database, "generations") == 20


@pytest.mark.soak
def test_a_client_that_goes_away_does_not_lose_its_row(start_service, database):
    with start_service() as service:
        body = json.dumps({"source_text": fault("slow")}).encode()
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as conn:
            conn.sendall(
                b"POST /generations HTTP/1.1\r\nHost: recto\r\nContent-Type: application/json\r\n"
                + f"Authorization: Bearer {service.token()}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            until(
                lambda: "recto_http_requests_in_flight 2.0" in requests.get(f"{service.url}/metrics", timeout=30).text
            )
        until(lambda: count(database, "generations") == 1)


@pytest.mark.soak
def test_a_restarted_database_costs_no_request(start_service, postgres, database):
    with start_service() as service:
        assert service.post(TEXT).status_code == 200
        name = database.split("///")[1].split("?")[0]
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(pid, 30000) from pg_stat_activity where datname = %s", (name,))
        assert [service.post(TEXT).status_code for _ in range(10)] == [200] * 10


def test_a_worker_that_dies_is_replaced_and_its_gauges_go_with_it(start_service):
    with start_service(WEB_CONCURRENCY="1") as service:
        with ThreadPoolExecutor(1) as threads:
            lost = threads.submit(service.post, fault("slow"))
            until(lambda: "in_flight 2.0" in requests.get(f"{service.url}/metrics", timeout=30).text)
            (worker,) = children(service.process.pid)
            os.kill(worker, signal.SIGKILL)
            with pytest.raises(requests.ConnectionError):
                lost.result()

        def replaced():
            try:
                return "in_flight 1.0" in requests.get(f"{service.url}/metrics", timeout=30).text
            except requests.ConnectionError:
                return False

        until(replaced)


def test_a_worker_that_is_stopped_before_it_is_ready_stops(settings, tmp_path):
    early = tmp_path / "pid"
    conf = tmp_path / "gunicorn.conf.py"
    conf.write_text(f"""
import os, pathlib, signal
exec(pathlib.Path("gunicorn.conf.py").read_text())

def post_fork(server, worker):
    if worker.age == 1:
        pathlib.Path({str(early)!r}).write_text(str(worker.pid))
        os.kill(worker.pid, signal.SIGTERM)
""")
    command = (sys.executable, "-m", "gunicorn", "--config", str(conf), "wsgi:app")
    with gunicorn(settings, tmp_path / "log", command=command, WEB_CONCURRENCY="1") as service:
        until(lambda: children(service.process.pid) not in ([], [int(early.read_text())]))


@pytest.mark.soak
def test_a_reload_loses_no_request_and_leaves_one_metrics_folder(start_service, tmp_path):
    def metrics():
        return requests.get(f"{service.url}/metrics", headers={"Connection": "close"}, timeout=20).text

    def folders():
        return list(tmp_path.glob("recto-metrics-*"))

    with start_service(WEB_CONCURRENCY="1", TMPDIR=str(tmp_path)) as service, ThreadPoolExecutor(1) as threads:
        (old,) = children(service.process.pid)
        accepted = threads.submit(service.post, fault("slow"))
        until(lambda: "in_flight 2.0" in metrics())
        service.process.send_signal(signal.SIGHUP)
        assert accepted.result().status_code == 200
        until(lambda: old not in (now := children(service.process.pid)) and len(now) == 1)
        assert len(folders()) == 1
        service.post(TEXT)
        assert 'recto_http_requests_total{method="POST",route="/generations",status="200"} 2.0' in metrics()
        service.process.send_signal(signal.SIGHUP)
    assert service.process.returncode == 0
    assert folders() == []


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: recto\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: recto\r\nA: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"hello there\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: recto\r\nAuthor ization: eyJ.a.token\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: recto\r\nAuthorization: Bearer eyJ.a.token\x01\r\n\r\n", 400),
        (b"GET /eyJ.a.token\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: recto\r\nTransfer-Encoding: eyJ.a.token\r\n\r\n", 501),
    ],
    ids=["address", "headers", "not HTTP", "name", "value", "line", "coding"],
)
def test_what_gunicorn_refuses_by_itself_has_the_one_envelope(service, request_, status):
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as conn:
        conn.sendall(request_)
        with conn.makefile("rb") as stream:
            head, _, body = stream.read().partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"Content-Type: application/json" in head
    assert json.loads(body).keys() == {"error", "message"}
    assert json.loads(body)["error"] == "invalid_request"
    assert b"eyJ" not in head + body
    assert "eyJ" not in service.log.read_text(), service.log.read_text()


def test_many_users_at_once_each_get_their_own(service):
    users = [uuid4() for _ in range(12)]
    barrier = threading.Barrier(12)

    def go(user):
        barrier.wait()
        generation_id = service.post(TEXT, user_id=user).json()["generation_id"]
        listed = requests.get(
            f"{service.url}/generations", headers={"Authorization": f"Bearer {service.token(user)}"}, timeout=30
        ).json()["generations"]
        return [row["id"] for row in listed] == [generation_id]

    with ThreadPoolExecutor(12) as threads:
        assert all(threads.map(go, users))


def test_a_key_that_the_provider_refuses_is_told_at_the_start(start_service):
    with start_service(OPENROUTER_API_KEY="wrong", WEB_CONCURRENCY="1", LOG_FORMAT="json") as service:
        until(lambda: '"openrouter_key_refused"' in service.log.read_text())
        failed = service.post()
    assert (failed.status_code, failed.json()["error"]) == (502, "upstream_refused")
    assert service.log.read_text().count("openrouter_key_refused") == 1
