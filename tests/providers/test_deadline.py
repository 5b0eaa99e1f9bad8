"""The total deadline, against servers that misbehave on a real socket, plain and with TLS."""

import socket
import ssl
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import requests
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from recto.providers import deadline

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def server(answer, context=None):
    """Run `answer(conn, stopped)` for each connection, in a thread of its own, until the test is over."""
    stopped = threading.Event()
    threads = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def serve(conn):
            with conn, suppress(OSError):  # the client has gone, which is what is tested
                if context:
                    conn = context.wrap_socket(conn, server_side=True)
                with conn:
                    conn.recv(65536)
                    answer(conn, stopped)

        def accept():
            while not stopped.is_set():
                try:
                    conn, _ = listener.accept()
                except TimeoutError:
                    continue
                conn.settimeout(None)
                threads.append(threading.Thread(target=serve, args=(conn,)))
                threads[-1].start()

        threads.append(threading.Thread(target=accept))
        threads[0].start()
        scheme = "https" if context else "http"
        yield f"{scheme}://localhost:{listener.getsockname()[1]}/"
        stopped.set()
        for thread in threads:
            thread.join()


def silent(conn, stopped):
    stopped.wait()


def drip(prefix, byte):
    def answer(conn, stopped):
        conn.sendall(prefix)
        while not stopped.wait(0.05):
            conn.sendall(byte)

    return answer


SLOW_ANSWERS = {
    "silence": silent,
    "a dripping header": drip(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x"),
    "a dripping body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
    "a chunk at a time": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a body without an end": drip(b"HTTP/1.1 200 OK\r\n\r\n", b" "),
}


def fetch(url, total, **kwargs):
    with deadline.session() as session:
        response = session.get(url, timeout=urllib3.Timeout(total=total), stream=True, **kwargs)
        return response.raw.read(1_000_000)


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server's context and the path of the certificate that a client must trust."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, str(folder / "cert.pem")


@pytest.mark.parametrize("answer", SLOW_ANSWERS.values(), ids=SLOW_ANSWERS)
def test_a_slow_answer_is_cut_off(answer):
    with server(answer) as url, pytest.raises((requests.Timeout, urllib3.exceptions.TimeoutError)):
        fetch(url, 0.3)


@pytest.mark.parametrize("answer", SLOW_ANSWERS.values(), ids=SLOW_ANSWERS)
def test_a_slow_answer_is_cut_off_over_tls_too(answer, tls):
    context, certificate = tls
    with server(answer, context) as url, pytest.raises((requests.Timeout, urllib3.exceptions.TimeoutError)):
        fetch(url, 0.5, verify=certificate)


def test_a_good_answer_is_read_over_plain_sockets_and_tls(tls):
    context, certificate = tls
    with server(lambda conn, _: conn.sendall(GOOD)) as url:
        assert fetch(url, 5) == b"ok"
    with server(lambda conn, _: conn.sendall(GOOD), context) as url:
        assert fetch(url, 5, verify=certificate) == b"ok"


def test_a_connection_is_kept_and_its_next_call_has_its_own_deadline():
    connections = []

    def twice(conn, stopped):
        connections.append(conn)
        conn.sendall(GOOD)
        conn.recv(65536)
        conn.sendall(GOOD)

    with server(twice) as url, deadline.session() as session:
        for total in (0.5, 5):
            response = session.get(url, timeout=urllib3.Timeout(total=total), stream=True)
            assert response.raw.read(1_000_000) == b"ok"
    assert len(connections) == 1


def test_addresses_share_no_connection():
    def name(name):
        return lambda conn, _: conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name)

    with server(name(b"a")) as a, server(name(b"b")) as b, deadline.session() as session:
        assert [session.get(url, timeout=5).text for url in (a, b)] == ["a", "b"]


def test_a_connection_whose_certificate_was_trusted_serves_no_call_that_does_not_trust_it(tls):
    context, certificate = tls
    with server(lambda conn, _: conn.sendall(GOOD), context) as url, deadline.session() as session:
        assert session.get(url, timeout=5, verify=certificate).text == "ok"
        with pytest.raises(requests.exceptions.SSLError):
            session.get(url, timeout=5)


IN_GREENLETS = """
from gevent import monkey
monkey.patch_all()
import socket, sys
import requests, urllib3
from recto.providers import deadline

tried = []
connect = socket.socket.connect
socket.socket.connect = lambda sock, address: tried.append(address) or connect(sock, address)
port = int(sys.argv[2])
addresses = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))] * 500
socket.getaddrinfo = lambda *args, **kwargs: addresses
try:
    with deadline.session() as session:
        session.get(f"{sys.argv[1]}://localhost:{port}/", timeout=urllib3.Timeout(connect=0.5, total=600))
except requests.ConnectTimeout:
    print(len(tried))
"""


def in_greenlets(scheme, port):
    """How many addresses of 500 were tried, in a process like gunicorn's, until there was a ConnectTimeout."""
    program = [sys.executable, "-c", IN_GREENLETS, scheme, str(port)]
    return int(subprocess.run(program, capture_output=True, text=True, timeout=60, check=True).stdout)


def test_connecting_has_one_timeout_for_all_addresses_of_a_host():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(3):
            conn = waiting.enter_context(socket.socket())
            conn.setblocking(False)
            conn.connect_ex(full.getsockname())
        for scheme in ("http", "https"):
            assert 1 <= in_greenlets(scheme, full.getsockname()[1]) < 100


def test_connecting_has_one_timeout_for_a_dripping_tls_handshake_too():
    with server(drip(b"\x16\x03\x03\x40\x00", b"x")) as url:
        assert in_greenlets("https", urlsplit(url).port) == 1


def test_proxies_and_credentials_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with server(lambda conn, _: conn.sendall(GOOD)) as url:
        assert fetch(url, 5) == b"ok"
