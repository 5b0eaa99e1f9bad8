"""Bodies that come slowly, in pieces, malformed or too large: over real sockets, from a real gunicorn."""

import json
import selectors
import socket
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest

from recto.api import bodies
from recto.api.bodies import MAX_BODY_BYTES
from recto.sandbox.predictions import SIGNING_SECRET

EXPORT = {"flashcards": [{"front": "Recto", "back": "the front of a leaf"}]}
CHUNKED = "Transfer-Encoding: chunked"
PICTURES_ON = {
    "REPLICATE_API_TOKEN": "r8_test",
    "REPLICATE_WEBHOOK_SECRET": SIGNING_SECRET,
    "PUBLIC_BASE_URL": "https://recto.example",
}


def connect(service):
    host, port = service.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def head(service, *headers, user=None, path="/exports/anki", method="POST"):
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: recto",
        "Content-Type: application/json",
        f"Authorization: Bearer {service.token(user)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(conn):
    """Read one answer: its status, headers and body."""
    with conn.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers = dict(line.split(": ", 1) for line in iter(lambda: stream.readline().decode().strip(), ""))
        return status, headers, stream.read(int(headers["Content-Length"]))


def error(conn):
    status, _, body = answer(conn)
    return status, json.loads(body)["error"]


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.soak
def test_a_body_that_drips_is_given_up_at_its_deadline(start_service):
    pieces = {"Content-Length: 5000": b" ", CHUNKED: chunk(b" ")}
    paths = {"/exports/anki": "invalid_request", "/v1/webhooks/replicate": "INVALID_REQUEST"}
    started = monotonic()
    with ExitStack() as opened, selectors.DefaultSelector() as selector:
        for worker in ("gevent", "gthread"):
            arguments = f"--worker-class {worker} --threads 4"
            service = opened.enter_context(
                start_service(GUNICORN_CMD_ARGS=arguments, WEB_CONCURRENCY="1", **PICTURES_ON)
            )
            for (path, code), (headers, piece) in product(paths.items(), pieces.items()):
                conn = opened.enter_context(connect(service))
                conn.sendall(head(service, headers, path=path))
                selector.register(conn, selectors.EVENT_READ, (code, piece))
        while selector.get_map():
            assert monotonic() - started < 90, "a dripping body is read for ever"
            for key in [key for key, _ in selector.select(0.2)]:
                assert error(key.fileobj) == (408, key.data[0])
                selector.unregister(key.fileobj)
            for key in selector.get_map().values():
                key.fileobj.sendall(key.data[1])
        # An honest slow connection may need that long.
        assert monotonic() - started >= bodies.BODY_S == 10


def test_a_user_who_sends_too_many_bodies_at_once_leaves_room_for_others(start_service):
    user = uuid4()
    with start_service(WEB_CONCURRENCY="1") as service, ExitStack() as opened:
        refused = []
        with selectors.DefaultSelector() as selector:
            for _ in range(bodies.MAX_PER_USER + 3):
                conn = opened.enter_context(connect(service))
                conn.sendall(head(service, "Content-Length: 100", user=user) + b"{")
                selector.register(conn, selectors.EVENT_READ)
            while len(refused) < 3:
                for key, _ in selector.select(30):
                    selector.unregister(key.fileobj)
                    refused.append(key.fileobj)
        for conn in refused:
            status, headers, body = answer(conn)
            assert (status, json.loads(body)["error"]) == (429, "rate_limited")
            assert int(headers["Retry-After"]) == bodies.BODY_S
            assert conn.recv(1) == b""  # a refused body is not waited for
        other = opened.enter_context(connect(service))
        data = json.dumps(EXPORT).encode()
        other.sendall(head(service, f"Content-Length: {len(data)}") + data)
        assert answer(other)[0] == 200


def test_an_ended_body_makes_room_for_the_next(client):
    for _ in range(bodies.MAX_PER_USER + 1):
        assert client.post("/exports/anki", json=EXPORT).status_code == 200
        assert client.post("/exports/anki", data=b"{", content_type="application/json").status_code == 400
    assert bodies.being_read() == 0


def test_all_users_together_leave_room_for_others(client, monkeypatch):
    monkeypatch.setattr(bodies, "MAX_AT_ONCE", 0)
    refused = client.post("/exports/anki", json=EXPORT)
    assert (refused.status_code, refused.json["error"]) == (503, "unavailable")
    assert int(refused.headers["Retry-After"]) == bodies.BODY_S


def test_all_bodies_together_take_half_of_a_process_s_connections():
    text = (Path(__file__).parents[2] / "gunicorn.conf.py").read_text()
    assert f"worker_connections = {2 * bodies.MAX_AT_ONCE}\n" in text


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-5\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}0\r\n\r\n",
        b"2;=\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nno trailer\r\n\r\n",
        b"f" * 9000,
    ],
    ids=["size", "negative", "terminator", "extension", "trailer", "line"],
)
def test_a_malformed_chunked_body_is_the_caller_s_fault(service, body):
    with connect(service) as conn:
        conn.sendall(head(service, CHUNKED) + body)
        assert error(conn) == (400, "invalid_request")


def test_a_chunked_body_that_ends_too_early_is_the_caller_s_fault(service):
    with connect(service) as conn:
        conn.sendall(head(service, CHUNKED) + b"f\r\n{}")
        conn.shutdown(socket.SHUT_WR)
        assert error(conn) == (400, "invalid_request")


def padded(size):
    return json.dumps(EXPORT).encode().ljust(size)


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413), (600_000, 413)])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_over_the_bound_is_refused_and_never_cut(service, size, status, chunked):
    body = padded(size)
    with connect(service) as conn:
        if chunked:
            conn.sendall(head(service, CHUNKED) + chunk(body[:1000]) + chunk(body[1000:]) + b"0\r\n\r\n")
        else:
            conn.sendall(head(service, f"Content-Length: {size}") + body)
        answered, _, told = answer(conn)
    assert answered == status
    if status == 413:
        assert json.loads(told)["message"] == "The request body must not be larger than 262144 bytes."


def test_a_keyed_request_has_its_body_read_by_the_same_rules(service):
    for body, status in ((b"zz\r\n", 400), (chunk(padded(MAX_BODY_BYTES + 1)) + b"0\r\n\r\n", 413)):
        with connect(service) as conn:
            conn.sendall(head(service, CHUNKED, "Idempotency-Key: a", path="/generations") + body)
            assert error(conn) == (status, "invalid_request")
