"""Replicate's answers, good and bad, become a prediction or one of our errors."""

import json

import pytest
import responses
from tests.conftest import until

from recto import errors
from recto.providers import deadline
from recto.providers.replicate import NotAPrediction, Prediction, Replicate
from recto.sandbox.server import start

BASE = "https://api.replicate.test"
CREATE = f"{BASE}/v1/models/google/nano-banana/predictions"
GOOD = {"id": "rm0x1y2z3a4b5c6d7e8f9g0h1j", "status": "starting", "output": None, "error": None}
TOKEN = "r8_a-token-that-must-never-be-seen"
PROMPT = "a secret wish that nobody else may read"


def client(base_url=BASE, timeout_ms=5000):
    return Replicate(
        deadline.session(), base_url=base_url, token=TOKEN, model="google/nano-banana", timeout_ms=timeout_ms
    )


def create(replicate=None, images=()):
    return (replicate or client()).create(prompt=PROMPT, images=images, webhook_url="https://recto.test/hook?job=1")


@pytest.fixture
def upstream():
    with responses.RequestsMock() as mock:
        yield mock


def test_a_prediction_is_asked_for_as_replicate_wants_it(upstream):
    upstream.post(CREATE, json=GOOD, status=201)
    assert create(images=["https://recto.test/1", "https://recto.test/2"]) == Prediction(GOOD["id"], "starting")
    (call,) = upstream.calls
    assert json.loads(call.request.body) == {
        "input": {
            "prompt": PROMPT,
            "output_format": "jpg",
            "image_input": ["https://recto.test/1", "https://recto.test/2"],
        },
        "webhook": "https://recto.test/hook?job=1",
        "webhook_events_filter": ["completed"],
    }
    assert call.request.headers["Authorization"] == f"Bearer {TOKEN}"


def test_without_files_no_input_names_any(upstream):
    upstream.post(CREATE, json=GOOD, status=201)
    create()
    assert "image_input" not in json.loads(upstream.calls[0].request.body)["input"]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"status": "processing"}, ("processing", (), None, False)),
        ({"status": "succeeded", "output": "https://a/b"}, ("succeeded", ("https://a/b",), None, True)),
        (
            {"status": "succeeded", "output": ["https://a/b", 1, "https://c"]},
            ("succeeded", ("https://a/b", "https://c"), None, True),
        ),
        ({"status": "succeeded", "output": {"x": 1}}, ("succeeded", (), None, True)),
        ({"status": "succeeded", "output": ["https://a"] * 99}, ("succeeded", ("https://a",) * 10, None, True)),
        ({"status": "failed", "error": "E005"}, ("failed", (), "E005", True)),
        ({"status": "failed", "error": {"x": 1}}, ("failed", (), None, True)),
        ({"status": "failed", "error": "x" * 5000}, ("failed", (), "x" * 1000, True)),
        ({"status": "canceled"}, ("canceled", (), None, True)),
        ({"status": "aborted"}, ("canceled", (), None, True)),
    ],
)
def test_what_a_prediction_says(told, expected):
    read = Prediction.read(json.dumps(GOOD | told).encode())
    assert (read.status, read.outputs, read.error, read.ended) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"[" * 100_000,
        json.dumps(GOOD | {"id": None}).encode(),
        json.dumps(GOOD | {"id": ""}).encode(),
        json.dumps(GOOD | {"id": "a/../b"}).encode(),
        json.dumps(GOOD | {"id": "x" * 101}).encode(),
        json.dumps(GOOD | {"status": "exploded"}).encode(),
        json.dumps(GOOD | {"status": ["succeeded"]}).encode(),
        b"\xff\xfe",
    ],
)
def test_what_is_no_prediction_is_refused(body, upstream):
    with pytest.raises(NotAPrediction):
        Prediction.read(body)
    upstream.post(CREATE, body=body, status=201)
    with pytest.raises(errors.UpstreamBrokenAnswer):
        create()


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (401, errors.UpstreamHTTPError, False),
        (402, errors.UpstreamHTTPError, False),
        (422, errors.UpstreamHTTPError, False),
        (429, errors.UpstreamRateLimited, True),
        (500, errors.UpstreamHTTPError, True),
        (302, errors.UpstreamHTTPError, False),
    ],
)
def test_an_error_is_translated_and_repeats_neither_key_nor_prompt(upstream, status, kind, retryable):
    body = {"title": "Insufficient credit", "detail": f"{TOKEN}: {PROMPT}", "status": status}
    upstream.post(CREATE, json=body, status=status, headers={"Retry-After": "30", "Location": f"{BASE}/elsewhere"})
    with pytest.raises(kind) as caught:
        create()
    error = caught.value
    assert (error.upstream_status, error.retryable, error.retry_after_s) == (status, retryable, 30)
    assert "Insufficient credit" in error.detail
    assert TOKEN not in error.detail
    assert "secret wish" not in error.detail
    assert len(upstream.calls) == 1  # a redirect is not followed


def test_an_error_that_is_not_json_is_one_all_the_same(upstream):
    upstream.post(CREATE, body=b"<html>Bad Gateway</html>", status=502)
    with pytest.raises(errors.UpstreamHTTPError) as caught:
        create()
    assert caught.value.detail == "HTTP 502"


def test_looking_up_and_canceling(upstream):
    upstream.get(f"{BASE}/v1/predictions/{GOOD['id']}", json=GOOD | {"status": "processing"})
    upstream.post(f"{BASE}/v1/predictions/{GOOD['id']}/cancel", json=GOOD | {"status": "canceled"})
    assert client().find(GOOD["id"]).status == "processing"
    assert client().cancel(GOOD["id"]).status == "canceled"


def test_an_id_cannot_lead_elsewhere(upstream):
    upstream.get(f"{BASE}/v1/predictions/..%2Faccount", json=GOOD)
    client().find("../account")


def test_a_provider_that_is_silent_or_away():
    with start() as sandbox:
        replicate = client(sandbox.replicate_url, timeout_ms=300)
        with pytest.raises(errors.UpstreamTimeout):
            replicate.create(prompt="[sandbox: silent]", images=(), webhook_url="http://127.0.0.1:9/")
        taken = client(sandbox.replicate_url).create(prompt="a fox", images=(), webhook_url="http://127.0.0.1:9/")
        assert until(lambda: client(sandbox.replicate_url).find(taken.id).status == "succeeded")
    with pytest.raises(errors.UpstreamConnectionError) as caught:
        create(client(sandbox.replicate_url))
    assert "127.0.0.1" not in caught.value.detail
