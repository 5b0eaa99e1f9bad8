"""The client against every form of answer: `responses` for what is in a body, the sandbox for what is on the wire."""

import gzip
import io
import json
import socket
import tracemalloc
import types
import zlib
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import requests
import responses
import urllib3
from responses import matchers

from recto import errors
from recto.calls import Call
from recto.providers import deadline, openrouter, transport
from recto.providers.openrouter import OpenRouter
from recto.providers.transport import MAX_RESPONSE_BYTES

BASE_URL = "https://openrouter.test/api/v1"
URL = f"{BASE_URL}/chat/completions"
KEY = "sk-or-v1-a-key-that-must-never-be-seen"
SYSTEM = "You write flashcards and follow the rules of this system prompt."
USER = "<source_text>\nThe mitochondrion is the powerhouse of the cell.\n</source_text>"
SCHEMA = {"type": "object"}
SCHEMA_ASKED = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "flashcards", "strict": True, "schema": SCHEMA}}
}


def client(base_url=BASE_URL, **changes):
    settings = {"base_url": base_url, "api_key": KEY, "timeout_ms": 2000, "max_tokens": 500} | changes
    return OpenRouter(deadline.session(), **settings)


def ask(provider=None, model="a/model"):
    provider = provider or client()
    return provider.complete(model=model, system=SYSTEM, user=USER, schema_name="flashcards", schema=SCHEMA)


def answer(content='{"flashcards": []}', finish_reason="stop", **changes):
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46, "cost": 0.00051}
    return {"id": "gen-1", "model": "the/one-that-answered", "choices": [choice], "usage": usage} | changes


@pytest.fixture
def clock(monkeypatch):
    """The client's clock, which pauses move and nothing else; ``pauses`` are those that there were, in seconds."""
    clock = types.SimpleNamespace(now=1000.0, pauses=[])

    def pause(seconds):
        clock.pauses.append(seconds)
        clock.now += seconds

    for module in (openrouter, transport):
        monkeypatch.setattr(module, "monotonic", lambda: clock.now)
    monkeypatch.setattr(openrouter, "sleep", pause)
    return clock


@pytest.fixture
def upstream(clock):
    """A provider whose answers a test queues."""
    with responses.RequestsMock(registry=responses.registries.OrderedRegistry) as mock:
        yield mock


def test_a_completion_is_read_whole(upstream):
    upstream.post(URL, json=answer("text"))
    completion = ask()
    assert completion.content == "text"
    assert completion.model == "the/one-that-answered"
    assert (completion.tokens_input, completion.tokens_output) == (12, 34)
    assert completion.cost_usd == Decimal("0.00051")


def test_the_request_is_the_documented_one(upstream):
    body = {
        "model": "a/model",
        "models": ["a/model", "b/model"],
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}],
        "max_tokens": 500,
    } | SCHEMA_ASKED
    upstream.post(
        URL,
        json=answer(),
        match=[
            matchers.json_params_matcher(body),
            matchers.header_matcher(
                {
                    "Authorization": f"Bearer {KEY}",
                    "Content-Type": "application/json",
                    "Accept-Encoding": "identity",
                    "X-OpenRouter-Title": "Recto",
                }
            ),
        ],
    )
    ask(client(fallback_models=("b/model",)))


def test_content_may_be_a_list_of_parts(upstream):
    upstream.post(URL, json=answer([{"type": "text", "text": "a"}, {"type": "image"}, None, {"text": "b"}]))
    assert ask().content == "ab"


@pytest.mark.parametrize("padding", [b" \n\n  ", b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n"])
def test_keep_alive_padding_before_the_answer_is_skipped(upstream, padding):
    upstream.post(URL, body=padding + b'{"choices": [{"message": {"content": "text"}}]}')
    assert ask().content == "text"


@pytest.mark.parametrize(
    "usage", [None, [], [7], "free", {"prompt_tokens": "many", "completion_tokens": -1, "cost": "free"}, {"cost": True}]
)
def test_odd_usage_is_no_usage(upstream, usage):
    upstream.post(URL, json=answer(usage=usage))
    completion = ask()
    assert (completion.tokens_input, completion.tokens_output, completion.cost_usd) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "known"), [("prompt_tokens", "tokens_input"), ("completion_tokens", "tokens_output"), ("cost", "cost_usd")]
)
def test_a_figure_is_believed_up_to_a_bound(upstream, name, known):
    bound, beyond = (1000.0, 1000.01) if name == "cost" else (10_000_000, 10_000_001)
    for value, believed in ((0, 0), (bound, bound), (beyond, None), (-1, None), (True, None)):
        upstream.post(URL, json=answer(usage={name: value}))
        assert getattr(ask(), known) == believed


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        (" GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
    ],
)
def test_an_answer_may_be_compressed_unasked(upstream, encoding, compress):
    body = compress(json.dumps(answer("text")).encode())
    upstream.post(URL, body=body, headers={"Content-Encoding": encoding})
    assert ask().content == "text"


@pytest.mark.parametrize("reason", ["stop\x00", "the model has read enough", "r" * 201, 7, {"a": 1}, None])
def test_a_finish_reason_is_a_name_or_none(upstream, reason):
    upstream.post(URL, json=answer("text", reason))
    assert ask().finish_reason is None
    upstream.post(URL, json=answer("text", "r" * 200))
    assert ask().finish_reason == "r" * 200


@pytest.mark.parametrize("model", [None, "", 7, "m" * 201, "a\x00b", "a model", ["a/model"]])
def test_an_odd_model_name_is_the_one_asked_for(upstream, model):
    upstream.post(URL, json=answer(model=model))
    assert ask().model == "a/model"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   \n ",
        b": OPENROUTER PROCESSING\n",
        b"<html>",
        b"[]",
        b"{",
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [7]}',
        b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": "  "}}]}',
        b'{"choices": [{"message": 7}]}',
        b'{"choices": [{"message": {"content": null, "refusal": "No."}}]}',
        b'{"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}',
        b"\xff\xfe",
    ],
)
def test_an_answer_without_a_text_is_an_invalid_response_and_asked_for_once(upstream, body):
    upstream.post(URL, body=body)
    with pytest.raises(errors.UpstreamInvalidResponse):
        ask()


@pytest.mark.parametrize(
    ("body", "log_code"),
    [
        ({"choices": None, "error": {"message": "Provider returned error", "code": 429}}, "upstream_rate_limited"),
        ({"error": {"message": "no", "code": "402"}}, "upstream_http_error_402"),
        ({"error": {"message": "no", "http_status": 403, "error_type": "x"}}, "upstream_http_error_403"),
        ({"error": {"metadata": {"error_type": "payment_required"}}}, "upstream_http_error_402"),
        ({"error": {"error_type": "authentication"}}, "upstream_http_error_401"),
        ({"error": {"error_type": "rate_limit_exceeded"}}, "upstream_rate_limited"),
        ({"error": {"error_type": "server"}}, "upstream_http_error_500"),
        ({"error": {"error_type": "provider_unavailable"}}, "upstream_http_error_502"),
        ({"error": {"error_type": "provider_overloaded"}}, "upstream_http_error_503"),
        ({"error": {"error_type": "timeout"}}, "upstream_http_error_504"),
        ({"error": {"error_type": "another"}}, "upstream_http_error_502"),
        ({"error": {"error_type": {"a": []}}}, "upstream_http_error_502"),
        ({"error": {"code": 399, "http_status": "399"}}, "upstream_http_error_502"),
        ({"error": {"code": 600, "http_status": "600"}}, "upstream_http_error_502"),
        ({"error": {"code": 599}}, "upstream_http_error_599"),
        ({"choices": [{"finish_reason": "error", "message": {"content": "x"}}]}, "upstream_http_error_502"),
        ({"error": "text"}, "upstream_http_error_502"),
        (answer("partial", "error", error=None), "upstream_http_error_502"),
        ({"choices": [{"error": {"code": 400}, "message": {"content": "x"}}]}, "upstream_http_error_400"),
    ],
)
def test_an_error_inside_a_200_is_that_error(upstream, body, log_code):
    retried = dict.fromkeys(["upstream_rate_limited", *(f"upstream_http_error_{n}" for n in (500, 502, 503, 504))], 2)
    for _ in range({**retried, "upstream_http_error_400": 3}.get(log_code, 1)):
        upstream.post(URL, json=body)
    with pytest.raises(errors.UpstreamError) as caught:
        ask()
    assert caught.value.log_code == log_code


@pytest.mark.parametrize("status", [401, 402, 403, 412, 413, 302])
def test_a_failure_that_would_come_again_is_not_retried(upstream, status):
    upstream.post(URL, status=status, json={"error": {"code": status, "message": "no"}}, headers={"Location": "/"})
    with pytest.raises(errors.UpstreamHTTPError) as caught:
        ask()
    assert caught.value.log_code == f"upstream_http_error_{status}"


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 524, 529])
def test_a_passing_failure_is_retried_once(upstream, status):
    upstream.post(URL, status=status, body="<html>")
    upstream.post(URL, json=answer("text"))
    assert ask().content == "text"


@pytest.mark.parametrize("nothing", [None, False, "", {}])
def test_an_error_that_is_nothing_is_none(upstream, nothing):
    upstream.post(URL, json=answer("text", error=nothing))
    assert ask().content == "text"


def test_a_good_answer_beside_an_error_is_a_failure(upstream):
    upstream.post(URL, json=answer("text", error={"code": 402}))
    with pytest.raises(errors.UpstreamHTTPError):
        ask()


def test_a_good_answer_under_an_error_status_is_a_failure(upstream):
    upstream.post(URL, status=402, json=answer("text"))
    with pytest.raises(errors.UpstreamHTTPError):
        ask()


def test_a_second_failure_is_final(upstream):
    upstream.post(URL, status=500)
    upstream.post(URL, status=503)
    with pytest.raises(errors.UpstreamHTTPError) as caught:
        ask()
    assert caught.value.upstream_status == 503


def test_a_retry_comes_after_a_third_of_a_second_more_or_less(anything, clock):
    anything.post(URL, status=500)
    for _ in range(20):
        with pytest.raises(errors.UpstreamHTTPError):
            ask()
    assert len(set(clock.pauses)) == 20
    assert all(0.15 <= pause <= 0.45 for pause in clock.pauses)


def test_a_retry_comes_when_the_provider_asks_for_it_if_that_is_soon(upstream, clock):
    for status, late_s in ((429, 3), (503, 30)):
        upstream.post(URL, status=status, headers={"Retry-After": str(late_s)})
        with pytest.raises(errors.UpstreamError) as caught:
            ask(client(timeout_ms=30_000))
        assert caught.value.retry_after_s == late_s
        upstream.post(URL, status=status, headers={"Retry-After": "2"})
        upstream.post(URL, json=answer("text"))
        assert ask(client(timeout_ms=30_000)).content == "text"
    assert clock.pauses == [2, 2]


@pytest.mark.parametrize("date", ["Fri, 31 Dec 2100 23:59:59 GMT", "Friday, 31-Dec-2100 23:59:59 +0000"])
def test_a_retry_after_may_be_a_date(upstream, monkeypatch, date):
    monkeypatch.setattr(transport, "time", lambda: datetime(2100, 12, 31, tzinfo=UTC).timestamp())
    upstream.post(URL, status=429, headers={"Retry-After": date})
    with pytest.raises(errors.UpstreamRateLimited) as caught:
        ask()
    assert caught.value.retry_after_s == 24 * 3600 - 1


@pytest.mark.parametrize("retry_after", ["Fri, 31 Dec 1999 23:59:59 GMT", "1.5", "-1", "soon", "9" * 10, ""])
def test_a_retry_after_that_means_nothing_is_none(upstream, clock, retry_after):
    upstream.post(URL, status=429, headers={"Retry-After": retry_after})
    upstream.post(URL, json=answer("text"))
    assert ask().content == "text"
    assert 0.15 <= clock.pauses[0] <= 0.45


class Slow(requests.adapters.BaseAdapter):
    """A provider that takes a while by the client's clock to fail; it notes how long it is given."""

    def __init__(self, clock, takes_s, *statuses):
        super().__init__()
        self.clock, self.takes_s, self.statuses, self.timeouts = clock, takes_s, iter(statuses), []

    def send(self, request, timeout, **kwargs):
        self.timeouts.append(timeout)
        self.clock.now += self.takes_s
        response = requests.Response()
        response.status_code = next(self.statuses)
        response.raw = io.BytesIO()
        response.raw.read = lambda size, **kwargs: b""
        return response

    def fails(self, timeout_ms):
        session = requests.Session()
        session.mount(BASE_URL, self)
        provider = OpenRouter(session, base_url=BASE_URL, api_key=KEY, timeout_ms=timeout_ms, max_tokens=500)
        with pytest.raises(errors.UpstreamHTTPError) as caught:
            ask(provider)
        assert {call.duration_ms for call in caught.value.calls} == {1000 * self.takes_s}
        return self.timeouts


@pytest.mark.parametrize(("takes_s", "calls"), [(1.5, 2), (1.9, 1)])
def test_no_retry_begins_when_half_of_the_time_is_gone(clock, takes_s, calls):
    assert len(Slow(clock, takes_s, 500, 500).fails(timeout_ms=4000)) == calls


def test_every_call_has_what_is_left_of_the_time_and_five_seconds_to_connect(clock):
    first, second = Slow(clock, 2, 500, 500).fails(timeout_ms=30_000)
    assert (first.total, first.connect_timeout) == (30, 5)
    assert (second.total, second.connect_timeout) == (pytest.approx(28 - clock.pauses[0]), 5)
    *_, late = Slow(clock, 2, 400, 400, 400).fails(timeout_ms=3000)
    assert late.total == late.connect_timeout == 0.001


class Model:
    """A provider that refuses some response formats, and remembers in which it was asked."""

    def __init__(self, upstream, *refused, status=400, message="no"):
        self.refused, self.status, self.message, self.asked = refused, status, message, []
        upstream.add_callback(responses.POST, URL, self.answer)

    def answer(self, request):
        form = json.loads(request.body).get("response_format", {}).get("type", "plain")
        self.asked.append(form)
        if form in self.refused:
            return self.status, {}, json.dumps({"error": {"message": self.message, "code": self.status}})
        return 200, {}, json.dumps(answer("text"))


@pytest.fixture
def anything(clock):
    """A provider that answers any number of calls."""
    with responses.RequestsMock() as mock:
        yield mock


@pytest.mark.parametrize("status", [400, 404, 415, 422])
def test_a_model_that_refuses_a_format_is_asked_in_simpler_ones_and_that_is_remembered(anything, status):
    model = Model(anything, "json_schema", "json_object", status=status)
    provider = client()
    assert ask(provider).content == "text"
    assert ask(provider).content == "text"
    assert model.asked == ["json_schema", "json_object", "plain", "plain"]


def test_what_one_model_refuses_is_asked_of_another(anything):
    model = Model(anything, "json_schema")
    provider = client()
    for name in ("a/model", "a/model", "another/model"):
        ask(provider, name)
    assert model.asked == ["json_schema", "json_object", "json_object", "json_schema", "json_object"]


def test_a_refusal_is_forgotten_after_ten_minutes(anything):
    now = 1000.0
    model = Model(anything, "json_schema")
    provider = client(clock=lambda: now)
    ask(provider)
    now += 599
    ask(provider)
    now += 1
    model.refused = ()
    ask(provider)
    ask(provider)
    assert model.asked == ["json_schema", "json_object", "json_object", "json_schema", "json_schema"]


def test_a_refusal_that_quotes_a_text_about_formats_changes_nothing_for_the_next_call(anything):
    quoted = "Flagged: 'response_format: json_schema is not supported, structured outputs neither'"
    model = Model(anything, "json_schema", "json_object", "plain", message=quoted)
    provider = client()
    with pytest.raises(errors.UpstreamHTTPError) as caught:
        ask(provider)
    assert caught.value.log_code == "upstream_http_error_400"
    model.refused = ()
    ask(provider)
    assert model.asked == ["json_schema", "json_object", "plain", "json_schema"]


def test_a_simpler_format_that_fails_in_another_way_proves_no_refusal(upstream):
    provider = client(quick_retry=False)
    upstream.post(URL, status=400)
    upstream.post(URL, status=503)
    with pytest.raises(errors.UpstreamHTTPError) as caught:
        ask(provider)
    assert caught.value.upstream_status == 503
    upstream.post(URL, json=answer(), match=[matchers.json_params_matcher(SCHEMA_ASKED, strict_match=False)])
    ask(provider)


def test_every_call_is_returned_in_order(upstream):
    upstream.post(URL, status=500, json={"id": "gen-1", "error": {}, "usage": {"prompt_tokens": 1, "cost": 0.5}})
    upstream.post(URL, status=400, headers={"X-Generation-Id": "gen-2"})
    upstream.post(URL, json=answer(id="gen-3"))
    completion = ask()
    assert [replace(call, duration_ms=0) for call in completion.calls] == [
        Call("a/model", "upstream_http_error_500", 0, 500, "gen-1", 1, None, Decimal("0.5")),
        Call("a/model", "upstream_http_error_400", 0, 400, "gen-2"),
        Call("the/one-that-answered", "succeeded", 0, 200, "gen-3", 12, 34, Decimal("0.00051")),
    ]
    assert all(0 <= call.duration_ms < 2000 for call in completion.calls)
    assert completion.model == "the/one-that-answered"
    assert completion.request_id == "gen-3"
    assert (completion.tokens_input, completion.tokens_output) == (13, 34)
    assert completion.cost_usd == Decimal("0.50051")


def test_a_failure_tells_of_the_calls_before_it(upstream):
    upstream.post(URL, status=503, json={"usage": {"completion_tokens": 3, "cost": 0.25}})
    upstream.post(URL, json=answer(""))
    with pytest.raises(errors.UpstreamInvalidResponse) as caught:
        ask()
    first, last = caught.value.calls
    assert (first.outcome, first.upstream_status) == ("upstream_http_error_503", 503)
    assert (last.outcome, last.upstream_status) == ("upstream_invalid_response", 200)
    assert (last.model, caught.value.model) == ("the/one-that-answered", "the/one-that-answered")
    assert (caught.value.tokens_input, caught.value.tokens_output) == (12, 37)
    assert caught.value.cost_usd == Decimal("0.25051")


def test_a_call_that_reached_nobody_is_one_too():
    with pytest.raises(errors.UpstreamConnectionError) as caught:
        ask(client("http://127.0.0.1:9", quick_retry=False))
    (call,) = caught.value.calls
    assert replace(call, duration_ms=0) == Call("a/model", "upstream_connection_error", 0)
    assert caught.value.cost_usd is None


@pytest.mark.parametrize(
    "message",
    [
        f"Incorrect API key provided: {KEY}",
        "The prompt 'the mitochondrion is the POWERHOUSE of the cell' was flagged",
        "You write flashcards and follow the rules",
        "".join(f"\\u{ord(character):04x}" for character in USER),
    ],
)
def test_what_repeats_the_request_or_the_key_is_withheld(upstream, message):
    metadata = {"provider_name": "SomeProvider", "flagged_input": USER, "raw": USER}
    upstream.post(URL, status=403, json={"error": {"code": 403, "message": message, "metadata": metadata}})
    with pytest.raises(errors.UpstreamHTTPError) as caught:
        ask()
    assert caught.value.detail.startswith("HTTP 403: SomeProvider: (the rest is withheld")


@pytest.mark.parametrize(("shared", "withheld"), [("mitochondri", False), ("mitochondrio", True)])
def test_twelve_characters_of_the_request_in_a_row_are_a_repetition(upstream, shared, withheld):
    upstream.post(URL, status=403, json={"error": {"message": f"No:{shared.upper()}"}})
    with pytest.raises(errors.UpstreamHTTPError) as caught:
        ask()
    assert ("withheld" in caught.value.detail) is withheld


def test_a_shorter_key_is_no_message_either(upstream):
    upstream.post(URL, status=401, json={"error": {"message": "sk-7"}})
    with pytest.raises(errors.UpstreamHTTPError) as caught:
        ask(client(api_key="sk-7"))
    assert "sk-7" not in caught.value.detail


def test_white_space_makes_no_repetition_another_text(upstream):
    upstream.post(URL, status=403, json={"error": {"message": "powerhouse\nof  the\tcell"}})
    with pytest.raises(errors.UpstreamHTTPError) as caught:
        ask()
    assert "withheld" in caught.value.detail


def test_an_operator_can_read_why(upstream):
    error = {"code": 402, "message": "Insufficient\x00credits\n", "metadata": {"error_type": "payment_required"}}
    upstream.post(URL, status=402, json={"error": error})
    with pytest.raises(errors.UpstreamHTTPError) as caught:
        ask()
    assert caught.value.detail == "HTTP 402: payment_required: Insufficient credits "


def test_a_long_message_is_cut(upstream):
    upstream.post(URL, status=402, json={"error": {"message": "x y " * 1000}})
    with pytest.raises(errors.UpstreamHTTPError) as caught:
        ask()
    assert len(caught.value.detail) == 1000


@pytest.mark.parametrize("fault", ["timeout", "drip", "drip-headers", "keep-alive"])
def test_a_provider_that_does_not_come_to_an_end_is_a_timeout(sandbox, fault):
    with pytest.raises(errors.UpstreamTimeout) as caught:
        ask(client(sandbox.base_url, timeout_ms=600), f"sandbox/{fault}")
    assert "127.0.0.1" not in caught.value.detail


@pytest.mark.parametrize("fault", ["reset", "reset-mid-body", "close"])
def test_a_broken_connection_is_a_connection_error(sandbox, fault):
    with pytest.raises(errors.UpstreamConnectionError):
        ask(client(sandbox.base_url), f"sandbox/{fault}")


class Adapter(requests.adapters.BaseAdapter):
    """Fails each call in the way that a test wants, and counts them."""

    def __init__(self, fail):
        super().__init__()
        self.fail, self.calls = fail, 0

    def send(self, request, **kwargs):
        self.calls += 1
        return self.fail()


def counted(fail, **changes):
    """A provider whose every call ends as ``fail`` says, and the adapter that counts them."""
    adapter = Adapter(fail)
    session = requests.Session()
    session.mount(BASE_URL, adapter)
    settings = {"base_url": BASE_URL, "api_key": KEY, "timeout_ms": 2000, "max_tokens": 500} | changes
    return OpenRouter(session, **settings), adapter


@pytest.mark.parametrize(("while_reading", "calls"), [(False, 2), (True, 1)])
def test_a_broken_connection_is_tried_again_unless_the_answer_had_begun(clock, while_reading, calls):
    def fail():
        if not while_reading:
            raise requests.ConnectionError
        response = requests.Response()
        response.status_code = 200
        response.raw = types.SimpleNamespace(read=broken)
        return response

    def broken(*args, **kwargs):
        raise urllib3.exceptions.ProtocolError

    provider, adapter = counted(fail)
    with pytest.raises(errors.UpstreamConnectionError):
        ask(provider)
    assert adapter.calls == calls


def test_an_answer_of_one_mebibyte_is_read(upstream):
    body = json.dumps(answer("text")).encode().rjust(1024 * 1024)
    upstream.post(URL, body=body)
    assert ask().content == "text"
    upstream.post(URL, body=body + b" ")
    with pytest.raises(errors.UpstreamInvalidResponse):
        ask()


@pytest.mark.parametrize(
    ("status", "make_body", "headers"),
    [
        (200, lambda: gzip.compress(b" " * 64 * 1024 * 1024, 1), {"Content-Encoding": "gzip"}),
        (402, lambda: json.dumps({"error": {"message": "More text. " * 90_000}}).encode(), {}),
    ],
    ids=["64 KiB that unpack to 64 MiB", "an error message of 1 MB"],
)
def test_an_answer_takes_a_few_times_its_own_room_at_most(upstream, status, make_body, headers):
    upstream.post(URL, status=status, body=make_body(), headers=headers)
    tracemalloc.start()
    try:
        with pytest.raises(errors.UpstreamError):
            ask()
        assert tracemalloc.get_traced_memory()[1] < 10 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("fault", ["endless", "oversize"])
def test_too_large_an_answer_is_not_read_whole(sandbox, fault):
    with pytest.raises(errors.UpstreamInvalidResponse) as caught:
        ask(client(sandbox.base_url), f"sandbox/{fault}")
    assert caught.value.detail == f"the answer is larger than {MAX_RESPONSE_BYTES} bytes"


def test_an_address_that_does_not_take_connections_is_given_up_early(monkeypatch):
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(3):
            conn = waiting.enter_context(socket.socket())
            conn.setblocking(False)
            conn.connect_ex(full.getsockname())
        with pytest.raises(errors.UpstreamConnectionError) as caught:
            ask(client(f"http://127.0.0.1:{full.getsockname()[1]}"))
    assert caught.value.detail == "no connection in time"


def test_nobody_there_is_a_connection_error():
    with pytest.raises(errors.UpstreamConnectionError) as caught:
        ask(client("http://127.0.0.1:9"))
    assert caught.value.detail == "the connection failed (ConnectionError)"


@pytest.mark.parametrize(("takes_s", "failure"), [(1, errors.UpstreamConnectionError), (2, errors.UpstreamTimeout)])
def test_whatever_fails_once_the_time_is_over_is_a_timeout(clock, takes_s, failure):
    def fail():
        clock.now += takes_s
        raise requests.ConnectionError

    with pytest.raises(errors.UpstreamError) as caught:
        ask(counted(fail, timeout_ms=2000, quick_retry=False)[0])
    assert type(caught.value) is failure


@pytest.mark.parametrize(
    ("body_id", "header", "request_id"),
    [
        ("gen-1", "gen-2", "gen-1"),
        (None, "gen-2", "gen-2"),
        (7, "gen-2", "gen-2"),
        ("a\x00b", "gen-2", "gen-2"),
        ("g" * 201, None, None),
        ("", "g" * 201, None),
    ],
)
@pytest.mark.parametrize("status", [200, 402])
def test_a_call_has_the_providers_name_if_it_is_a_fit_one(upstream, status, body_id, header, request_id):
    headers = {"X-Generation-Id": header} if header else {}
    if status == 200:
        upstream.post(URL, json=answer("text", id=body_id), headers=headers)
        assert ask().request_id == request_id
    else:
        upstream.post(URL, status=402, json={"id": body_id, "error": {"message": "no"}}, headers=headers)
        with pytest.raises(errors.UpstreamHTTPError) as caught:
            ask()
        assert caught.value.request_id == request_id


@pytest.mark.parametrize(
    ("status", "body", "failure", "upstream_status"),
    [
        (429, b"", errors.UpstreamRateLimited, 429),
        (200, b'{"error": {"code": 429}}', errors.UpstreamRateLimited, 429),
        (500, b"<html>", errors.UpstreamHTTPError, 500),
        (200, b"<html>", errors.UpstreamInvalidResponse, 200),
        (200, b'{"choices": [{"message": {"content": ""}}]}', errors.UpstreamInvalidResponse, 200),
        (200, b" " * (MAX_RESPONSE_BYTES + 1), errors.UpstreamInvalidResponse, 200),
        (200, urllib3.exceptions.ProtocolError(), errors.UpstreamBrokenAnswer, 200),
        (200, urllib3.exceptions.ReadTimeoutError(None, "", ""), errors.UpstreamTimeout, 200),
    ],
)
def test_a_failure_after_the_answers_head_names_status_and_call(status, body, failure, upstream_status):
    def read(size, **kwargs):
        if isinstance(body, Exception):
            raise body
        return sent.read(size)

    sent = io.BytesIO(b"" if isinstance(body, Exception) else body)
    response = requests.Response()
    response.status_code = status
    response.headers["X-Generation-Id"] = "gen-2"
    response.raw = types.SimpleNamespace(read=read, close=lambda: None, release_conn=lambda: None)
    with pytest.raises(errors.UpstreamError) as caught:
        ask(counted(lambda: response, quick_retry=False)[0])
    assert type(caught.value) is failure
    assert (caught.value.upstream_status, caught.value.request_id) == (upstream_status, "gen-2")


def test_a_failure_without_an_answer_names_neither():
    with pytest.raises(errors.UpstreamConnectionError) as caught:
        ask(client("http://127.0.0.1:9", quick_retry=False))
    assert (caught.value.upstream_status, caught.value.request_id) == (None, None)


def test_without_a_quick_retry_the_first_failure_is_final(upstream):
    upstream.post(URL, status=500)
    with pytest.raises(errors.UpstreamHTTPError):
        ask(client(quick_retry=False))


def test_without_a_quick_retry_simpler_formats_are_still_tried(upstream):
    upstream.post(URL, status=400, json={"error": {"message": "no json_schema here"}})
    upstream.post(URL, json=answer("text"))
    assert ask(client(quick_retry=False)).content == "text"
