"""OpenRouter's streams: server-sent events whose data are chunks of one chat completion.

The form is described at https://openrouter.ai/docs/api-reference/streaming.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import requests

from recto.errors import UpstreamBrokenAnswer, UpstreamInvalidResponse
from recto.providers import openrouter_answers
from recto.providers.transport import parse

# What is told once in a stream, in whichever chunk.
_TOLD = ("id", "model", "usage")

_LINE_END = re.compile(rb"[\r\n]")
_MAX_LINE_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024


def is_stream(response: requests.Response) -> bool:
    """Whether the answer is a stream: a refusal, and an answer of a server that knows no streams, is JSON."""
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/event-stream"


def read(response: requests.Response, answer: dict[str, Any], on_text: Callable[[str], None]) -> None:
    """Read a stream to its end: call ``on_text`` with each piece of what the model writes.

    ``answer`` is filled as the answer in one piece would be; after a failure it tells what was told before. An error in
    a chunk is left in it. Raises ``UpstreamBrokenAnswer``, ``UpstreamInvalidResponse`` and whatever the transport and
    zlib raise.
    """
    content: list[str] = []
    message: dict[str, Any] = {}
    finish_reason = None
    try:
        for data in _data(response):
            if data == b"[DONE]":  # what follows is the end of the framing, with which the connection can be used again
                continue
            chunk = parse(data)
            if not chunk:  # what it held is missing: cards could run into each other
                raise UpstreamBrokenAnswer("a chunk of the stream is no JSON object")
            answer |= {name: chunk[name] for name in _TOLD if chunk.get(name)}
            if openrouter_answers.is_error(chunk):
                answer |= chunk
                response.close()
                return
            choice = openrouter_answers.choice_of(chunk) or {}
            finish_reason = choice.get("finish_reason") or finish_reason
            delta = choice.get("delta")
            delta = delta if isinstance(delta, dict) else {}
            if text := openrouter_answers.text(delta.get("content")):
                content.append(text)
                on_text(text)
            message["refusal"] = delta.get("refusal") or message.get("refusal")
    except Exception:
        response.close()
        if finish_reason is None:  # else the model had ended, and only the usage is missing
            raise
    if finish_reason is None:
        raise UpstreamBrokenAnswer("the stream ended before the answer did")
    answer["choices"] = [{"message": message | {"content": "".join(content)}, "finish_reason": finish_reason}]


def _data(response: requests.Response) -> Iterator[bytes]:
    """Yield the data of the events. Each has one line here; other lines are comments and fields without a meaning."""
    pending: list[bytes] = []
    size = 0
    for piece in _pieces(response):
        *lines, rest = _LINE_END.split(piece)
        for line in lines:
            pending.append(line)
            whole = b"".join(pending)
            pending, size = [], 0
            if whole.startswith(b"data:"):
                yield whole.removeprefix(b"data:").strip()
        pending.append(rest)
        size += len(rest)
        if size > _MAX_LINE_BYTES:
            raise UpstreamInvalidResponse(f"a chunk of the stream is larger than {_MAX_LINE_BYTES} bytes")


def _pieces(response: requests.Response) -> Iterator[bytes]:
    # Some gateways compress unasked.
    packed = response.headers.get("Content-Encoding", "").strip().lower() in ("gzip", "x-gzip", "deflate")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32) if packed else None
    while piece := response.raw.read1(_PIECE_BYTES, decode_content=False):
        yield unpacker.decompress(piece, _MAX_LINE_BYTES) if unpacker else piece
        if unpacker and unpacker.unconsumed_tail:
            raise UpstreamInvalidResponse("the stream unpacks to too much")
