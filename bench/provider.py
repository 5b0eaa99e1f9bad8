"""A stand-in for OpenRouter that costs next to nothing: ``python -m bench.provider PORT DELAY_S SECRET``.

Every POST is answered, ``DELAY_S`` seconds after its last byte, with the same chat completion of ten flashcards; a GET
at once: of a prediction with one that is in progress, of an output with a picture, of ``/calls`` and ``/look-ups`` with
the number of completions and of predictions so far. As the issuer of access tokens it has the key set of ``SECRET``.

A POST that asks for a stream gets the flashcards over ``STREAM_S`` seconds, 60 chunks a second. The back of each card
is the time when its last character was sent, in seconds of the monotonic clock that all processes of a machine share.
"""

import asyncio
import json
import re
import sys
import time
from functools import lru_cache
from io import BytesIO

from PIL import Image

from bench.loop import Protocol, run
from bench.payload import key_set

CARDS = [
    ("What does the mitochondrion make for its cell?", "ATP, by oxidising sugars and fats."),
    ("In which year did Gutenberg's Bible leave the press?", "About 1455, in Mainz."),
    ("Who first measured the speed of light on the ground?", "Hippolyte Fizeau, with a toothed wheel, in 1849."),
    ("Why does ice float?", "Its hydrogen bonds hold the molecules further apart than in the liquid."),
    ("What is a sonnet's volta?", "The turn in its argument, often at the ninth line."),
    ("Which treaty ended the Thirty Years' War?", "The Peace of Westphalia, in 1648."),
    ("What does a catalyst change about a reaction?", "Its activation energy; the equilibrium stays where it was."),
    ("How many chambers has a frog's heart?", "Three: two atria and one ventricle."),
    ("What did Kepler's second law say of a planet's orbit?", "The line to the sun sweeps equal areas in equal times."),
    ("What is the determinant of an orthogonal matrix?", "Plus or minus one."),
]

COMPLETION = {
    "id": "gen-1790000000-bench",
    "provider": "Bench",
    "model": "bench/model",
    "object": "chat.completion",
    "created": 1790000000,
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "native_finish_reason": "stop",
            "message": {
                "role": "assistant",
                "content": json.dumps({"flashcards": [{"front": front, "back": back} for front, back in CARDS]}),
                "refusal": None,
                "reasoning": None,
            },
        }
    ],
    "usage": {"prompt_tokens": 1210, "completion_tokens": 420, "total_tokens": 1630, "cost": 0.00123},
}

_BODY = json.dumps(COMPLETION).encode()
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Generation-Id: gen-1790000000-bench\r\n"
    b"Content-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY
STREAM_S = 8.0
CHUNKS_PER_S = 60


def _frame(content: str, **more: object) -> bytes:
    """A chunk of a completion, as an event in a chunk of HTTP's."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": None}
    chunk = {"id": COMPLETION["id"], "object": "chat.completion.chunk", "model": "bench/model", "choices": [choice]}
    event = b"data: %s\n\n" % json.dumps(chunk | more).encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


def _stream() -> list[bytes]:
    """The frames of a stream; in the last one of each card stands ``_NOW`` for the time."""
    per_card = round(STREAM_S * CHUNKS_PER_S) // len(CARDS)
    frames = []
    for number, (front, _) in enumerate(CARDS):
        begin = ('{"flashcards": [' if number == 0 else ", ") + json.dumps({"front": front, "back": ""})[:-2]
        step = -(-len(begin) // (per_card - 1))
        pieces = [begin[start : start + step] for start in range(0, len(begin), step)]
        pieces += [""] * (per_card - 1 - len(pieces))
        frames += [_frame(piece) for piece in pieces] + [_frame(f'{_NOW}"}}')]
    frames[-1] = _frame(f'{_NOW}"}}]}}')
    return frames


_NOW = "0000000.000000"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_STREAM_END = (
    _frame("", choices=[{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}])
    + _frame("", choices=[], usage=COMPLETION["usage"])
    + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
)
_FRAMES = _stream()

_PREDICTION = re.compile(rb"GET /v1/predictions/(\w+) ")
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@lru_cache(maxsize=1)
def _picture() -> bytes:
    data = BytesIO()
    Image.effect_mandelbrot((1024, 1024), (-2.0, -1.5, 1.0, 1.5), 100).convert("RGB").save(data, "JPEG")
    return data.getvalue()


class _Connection(Protocol):
    calls = 0
    look_ups = 0
    key_set = b""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        # A client waits for its answer before it sends again, so what was received is at most one request.
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        body = _CONTENT_LENGTH.search(self._received, 0, head + 2)
        if len(self._received) < head + 4 + (int(body[1]) if body else 0):
            return
        request, self._received = self._received, b""
        if not request.startswith(b"POST"):
            answer = self._answer(request)
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
            return
        _Connection.calls += 1
        if b'"stream":true' in request:
            self._transport.write(_STREAM_HEAD)
            self._next_frame(0, asyncio.get_running_loop().time())
            return
        if self._delay_s:
            asyncio.get_running_loop().call_later(self._delay_s, self._transport.write, _ANSWER)
        else:
            self._transport.write(_ANSWER)

    def _next_frame(self, number: int, planned: float) -> None:
        if self._transport.is_closing():
            return
        if number == len(_FRAMES):
            self._transport.write(_STREAM_END)
            return
        self._transport.write(_FRAMES[number].replace(_NOW.encode(), b"%014.6f" % time.monotonic()))
        planned += 1 / CHUNKS_PER_S
        asyncio.get_running_loop().call_at(planned, self._next_frame, number + 1, planned)

    def _answer(self, request: bytes) -> bytes:
        if match := _PREDICTION.match(request):
            _Connection.look_ups += 1
            return b'{"id": "%s", "status": "processing"}' % match[1]
        if request.startswith(b"GET /outputs/"):
            return _picture()
        if request.startswith(b"GET /auth/v1/.well-known/jwks.json "):
            return _Connection.key_set
        return str(_Connection.look_ups if request.startswith(b"GET /look-ups") else _Connection.calls).encode()


async def serve(port: int, delay_s: float) -> None:
    """Answer on 127.0.0.1:``port`` until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(delay_s), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    _Connection.key_set = key_set(sys.argv[3])
    run(serve(int(sys.argv[1]), float(sys.argv[2])))
