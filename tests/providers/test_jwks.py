import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import jwt
import pytest
import requests
import responses
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from recto.providers import deadline
from recto.providers.jwks import KeysUnavailable, fetch_jwks

URL = "https://project.supabase.co"
ADDRESS = f"{URL}/auth/v1/.well-known/jwks.json"


@responses.activate
def test_the_projects_keys_are_fetched():
    responses.get(ADDRESS, json={"keys": []})
    assert fetch_jwks(deadline.session(), URL) == {"keys": []}


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500},
        {"status": 302, "headers": {"Location": "https://evil.example"}},
        {"body": "<html>"},
        {"json": []},
        {"json": {"keys": None}},
        {"status": 404, "json": {"keys": []}},
        {"body": json.dumps({"keys": ["x" * 300_000]})},
        {"body": ConnectionError()},
    ],
    ids=range(8),
)
@responses.activate
def test_what_is_no_key_set_is_refused(answer):
    responses.get(ADDRESS, **answer)
    with pytest.raises(KeysUnavailable):
        fetch_jwks(deadline.session(), URL)


@responses.activate
def test_a_redirect_is_not_followed_to_other_keys():
    responses.get(ADDRESS, status=302, headers={"Location": "https://evil.test/keys"}, json={"keys": []})
    evil = responses.get("https://evil.test/keys", json={"keys": []})
    with pytest.raises(KeysUnavailable, match="HTTP 302"):
        fetch_jwks(deadline.session(), URL)
    assert not evil.call_count


@responses.activate
def test_a_set_of_many_keys_is_read_also_when_it_comes_compressed():
    keys = {"keys": [{"kid": str(number), "n": "x" * 340} for number in range(500)]}
    responses.get(ADDRESS, body=gzip.compress(json.dumps(keys).encode()), headers={"Content-Encoding": "gzip"})
    assert fetch_jwks(deadline.session(), URL) == keys


def test_a_fetch_has_five_seconds_in_all():
    class Adapter(requests.adapters.BaseAdapter):
        def send(self, request, timeout, **kwargs):
            assert timeout.total == 5
            raise requests.ReadTimeout

    session = requests.Session()
    session.mount(URL, Adapter())
    with pytest.raises(KeysUnavailable, match="ReadTimeout"):
        fetch_jwks(session, URL)


@pytest.fixture
def supabase():
    """A project's key address on a real socket, and the key that it publishes."""
    key = ec.generate_private_key(ec.SECP256R1())
    published = json.loads(ECAlgorithm.to_jwk(key.public_key())) | {"kid": "one", "alg": "ES256", "use": "sig"}

    class Address(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"keys": [published]}).encode()
            self.send_response(200 if self.path == "/auth/v1/.well-known/jwks.json" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Address) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", key
        server.shutdown()
        thread.join()


@pytest.mark.soak
def test_a_service_takes_the_tokens_of_its_supabase_project(start_service, supabase):
    url, key = supabase
    claims = {"sub": str(uuid4()), "aud": "authenticated", "role": "authenticated", "exp": 2**31}

    def status(**changes):
        token = jwt.encode(claims | changes, key, algorithm="ES256", headers={"kid": "one"})
        headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
        with deadline.session() as session:
            return session.get(f"{service.url}/generations", headers=headers).status_code

    with start_service(SUPABASE_URL=url) as service:
        assert status(iss=f"{url}/auth/v1") == 200
        assert status(iss="https://other.supabase.co/auth/v1") == 401
        assert status() == 401
