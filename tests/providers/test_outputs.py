"""Outputs come from the provider's hosts, from no private address, and are no larger than a picture is."""

import socket
import threading

import pytest
from tests.conftest import until

from recto import errors
from recto.providers import deadline
from recto.providers.outputs import MAX_BYTES, OutputRefused, Outputs
from recto.providers.replicate import Replicate
from recto.sandbox.picture import picture
from recto.sandbox.server import start


def outputs(*trusted, timeout_ms=5000):
    return Outputs(trusted=trusted, timeout_ms=timeout_ms)


@pytest.fixture
def listener():
    """A server that notes what it is told and says nothing."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen():
            while True:
                try:
                    conn, _ = server.accept()
                except OSError:
                    return
                with conn:
                    conn.settimeout(5)
                    heard.append(conn.recv(1024))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "http://replicate.delivery/x.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "https://127.0.0.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://example.com/x.jpg",
        "https://replicate.delivery.example.com/x.jpg",
        "https://xreplicate.delivery/x.jpg",
        "https://replicate.delivery:8443/x.jpg",
        "https://replicate.delivery@example.com/x.jpg",
        "https://user:password@replicate.delivery/x.jpg",
        "https://replicate.delivery\\@example.com/",
        "https://replicate.delivery/x.jpg\r\nHost: example.com",
        "https://rеplicate.delivery/x.jpg",  # a Cyrillic letter
        "ftp://replicate.delivery/x.jpg",
        "file:///etc/passwd",
        "//replicate.delivery/x.jpg",
        "https://[replicate.delivery/",
        "https://replicate.delivery:port/",
        "",
    ],
)
def test_an_address_that_is_not_the_providers_is_refused_without_a_connection(url, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("it was looked up"))
    with pytest.raises(OutputRefused) as refused:
        outputs().fetch(url)
    assert not refused.value.retryable
    assert "example" not in refused.value.detail


@pytest.mark.parametrize(
    "host", ["replicate.delivery", "pbxt.replicate.delivery", "PBXT.Replicate.Delivery", "cdn.test"]
)
@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_a_host_that_resolves_to_a_private_address_hears_nothing(host, address, listener, monkeypatch):
    port, heard = listener
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if family == socket.AF_INET6 and not socket.has_ipv6:
        pytest.fail("this machine has no IPv6")
    end = (address, port, 0, 0) if family == socket.AF_INET6 else (address, port)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", end)])
    with pytest.raises(OutputRefused, match="image model's provider"):
        outputs("cdn.test").fetch(f"https://{host}/x.jpg")
    assert all(data == b"" for data in heard)


def test_a_trusted_origin_is_fetched_from_as_it_is():
    with start() as sandbox:
        good = _prediction(sandbox, "a fox")
        assert outputs(sandbox.replicate_url).fetch(good) == picture("a fox")
        with pytest.raises(OutputRefused):
            outputs("http://127.0.0.1:1").fetch(good)


@pytest.mark.parametrize(
    ("fault", "reason"), [("output-gone", "HTTP 404"), ("output-huge", str(MAX_BYTES)), ("output-redirect", "HTTP 302")]
)
def test_what_is_there_and_is_not_taken(fault, reason):
    with start() as sandbox:
        with pytest.raises(OutputRefused) as refused:
            outputs(sandbox.replicate_url).fetch(_prediction(sandbox, f"[sandbox: {fault}]"))
        assert reason in refused.value.detail


def test_what_may_pass_may_be_tried_again(listener):
    port, _ = listener
    with pytest.raises(errors.UpstreamError) as caught:
        outputs(f"http://127.0.0.1:{port}", timeout_ms=300).fetch(f"http://127.0.0.1:{port}/x.jpg")
    assert not isinstance(caught.value, OutputRefused)


def _prediction(sandbox, prompt):
    client = Replicate(
        deadline.session(), base_url=sandbox.replicate_url, token="t", model="google/nano-banana", timeout_ms=5000
    )
    taken = client.create(prompt=prompt, images=(), webhook_url="http://127.0.0.1:9/")
    until(lambda: client.find(taken.id).ended)
    return client.find(taken.id).outputs[0]
