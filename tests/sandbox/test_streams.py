"""The sandbox's streams, their faults, and what it remembers of its completions, over real sockets."""

import http.client
import json
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from tests.conftest import until

from recto.sandbox import chat, generations
from recto.sandbox.faults import FAULTS
from recto.sandbox.scripts import End
from recto.sandbox.server import start
from recto.sandbox.spoilt import SPOILT
from recto.sandbox.streams import HIDDEN_LOOKS

TEXT = (
    "François Arago was a physicist who was born in Estagel. The steam engine is a machine that turns heat into "
    "motion. In 1765, Watt thought of a separate condenser. Horsepower is a unit that Watt invented."
)
COMMENT = ": OPENROUTER PROCESSING"
COMPLETIONS = "/api/v1/chat/completions"


@pytest.fixture(scope="module")
def sandbox():
    """A sandbox without pauses, whose tokens cost something."""
    with start(chunks_per_second=0, usd_per_token=0.001) as server:
        yield server


@pytest.fixture
def slow_sandbox():
    with start(chunks_per_second=2, usd_per_token=0.001) as server:
        yield server


@contextmanager
def asked(sandbox, model="some/model", method="POST", path=COMPLETIONS, **more):
    """The open answer to one call."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": TEXT}], **more})
    connection = http.client.HTTPConnection(urlsplit(sandbox.base_url).netloc, timeout=30)
    try:
        connection.request(method, path, body if method == "POST" else None, {"Authorization": "Bearer key"})
        yield connection.getresponse()
    finally:
        connection.close()


def streamed(sandbox, fault="extractive", **more):
    """The lines of a whole stream."""
    with asked(sandbox, f"sandbox/{fault}", stream=True, **more) as response:
        assert (response.status, response.getheader("Content-Type")) == (200, "text/event-stream")
        return response.read().decode().split("\n")


def chunks(lines):
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


def written(lines):
    """The content of a stream's chunks, put together."""
    return "".join(choice["delta"].get("content", "") for chunk in chunks(lines) for choice in chunk["choices"])


def answered(sandbox, fault="extractive", **more):
    with asked(sandbox, f"sandbox/{fault}", **more) as response:
        assert (response.status, response.getheader("Content-Type")) == (200, "application/json")
        return json.loads(response.read())


def told(sandbox, generation_id):
    """What GET /generation answers: (status, body)."""
    with asked(sandbox, method="GET", path=f"/api/v1/generation?id={generation_id}") as response:
        return response.status, json.loads(response.read())


# --- the protocol


def test_a_stream_says_what_the_answer_says_in_chunks(sandbox):
    answer = answered(sandbox)
    lines = streamed(sandbox)
    assert lines[0] == COMMENT
    assert lines.count(COMMENT) > 1
    assert lines[-3:] == ["data: [DONE]", "", ""]
    *pieces, last, usage = chunks(lines)
    assert written(lines) == answer["choices"][0]["message"]["content"]
    for chunk in (*pieces, last, usage):
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["id"] == last["id"] != answer["id"]
        assert {name: chunk[name] for name in ("model", "provider")} == {
            name: answer[name] for name in ("model", "provider")
        }
        assert chunk["created"] >= answer["created"] > 1_700_000_000
    assert all(piece["choices"][0]["finish_reason"] is None for piece in pieces)
    assert all(len(piece["choices"][0]["delta"]["content"]) <= 4 for piece in pieces)
    assert [chunk["choices"][0]["finish_reason"] for chunk in (last, usage)] == ["stop", "stop"]
    assert "usage" not in last
    assert usage["usage"] == answer["usage"]
    assert usage["usage"]["cost"] == pytest.approx(usage["usage"]["total_tokens"] * 0.001)


def test_the_generations_id_comes_before_the_first_chunk(slow_sandbox):
    with asked(slow_sandbox, stream=True) as response:
        assert response.getheader("X-Generation-Id").startswith("gen-")
        assert response.readline().decode().strip() == COMMENT


def test_a_connection_serves_other_calls_after_a_stream(sandbox):
    connection = http.client.HTTPConnection(urlsplit(sandbox.base_url).netloc, timeout=30)
    body = json.dumps({"messages": [{"role": "user", "content": TEXT}], "stream": True})
    for _ in range(2):
        connection.request("POST", COMPLETIONS, body, {"Authorization": "Bearer key"})
        assert connection.getresponse().read().endswith(b"data: [DONE]\n\n")
    connection.close()


@pytest.mark.parametrize("fault", ["http-429", "error-html", "no-schema"])
def test_a_failure_before_the_first_token_is_an_ordinary_answer(sandbox, fault):
    body = {"stream": True, "response_format": {"type": "json_schema"}}
    with asked(sandbox, f"sandbox/{fault}", **body) as response:
        assert response.status in (400, 429, 502)
        assert response.getheader("Content-Type") != "text/event-stream"


@pytest.mark.parametrize("spoilt", SPOILT, ids=lambda fault: fault.__name__)
def test_what_a_model_spoils_is_spoilt_in_a_stream_too(sandbox, spoilt):
    name = spoilt.__name__.replace("_", "-")
    [choice] = answered(sandbox, name)["choices"]
    content, refusal = choice["message"]["content"], choice["message"]["refusal"]
    lines = streamed(sandbox, name)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(lines)]
    if isinstance(content, list):
        assert [part for delta in deltas for part in delta["content"]] == content
    else:
        assert written(lines) == (content or "")
    assert [delta["refusal"] for delta in deltas if "refusal" in delta] == ([refusal] if refusal else [])
    assert chunks(lines)[-1]["choices"][0]["finish_reason"] == choice["finish_reason"]


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_can_be_asked_of_a_stream(name):
    body = {"model": f"sandbox/{name}", "messages": [{"role": "user", "content": TEXT}], "stream": True}
    outcome = FAULTS[name].play(chat.parse(json.dumps(body).encode()), set())
    assert isinstance(outcome, chat.Reply) or isinstance(next(outcome), bytes | float | End)


@pytest.mark.parametrize("bound", [{"max_tokens": 20}, {"max_completion_tokens": 20}, {"max_tokens": 20, "n": 1}])
def test_an_answer_keeps_to_the_tokens_that_it_may_have(sandbox, bound):
    answer = answered(sandbox, **bound)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 20
    content = answer["choices"][0]["message"]["content"]
    assert answered(sandbox)["choices"][0]["message"]["content"].startswith(content)
    lines = streamed(sandbox, **bound)
    assert written(lines) == content
    assert chunks(lines)[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("max_tokens", [0, -1, "20", 1.5])
def test_a_bound_that_is_none_is_refused(sandbox, max_tokens):
    with asked(sandbox, max_tokens=max_tokens) as response:
        assert response.status == 400


# --- pace, and callers who leave


def test_others_are_served_between_two_chunks_and_who_leaves_ends_the_work(slow_sandbox):
    with asked(slow_sandbox, stream=True) as response:
        generation = slow_sandbox.generations.find(response.getheader("X-Generation-Id"))
        while not response.readline().startswith(b"data: "):
            assert not generation.ended
        answer = answered(slow_sandbox)
        assert told(slow_sandbox, answer["id"])[0] == 200
        assert told(slow_sandbox, generation.id)[0] == 404  # it has not ended
        assert not slow_sandbox.generations.cancelled
    until(lambda: generation.ended)
    assert slow_sandbox.generations.cancelled == [generation]
    assert 1 <= generation.chunks < answer["usage"]["completion_tokens"]

    status, body = told(slow_sandbox, generation.id)
    assert (status, body["data"]["cancelled"], body["data"]["streamed"]) == (200, True, True)
    assert body["data"]["tokens_completion"] == generation.chunks
    paid_for = body["data"]["tokens_prompt"] + generation.chunks
    assert body["data"]["total_cost"] == pytest.approx(paid_for * 0.001)


# --- what is remembered


@pytest.mark.parametrize("stream", [False, True])
def test_a_generation_is_told_as_soon_as_it_has_ended(sandbox, stream):
    with asked(sandbox, stream=stream) as response:
        generation_id = response.getheader("X-Generation-Id")
        while (line := response.readline()) and line != b"data: [DONE]\n":
            pass
        status, body = told(sandbox, generation_id)
    usage = answered(sandbox)["usage"]
    assert status == 200
    assert (
        body["data"].items()
        >= {
            "id": generation_id,
            "model": "some/model",
            "streamed": stream,
            "cancelled": False,
            "finish_reason": "stop",
            "tokens_prompt": usage["prompt_tokens"],
            "tokens_completion": usage["completion_tokens"],
            "total_cost": usage["cost"],
        }.items()
    )


def test_what_was_never_answered_is_not_told(sandbox):
    assert told(sandbox, "gen-of-nobody")[0] == 404
    assert told(sandbox, "")[0] == 404
    with asked(sandbox, "sandbox/keep-alive", stream=True) as response:
        assert response.readline().decode().strip() == COMMENT
        generation = sandbox.generations.find(response.getheader("X-Generation-Id"))
    until(lambda: generation.ended)
    assert told(sandbox, generation.id)[0] == 404


def test_an_answer_that_ends_with_an_error_is_free(sandbox):
    answer = answered(sandbox, "error-after-cards")
    assert answer["usage"]["cost"] == 0
    assert told(sandbox, answer["id"])[1]["data"]["total_cost"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_generation_can_be_told_later(sandbox, stream):
    with asked(sandbox, "sandbox/late-generation", stream=stream) as response:
        generation_id = response.getheader("X-Generation-Id")
        response.read()
    assert [told(sandbox, generation_id)[0] for _ in range(HIDDEN_LOOKS + 2)] == [404] * HIDDEN_LOOKS + [200, 200]
    assert sandbox.generations.find(generation_id).looks == HIDDEN_LOOKS + 2


def test_only_the_last_generations_are_remembered(monkeypatch):
    monkeypatch.setattr(generations, "_MOST_KEPT", 2)
    kept = generations.Generations()
    for name in "abc":
        kept.keep(generations.Generation(name, "some/model", "Sandbox", False, 1, 0.0))
    assert [bool(kept.find(name)) for name in "abc"] == [False, True, True]


# --- faults of streams


def test_torn_chunks_are_the_same_stream_cut_in_bad_places(sandbox):
    pieces = []
    with asked(sandbox, "sandbox/torn-chunks", stream=True) as response:
        while piece := response.read1():
            pieces.append(piece)
    assert b"da" in pieces
    assert any(piece.endswith(b"\xc3") for piece in pieces)  # the first half of an "é" or "ç"
    assert b"\n" in pieces
    assert written(b"".join(pieces).decode().split("\n")) == written(streamed(sandbox))


def test_an_error_comes_after_whole_cards_and_ends_the_stream(sandbox):
    lines = streamed(sandbox, "error-after-cards")
    assert written(lines).count("}") == 2
    error = chunks(lines)[-1]
    assert (error["error"]["code"], error["choices"][0]["finish_reason"]) == (502, "error")
    assert error["choices"][0]["delta"]["content"] == ""
    assert "data: [DONE]" not in lines
    [choice] = answered(sandbox, "error-after-cards")["choices"]
    assert (choice["error"], choice["message"]["content"]) == (error["error"], written(lines))


@pytest.mark.parametrize("fault", ["error-in-200", "absurd-code"])
def test_an_error_can_be_a_streams_only_event(sandbox, fault):
    [error] = chunks(streamed(sandbox, fault))
    assert error["error"]["code"]
    assert error["choices"][0]["finish_reason"] == "error"


def test_a_stall_sends_nothing_after_its_middle_until_the_client_leaves(sandbox):
    with asked(sandbox, "sandbox/stall", stream=True) as response:
        generation = sandbox.generations.find(response.getheader("X-Generation-Id"))
        middle = generation.tokens_completion // 2
        until(lambda: generation.chunks >= middle - 2)
        assert answered(sandbox)["choices"]
        assert generation.ended is None
    until(lambda: generation.cancelled)
    assert generation.chunks <= middle + 2


def test_a_connection_can_end_inside_an_event(sandbox):
    with (
        asked(sandbox, "sandbox/close-mid-body", stream=True) as response,
        pytest.raises(http.client.IncompleteRead) as broken,
    ):
        response.read()
    events = broken.value.partial.split(b"\n\n")
    assert events[-1].startswith(b"data: {")
    assert 10 < len(events) < len(chunks(streamed(sandbox))) - 10


def test_a_connection_can_be_reset_in_the_middle(sandbox):
    with asked(sandbox, "sandbox/reset-mid-body", stream=True) as response, pytest.raises(ConnectionResetError):
        response.read()


def test_usage_and_done_can_be_missing(sandbox):
    lines = streamed(sandbox, "no-usage")
    assert not any("usage" in chunk for chunk in chunks(lines))
    assert "data: [DONE]" in lines
    assert answered(sandbox, "no-usage")["usage"] is None
    lines = streamed(sandbox, "no-done")
    assert chunks(lines)[-1]["usage"]
    assert "data: [DONE]" not in lines


def test_the_role_can_come_alone(sandbox):
    lines = streamed(sandbox, "role-only")
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(lines)]
    assert deltas[0] == {"role": "assistant"}
    assert all(delta.keys() == {"content"} for delta in deltas[1:])
    assert written(lines) == written(streamed(sandbox))


def test_the_usage_can_come_without_a_choice(sandbox):
    lines = streamed(sandbox, "usage-alone")
    assert [chunk["choices"] for chunk in chunks(lines) if "usage" in chunk] == [[]]
    assert written(lines) == written(streamed(sandbox))


def test_comments_can_come_everywhere(sandbox):
    lines = streamed(sandbox, "comments")
    assert lines.count(COMMENT) > len(chunks(lines))
    assert all(lines[number - 1].startswith(":") for number, line in enumerate(lines) if line.startswith("data: "))
    assert written(lines) == written(streamed(sandbox))


def test_lines_can_end_with_crlf(sandbox):
    lines = streamed(sandbox, "crlf")
    assert all(line.endswith("\r") for line in lines[:-1])
    assert written(lines) == written(streamed(sandbox))


def test_without_stream_these_faults_answer_well(sandbox):
    good = answered(sandbox)["choices"]
    for fault in ("torn-chunks", "no-done", "role-only", "usage-alone", "comments", "crlf"):
        assert answered(sandbox, fault)["choices"] == good
