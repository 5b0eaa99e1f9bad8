"""Proposals as they are written: over real sockets, from a real gunicorn, with the sandbox's model behind it."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from uuid import uuid4

import pytest
import requests
from tests.conftest import until

from recto.api import event_streams
from recto.api.contract import Status
from recto.sandbox.server import start as start_sandbox

TEXT = "The Rosetta Stone is a slab of granodiorite that carries one decree in three scripts. " * 12 + (
    "It was found in 1799. The decree was issued in 196 BC. Jean-François Champollion read the hieroglyphs in 1822."
)


def post(service, text=TEXT, user=None, **headers):
    headers = {
        "Authorization": f"Bearer {service.token(user)}",
        "Accept": "text/event-stream",
        "Connection": "close",
    } | headers
    return requests.post(
        f"{service.url}/generations", json={"source_text": text}, headers=headers, stream=True, timeout=30
    )


def events(response):
    """Read the events of an answer: their names and data."""
    name = None
    for line in response.iter_lines(chunk_size=1, decode_unicode=True):
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def of(told, name):
    return [data for event, data in told if event == name]


def test_each_proposal_comes_as_in_json_and_then_what_it_took(service):
    user = uuid4()
    with post(service, user=user) as streamed:
        assert streamed.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert streamed.headers["X-Accel-Buffering"] == "no"
        told = list(events(streamed))
    whole = service.post(TEXT).json()
    assert of(told, "proposal") == whole["flashcards_proposals"]
    (done,) = of(told, "done")
    assert told[-1] == ("done", done)
    assert done | {"generation_id": 0} == {
        "generation_id": 0,
        "generated_count": whole["generated_count"],
        "dropped": whole["dropped"],
        "incomplete": None,
        "language": None,
    }
    headers = {"Authorization": f"Bearer {service.token(user)}"}
    record = requests.get(f"{service.url}/generations/{done['generation_id']}", headers=headers, timeout=30).json()
    assert record["generated_count"] == done["generated_count"]
    assert record["tokens_output"] > 0
    assert record["first_proposal_ms"] <= record["generation_duration"]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"Authorization": "Bearer none"}, 401, "unauthorized"),
        ({"text": "short"}, 400, "invalid_request"),
        ({"text": f"{TEXT}\n[sandbox: http-402]"}, 502, "upstream_refused"),
        ({"text": f"{TEXT}\n[sandbox: error-in-200]"}, 502, "upstream_rate_limited"),
        ({"text": f"{TEXT}\n[sandbox: refusal]"}, 502, "upstream_invalid_response"),
    ],
)
def test_what_goes_wrong_before_the_first_proposal_is_an_ordinary_answer(service, change, status, code):
    answer = post(service, **change)
    assert (answer.status_code, answer.json()["error"]) == (status, code)


@pytest.mark.parametrize(
    ("fault", "incomplete"),
    [
        ("error-after-cards", "upstream_error"),
        ("close-mid-body", "upstream_error"),
        ("stall", "upstream_timeout"),
        ("truncated", "max_tokens"),
    ],
)
def test_after_the_first_proposal_the_cards_stay(service, fault, incomplete):
    user = uuid4()
    with post(service, f"{TEXT}\n[sandbox: {fault}]", user) as streamed:
        told = list(events(streamed))
    assert of(told, "proposal")
    (done,) = of(told, "done")
    assert done["incomplete"] == incomplete
    assert done["generated_count"] == len(of(told, "proposal"))
    headers = {"Authorization": f"Bearer {service.token(user)}"}
    (record,) = requests.get(f"{service.url}/generations", headers=headers, timeout=30).json()["generations"]
    assert (record["generated_count"], record["incomplete"]) == (done["generated_count"], incomplete)


@pytest.mark.parametrize(
    "fault", ["torn-chunks", "comments", "crlf", "role-only", "usage-alone", "no-done", "no-usage"]
)
def test_a_stream_may_be_written_in_other_ways(service, fault):
    with post(service, f"{TEXT}\n[sandbox: {fault}]") as streamed:
        told = list(events(streamed))
    (done,) = of(told, "done")
    assert done["incomplete"] is None
    assert done["generated_count"] == len(of(told, "proposal")) > 0


def test_between_two_events_comments_keep_the_connection(client, monkeypatch):
    monkeypatch.setattr(event_streams, "COMMENT_EVERY_S", 0.01)
    more = Event()

    def work(emit, is_gone):
        emit("proposal", Status())
        assert more.wait(30)
        assert not is_gone()
        emit("done", Status())

    with client.app.test_request_context():
        sent = event_streams.run(work, finish=False)
    assert next(sent).startswith(b"event: proposal\n")
    assert next(sent).startswith(b": ")
    more.set()
    assert b"event: done\n" in b"".join(sent)


def test_a_key_replays_the_cards_in_the_form_that_is_asked_for(service):
    user, key = uuid4(), {"Idempotency-Key": uuid4().hex}
    with post(service, user=user, **key) as streamed:
        first = list(events(streamed))
    with post(service, user=user, **key) as replayed:
        assert replayed.headers["Idempotent-Replayed"] == "true"
        assert list(events(replayed)) == first
    whole = post(service, user=user, Accept="application/json", **key).json()
    assert whole["flashcards_proposals"] == of(first, "proposal")
    other = {"Idempotency-Key": uuid4().hex}
    whole = post(service, user=user, Accept="application/json", **other).json()
    with post(service, user=user, **other) as replayed:
        assert of(events(replayed), "proposal") == whole["flashcards_proposals"]


def leave_after_one_card(service, text, **more):
    streamed = post(service, text, **more)
    with closing(streamed):
        name, proposal = next(events(streamed))
        assert name == "proposal"
    streamed.raw._original_response.close()
    return proposal


def test_a_caller_who_goes_away_ends_the_call_and_the_row_tells_what_came(service, sandbox):
    user = uuid4()
    before = len(sandbox.generations.cancelled)
    leave_after_one_card(service, f"{TEXT}\n[sandbox: stall]", user=user)
    until(lambda: len(sandbox.generations.cancelled) > before)
    headers = {"Authorization": f"Bearer {service.token(user)}"}

    def records():
        return requests.get(f"{service.url}/generations", headers=headers, timeout=30).json()["generations"]

    (record,) = until(records)
    assert record["incomplete"] == "canceled"
    assert record["generated_count"] >= 1


def test_with_a_key_the_answer_of_a_caller_who_goes_away_is_finished(service):
    user, key = uuid4(), {"Idempotency-Key": uuid4().hex}
    leave_after_one_card(service, TEXT, user=user, **key)

    def replayed():
        answer = post(service, user=user, Accept="application/json", **key)
        return answer.json() if answer.status_code == 200 else None

    whole = until(replayed)
    assert whole["incomplete"] is None
    assert whole["generated_count"] > 1


def drain(start_service, streams):
    """Begin streams, stop the service when each has its first card, and return the rest of what each was told."""
    with start_sandbox(chunks_per_second=100) as paced, ThreadPoolExecutor(streams) as threads:
        # Two hundred streams of one Python process take most of half a minute on a slow machine.
        limits = {"RATE_LIMIT_PER_IP": "100000 per minute", "OPENROUTER_TIMEOUT_MS": "120000"}
        with start_service(OPENROUTER_BASE_URL=paced.base_url, WEB_CONCURRENCY="2", **limits) as running:
            begun = list(threads.map(lambda _: events(post(running)), range(streams)))
            assert [next(told)[0] for told in begun] == ["proposal"] * streams
            running.process.send_signal(signal.SIGTERM)
            rest = list(threads.map(list, begun))
            assert running.process.wait(150) == 0
    return rest


def test_a_stopping_service_ends_its_streams_whole(start_service):
    for told in drain(start_service, 5):
        assert told[-1][1]["incomplete"] is None


@pytest.mark.soak
def test_two_hundred_streams_end_whole_when_the_service_stops(start_service):
    assert [told[-1][1]["incomplete"] for told in drain(start_service, 200)] == [None] * 200
