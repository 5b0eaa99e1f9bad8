"""Every failure of a provider that the sandbox plays, by name.

A fault turns a call into a whole ``Reply`` or into a ``Script``.
"""

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from recto.sandbox.chat import MODEL, PROVIDER, Call, Reply, content_of, error
from recto.sandbox.hostile import HOSTILE
from recto.sandbox.scripts import CHUNKED, End, Script, chunk, flood
from recto.sandbox.spoilt import SPOILT
from recto.sandbox.streams import STREAMED, half

DRIP_S = 0.5
OVERSIZE_BYTES = 2 * 1024 * 1024


class Fault(NamedTuple):
    """``play`` gets the call and the server's memory of the calls that it failed once."""

    description: str
    play: Callable[[Call, set[str]], Reply | Script]


FAULTS: dict[str, Fault] = {}


def _fault(function: Callable[[Call], Reply | Script]) -> None:
    """Enter a function under its name; its docstring is the description."""
    name = function.__name__.strip("_").replace("_", "-")
    FAULTS[name] = Fault(function.__doc__ or "", lambda call, _: function(call))


def _dripped(data: bytes) -> Script:
    for byte in data:
        yield bytes([byte])
        yield DRIP_S


# --- silence, drips and bodies without end


@_fault
def timeout(_: Call) -> Script:
    """Accepts the request and never answers."""
    yield math.inf


@_fault
def drip(call: Call) -> Script:
    """Sends good headers, then one byte of the body every half second."""
    reply = call.answer()
    yield reply.head()
    yield from _dripped(reply.body)


@_fault
def drip_headers(call: Call) -> Script:
    """Sends one byte of the headers every half second."""
    reply = call.answer()
    yield from _dripped(reply.head() + reply.body)


@_fault
def keep_alive(call: Call) -> Script:
    """Sends white space, or a stream's comments, every half second and never an answer."""
    yield call.good().head(CHUNKED)
    while True:
        yield chunk(call.padding)
        yield DRIP_S


@_fault
def keep_alive_then_ok(call: Call) -> Script:
    """Sends white space, or a stream's comments, for a second, then a good answer."""
    reply = call.answer()
    yield reply.head(CHUNKED)
    for _ in range(4):
        yield chunk(call.padding)
        yield DRIP_S / 2
    yield chunk(reply.body) + chunk(b"")


@_fault
def endless(call: Call) -> Script:
    """Sends a body that never ends, as fast as it is read."""
    yield call.good().head(CHUNKED)
    yield from flood(chunk(b" " * 65500))


@_fault
def oversize(call: Call) -> Reply:
    """Announces and sends a body of 2 MiB."""
    return call.good(b" " * OVERSIZE_BYTES)


@_fault
def slow(call: Call) -> Script:
    """Sends a good answer after two seconds."""
    yield 2.0
    reply = call.answer()
    yield reply.head() + reply.body


@_fault
def reset(_: Call) -> Script:
    """Resets the connection in place of an answer."""
    yield End.RESET


@_fault
def reset_mid_body(call: Call) -> Script:
    """Resets the connection after half of the body."""
    yield from half(call)
    yield End.RESET


@_fault
def close_mid_body(call: Call) -> Script:
    """Closes the connection after half of the body."""
    yield from half(call)
    yield End.CLOSE


@_fault
def close(_: Call) -> Script:
    """Closes the connection without a byte."""
    yield End.CLOSE


# --- errors that say so

_FLAGGED: dict[str, Any] = {
    "model_slug": MODEL,
    "reasons": ["sandbox"],
    "flagged_input": "the first words of the text …",
    "provider_name": PROVIDER,
}
_HTTP_ERRORS: tuple[Reply, ...] = (
    error(400, "invalid_request", "The sandbox was asked to find this request invalid."),
    error(401, "authentication", "No auth credentials found"),
    error(402, "payment_required", "Insufficient credits. Add more using https://openrouter.ai/credits"),
    error(403, "content_policy_violation", "Your input was flagged by moderation", **_FLAGGED),
    error(404, "not_found", "No endpoints found that can handle the requested parameters."),
    error(408, "timeout", "The request timed out."),
    error(429, "rate_limit_exceeded", "Rate limit exceeded", {"Retry-After": "30"}),
    error(500, "server", "Internal Server Error"),
    error(502, "provider_unavailable", "Provider returned error", provider_name=PROVIDER),
    error(
        503,
        "provider_overloaded",
        "The provider is overloaded.",
        {"Retry-After": "5"},
        provider_name=PROVIDER,
    ),
    error(504, "timeout", "The provider did not answer in time.", provider_name=PROVIDER),
    error(529, "provider_overloaded", "Provider overloaded", provider_name=PROVIDER),
)
for _reply in _HTTP_ERRORS:
    _message = json.loads(_reply.body)["error"]["message"]
    _description = f"Answers {_reply.status}: {_message.rstrip('.')}."
    FAULTS[f"http-{_reply.status}"] = Fault(_description, lambda *_, reply=_reply: reply)


@_fault
def error_in_200(call: Call) -> Reply:
    """Answers 200 with a rate limit's error in place of choices, or as a stream's only event."""
    raw = {"raw": "upstream is busy", "provider_name": PROVIDER}
    failure = {"message": "Provider returned error", "code": 429, "metadata": raw}
    return call.failure(failure, choices=None, user_id="user_sandbox")


@_fault
def error_in_choice(call: Call) -> Reply:
    """Answers 200 with the beginning of a good answer and a 502 inside the choice, or in a stream's last event."""
    failure = {"code": 502, "message": "Upstream provider disconnected mid-response"}
    return call.completion(content_of(call.cards())[:60], "error", error=failure)


@_fault
def error_html(_: Call) -> Reply:
    """Answers 502 with a proxy's HTML page."""
    page = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
    return Reply(502, page, {"Content-Type": "text/html"})


def _flaky(call: Call, failed: set[str]) -> Reply:
    if call.digest in failed:
        failed.discard(call.digest)
        return call.answer()
    failed.add(call.digest)
    return error(500, "server", "Internal Server Error")


FAULTS["flaky"] = Fault("Answers 500 to a request's first call and well to its second, in turns.", _flaky)


def _flaky_batch(call: Call, failed: set[str]) -> Reply:
    deck = f"deck {call.text}"
    if not call.known:
        failed.discard(deck)  # so that the text's next deck meets it too
    elif deck not in failed:
        failed.add(deck)
        return error(503, "provider_overloaded", "The provider is overloaded.", provider_name=PROVIDER)
    return call.answer()


FAULTS["flaky-batch"] = Fault(
    "Answers 503 to a text's first call with known fronts and well to all others.", _flaky_batch
)


@_fault
def no_schema(call: Call) -> Reply:
    """Refuses response_format json_schema with 400 and answers the rest well."""
    return _refuse_format(call) if call.response_format == "json_schema" else call.answer()


@_fault
def no_json_mode(call: Call) -> Reply:
    """Refuses response_format json_schema and json_object with 400 and answers a plain request well."""
    return _refuse_format(call) if call.response_format in {"json_schema", "json_object"} else call.answer()


def _refuse_format(call: Call) -> Reply:
    message = f"This model does not support response_format of type {call.response_format}."
    return error(400, "invalid_request", message, provider_name=PROVIDER)


for _function in (*SPOILT, *HOSTILE, *STREAMED):
    _fault(_function)
