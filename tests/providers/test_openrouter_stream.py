"""Streams of the provider: read like the answer in one piece, wherever they are torn and whatever goes wrong."""

import json
import zlib
from itertools import chain, pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recto.errors import Canceled, UpstreamBrokenAnswer, UpstreamError, UpstreamInvalidResponse
from recto.providers import deadline, openrouter_stream
from recto.providers.openrouter import Listener, OpenRouter


def chunk(content="", finish_reason=None, **more):
    choice = {"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"id": "gen-1", "model": "a/model", "choices": [choice]} | more).encode() + b"\n\n"


USAGE = {"prompt_tokens": 10, "completion_tokens": 3, "cost": 0.002}
BODY = b"".join(
    [
        b": OPENROUTER PROCESSING\n\n",
        chunk("Zażółć "),
        b": OPENROUTER PROCESSING\r\n\r\n",
        chunk("gęślą 🌊"),
        b"event: message\nretry: 10\n",
        chunk("!", "stop"),
        chunk(choices=[], usage=USAGE),
        b"data: [DONE]\n\n",
    ]
)


def read(pieces, **headers):
    """Read a stream that comes in these pieces: what was heard, and the answer."""
    coming = chain(pieces, [b""])
    response = SimpleNamespace(
        headers=headers, raw=SimpleNamespace(read1=lambda *_, **__: next(coming)), close=lambda: None
    )
    heard, answer = [], {}
    openrouter_stream.read(response, answer, heard.append)
    return heard, answer


@given(st.lists(st.integers(0, len(BODY)), max_size=20))
def test_where_a_stream_is_torn_changes_nothing(cuts):
    edges = [0, *sorted(cuts), len(BODY)]
    heard, answer = read([BODY[start:end] for start, end in pairwise(edges) if start < end])
    assert heard == ["Zażółć ", "gęślą 🌊", "!"]
    assert answer["choices"][0]["message"]["content"] == "Zażółć gęślą 🌊!"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert (answer["id"], answer["model"], answer["usage"]) == ("gen-1", "a/model", USAGE)


def test_a_stream_that_a_gateway_has_packed_is_unpacked():
    packed = zlib.compress(BODY)
    heard, _ = read([packed[:50], packed[50:]], **{"Content-Encoding": "deflate"})
    assert "".join(heard) == "Zażółć gęślą 🌊!"


def test_a_stream_that_unpacks_to_too_much_is_given_up():
    with pytest.raises(UpstreamInvalidResponse):
        read([zlib.compress(b": " + bytes(5_000_000))], **{"Content-Encoding": "gzip"})


def test_a_line_without_an_end_is_given_up():
    with pytest.raises(UpstreamInvalidResponse):
        read([b"data: " + bytes(60_000)] * 20)


@pytest.mark.parametrize("pieces", [[chunk("a")], [chunk("a"), b"data: [DONE]\n\n"], []])
def test_a_stream_that_ends_before_the_answer_is_broken(pieces):
    with pytest.raises(UpstreamBrokenAnswer):
        read(pieces)


def test_a_chunk_that_cannot_be_read_breaks_the_answer_rather_than_leave_a_gap():
    with pytest.raises(UpstreamBrokenAnswer):
        read([chunk("a"), b"data: {torn\n\n", chunk("b", "stop")])


def test_after_the_model_has_ended_only_the_usage_can_be_missing():
    def pieces():
        yield chunk("a", "stop")
        raise TimeoutError

    _, answer = read(pieces())
    assert answer["choices"][0]["message"]["content"] == "a"


def complete(sandbox, text, is_canceled=lambda: False, on_text=None, timeout_ms=5000):
    client = OpenRouter(
        deadline.session(), base_url=sandbox.base_url, api_key="key", timeout_ms=timeout_ms, max_tokens=4096
    )
    heard = []
    listener = Listener(on_text or heard.append, is_canceled)
    asked = {"model": "a/model", "system": "s", "user": f"<source_text>\n{text}\n</source_text>"}
    completion = client.complete(**asked, schema_name="flashcards", schema={}, listener=listener)
    return heard, completion


TEXT = "The Rosetta Stone is a slab of granodiorite that carries one decree in three scripts. " * 12


def test_a_streamed_completion_is_the_one_in_one_piece(sandbox):
    heard, completion = complete(sandbox, TEXT)
    assert len(heard) > 10
    assert "".join(heard) == completion.content
    assert completion.finish_reason == "stop"
    assert completion.calls[0].tokens_output > 0
    assert completion.calls[0].request_id


@pytest.mark.parametrize(
    ("fault", "log_code"),
    [
        ("error-after-cards", "upstream_http_error_502"),
        ("stall", "upstream_timeout"),
        ("close-mid-body", "upstream_connection_error"),
    ],
)
def test_a_stream_that_fails_tells_what_was_heard_and_is_not_asked_for_again(sandbox, fault, log_code):
    heard = []
    with pytest.raises(UpstreamError) as failed:
        complete(sandbox, f"{TEXT}\n[sandbox: {fault}]", on_text=heard.append, timeout_ms=1500)
    assert heard
    (call,) = failed.value.calls
    assert call.outcome == log_code
    assert call.request_id


def test_a_caller_who_goes_away_ends_the_call_at_the_provider(sandbox):
    gone = []
    with pytest.raises(Canceled) as failed:
        complete(sandbox, f"{TEXT}\n[sandbox: stall]", is_canceled=lambda: bool(gone), on_text=gone.append)
    (call,) = failed.value.calls
    assert call.outcome == "canceled"
