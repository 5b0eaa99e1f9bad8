"""Messages to a webhook, whose address is a secret."""

import subprocess
import sys
import threading
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import responses
from responses import matchers

from recto.providers import deadline, webhook
from recto.providers.webhook import WebhookError

SECRET = "T000-a-password"
ADDRESS = f"https://hooks.test/{SECRET}"


@responses.activate
def test_a_message_is_posted_as_json():
    match = [matchers.json_params_matcher({"text": "Two failed."}), matchers.header_matcher({"User-Agent": "recto"})]
    for status in (200, 204):
        responses.post(ADDRESS, status=status, match=match)
        webhook.send(ADDRESS, "Two failed.")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": 500}, "status 500"),
        ({"status": 300}, "status 300"),
        ({"body": requests.ConnectTimeout(ADDRESS)}, "ConnectTimeout"),
        ({"body": OSError(ADDRESS)}, "OSError"),
        ({"body": ValueError(ADDRESS)}, "ValueError"),
    ],
)
@responses.activate
def test_a_message_that_does_not_arrive_says_why_without_the_address(answer, reason):
    responses.post(ADDRESS, **answer)
    with pytest.raises(WebhookError) as caught:
        webhook.send(ADDRESS, "Two failed.")
    assert str(caught.value) == reason
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@responses.activate
def test_a_redirect_is_not_followed():
    responses.post(ADDRESS, status=302, headers={"Location": "https://evil.test/"})
    evil = [responses.add(method, "https://evil.test/") for method in ("GET", "POST")]
    with pytest.raises(WebhookError, match="status 302"):
        webhook.send(ADDRESS, "Two failed.")
    assert not any(answer.call_count for answer in evil)


def test_a_message_has_ten_seconds_in_all(monkeypatch):
    class Adapter(requests.adapters.BaseAdapter):
        def send(self, request, timeout, **kwargs):
            assert timeout.total == 10
            raise requests.ReadTimeout

        def close(self):
            pass

    def session():
        made = requests.Session()
        made.mount("https://", Adapter())
        return made

    monkeypatch.setattr(deadline, "session", session)
    with pytest.raises(WebhookError, match="ReadTimeout"):
        webhook.send(ADDRESS, "Two failed.")


@contextmanager
def answering(raw):
    """Run a server whose every answer is these bytes; yield its address."""

    class Address(BaseHTTPRequestHandler):
        def do_POST(self):
            self.wfile.write(raw)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Address) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{SECRET}"
        server.shutdown()
        thread.join()


def test_whatever_a_webhook_answers_its_address_reaches_no_log():
    program = """
import sys
from recto.providers import webhook
from recto.telemetry import configure_logging, log
configure_logging("json")
for address in sys.argv[1:]:
    try:
        webhook.send(address, "Two failed.")
        log.info("sent")
    except webhook.WebhookError as error:
        log.warning("not_sent", reason=str(error))
"""
    with (
        answering(b"HTTP/1.1 200 OK\r\nNo header at all\r\nContent-Length: 0\r\n\r\n") as odd_headers,
        answering(b"RECTO/1.0 two hundred\r\n\r\n") as no_http,
        answering(b"HTTP/1.1 302 Found\r\nLocation: http://[::\r\nContent-Length: 0\r\n\r\n") as redirect,
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\nTransfer-Encoding: x\r\n\r\n") as odd_length,
        answering(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n") as many_headers,
    ):
        addresses = [odd_headers, no_http, redirect, odd_length, many_headers, f"http://127.0.0.1:9/{SECRET}"]
        done = subprocess.run(
            [sys.executable, "-c", program, *addresses], capture_output=True, text=True, timeout=120, check=True
        )
    lines = done.stderr.splitlines()
    assert len(lines) == len(addresses), done.stderr
    assert SECRET not in done.stderr + done.stdout
