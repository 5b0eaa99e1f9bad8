"""Answers as server-sent events, each at its time, and what goes wrong with them alone."""

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from recto.sandbox.chat import COMMENT, PROVIDER, Call, Reply, content_of, event
from recto.sandbox.scripts import CHUNKED, Script, chunk

HIDDEN_LOOKS = 2
_CARDS_BEFORE_THE_ERROR = 2
_TORN_EVENT_BYTES = 20
# Inside "data", after the first byte of a character beyond ASCII, between the two ends of a line.
_TEARS = re.compile(rb"(?<=^da)|(?<=[\xc2-\xf4])|(?<=\n)(?=\n)")


def stream(call: Call, events: Sequence[bytes], frame: Callable[[bytes], bytes] = chunk) -> Script:
    """Send all events; ``frame`` makes HTTP's chunks of each."""
    *first, last = events
    yield from _sent(call, first, frame)
    call.generation.end()  # before the client can know, which may ask about it at once
    yield frame(last) + chunk(b"")


def half(call: Call) -> Script:
    """Send a good answer up to its middle, which is inside an event of a stream."""
    reply = call.answer()
    if reply.events:
        middle = len(reply.events) // 2
        yield from _sent(call, reply.events[:middle], chunk)
        yield chunk(reply.events[middle][:_TORN_EVENT_BYTES])
    else:
        yield reply.head() + reply.body[: len(reply.body) // 2]


def _sent(call: Call, events: Sequence[bytes], frame: Callable[[bytes], bytes]) -> Script:
    """Send the head and these events; a chunk takes its time, comments take none."""
    yield call.good().head(CHUNKED)
    for one in events:
        is_chunk = b'"choices"' in one
        if is_chunk:
            yield call.chunk_s
        yield frame(one)
        call.generation.chunks += is_chunk


# --- faults that other answers know too


def stall(call: Call) -> Script:
    """Sends half of a good answer, then nothing more, and keeps the connection."""
    yield from half(call)
    yield math.inf


def error_after_cards(call: Call) -> Reply:
    """Answers with two cards, then an error in place of the rest."""
    metadata = {"error_type": "provider_unavailable", "provider_name": PROVIDER}
    failure = {"code": 502, "message": "Provider disconnected unexpectedly", "metadata": metadata}
    begun = content_of(call.cards()[:_CARDS_BEFORE_THE_ERROR]).removesuffix("]}")
    return call.completion(f"{begun}, ", "error", error=failure)


def no_usage(call: Call) -> Reply:
    """Answers well, without usage."""
    return call.completion(content_of(call.cards()), usage=None)


def late_generation(call: Call) -> Reply:
    """Answers well; the first two looks at its /generation find nothing."""
    call.generation.hidden_looks = HIDDEN_LOOKS
    return call.answer()


# --- faults of streams; without `stream` the answer is good


def torn_chunks(call: Call) -> Reply | Script:
    """Streams well, torn inside names of fields, characters and ends of events."""
    return _streamed(call, list, lambda one: b"".join(map(chunk, filter(None, _TEARS.split(one)))))


def no_done(call: Call) -> Reply | Script:
    """Streams well, without [DONE]."""
    return _streamed(call, lambda events: events[:-1])


def role_only(call: Call) -> Reply | Script:
    """Streams well; the role comes in a first chunk of its own, without content."""

    def split(events: Sequence[bytes]) -> list[bytes]:
        first = _changed(events[1], choices=[{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}])
        return [events[0], first, *(one.replace(b'"role": "assistant", ', b"") for one in events[1:])]

    return _streamed(call, split)


def usage_alone(call: Call) -> Reply | Script:
    """Streams well; the chunk with the usage has no choices, as OpenAI has it."""
    return _streamed(call, lambda events: [*events[:-2], _changed(events[-2], choices=[]), events[-1]])


def comments(call: Call) -> Reply | Script:
    """Streams well, with comments between all events and inside them."""
    return _streamed(call, lambda events: [COMMENT + b":\n: data: {}\n" + one for one in events])


def crlf(call: Call) -> Reply | Script:
    """Streams well, with CRLF at the ends of lines."""
    return _streamed(call, lambda events: [one.replace(b"\n", b"\r\n") for one in events])


def _streamed(
    call: Call, change: Callable[[Sequence[bytes]], Sequence[bytes]], frame: Callable[[bytes], bytes] = chunk
) -> Reply | Script:
    reply = call.answer()
    return stream(call, change(reply.events), frame) if reply.events else reply


def _changed(one: bytes, **values: Any) -> bytes:
    return event(json.loads(one.removeprefix(b"data: ")) | values)


STREAMED = (
    stall,
    error_after_cards,
    no_usage,
    late_generation,
    torn_chunks,
    no_done,
    role_only,
    usage_alone,
    comments,
    crlf,
)
