"""Streams: how soon a card reaches its caller, what a stream costs, and what the JSON door's callers wait meanwhile.

    python -m bench.streams PORT SECRET ACCEPT --streams N --seconds S

keeps N requests in flight, which began evenly, for S seconds after all have; it prints one JSON object (``Seen``).
"""

import argparse
import asyncio
import itertools
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles
from threading import Timer

from bench.loop import Protocol, run
from bench.payload import bodies, tokens
from bench.processes import cpu_s, memory
from bench.provider import CARDS, STREAM_S
from bench.report import table
from bench.targets import JWT_SECRET, ROOT, Postgres, Target, passthrough, provider, service, service_environment

STREAMS = 200
# In Recto's events, and in the provider's own, where it is a piece of JSON within a string.
_SENT_AT = re.compile(rb'"(?:back|content)": ?"([0-9]{7}\.[0-9]{6})')
# More than the longest of what is looked for, which may come in two parts.
_TAIL_BYTES = 64


@dataclass
class Seen:
    """What callers saw in the counted time, in ms: each card after its last character, the first card of each answer.

    ``answers``: how many ended. ``errors``: answers without all cards.
    """

    cards_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    answers: int = 0
    errors: int = 0


def measure(database: Postgres, folder: Path, quick: bool) -> str:
    """Measure both doors, and the stream through the pass-through; return the table."""
    seconds = 5 if quick else 24
    rows = []
    json_, stream = "application/json", "text/event-stream"
    with provider(STREAM_S) as upstream:
        environment = service_environment(database.url, upstream.port)
        with service(environment, folder) as recto, passthrough(environment, folder) as bare:
            for target, accept in ((recto, json_), (recto, stream), (bare, stream)):
                what = f"{STREAMS} at once, {target.name}, {'JSON' if accept == json_ else 'stream'}"
                rows.append([what, *_row(target, upstream, accept, seconds)])
    header = ["what", "first card after s (median)", "card to caller p50 ms", "p99 ms", "errors"]
    return table([*header, "CPU ms an answer", "PSS MB", "provider's CPU ms an answer"], rows)


def _row(target: Target, upstream: Target, accept: str, seconds: int) -> list[str]:
    command = [sys.executable, "-m", "bench.streams", str(target.port), JWT_SECRET, accept]
    command += ["--streams", str(STREAMS), "--seconds", str(seconds)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        watchdog = Timer(180, process.kill)
        watchdog.start()
        assert process.stdout is not None
        process.stdout.readline()  # "begin"
        before = cpu_s(target.pid), cpu_s(upstream.pid)
        seen = Seen(**json.loads(process.stdout.readline()))
        spent = [
            after - earlier for after, earlier in zip((cpu_s(target.pid), cpu_s(upstream.pid)), before, strict=True)
        ]
        held = memory(target.pid)
        watchdog.cancel()
    latencies = (
        [f"{median(seen.cards_ms):.1f}", f"{quantiles(seen.cards_ms, n=100)[98]:.1f}"] if seen.cards_ms else ["–"] * 2
    )
    recto_ms, provider_ms = (f"{used * 1000 / max(1, seen.answers):.1f}" for used in spent)
    first_s = f"{median(seen.first_ms) / 1000:.2f}"
    return [first_s, *latencies, str(seen.errors), recto_ms, f"{held.pss_mb:.0f}", provider_ms]


class _Caller(Protocol):
    """One connection, which asks again when its answer has ended."""

    def __init__(self, requests: Iterator[bytes], seen: Seen, counted: tuple[float, float]) -> None:
        self._requests = requests
        self._seen = seen
        self._from, self._to = counted

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._tail = b""
        self._is_stream = False
        self._cards = 0
        self._asked = time.monotonic()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        is_counted = self._from <= now < self._to
        # A stream through the pass-through is long: what was looked at is not looked at again.
        data = self._tail + data
        self._is_stream = self._is_stream or b"text/event-stream" in data
        sent = list(_SENT_AT.finditer(data)) if self._is_stream else []
        self._tail = data[sent[-1].end() if sent else 0 :][-_TAIL_BYTES:]
        whole = data.endswith(b"\r\n0\r\n\r\n") or (not self._is_stream and b'"language"' in data)
        cards = len(sent) if self._is_stream else whole * len(CARDS)
        if is_counted:
            self._seen.cards_ms += [(now - float(card[1])) * 1000 for card in sent]
            if cards and not self._cards:
                self._seen.first_ms.append((now - self._asked) * 1000)
        self._cards += cards
        if whole:
            self._seen.answers += is_counted
            self._seen.errors += self._cards != len(CARDS)
            if now < self._to:
                self._ask()


async def load(port: int, secret: str, accept: str, streams: int, seconds: float) -> Seen:
    """Keep that many requests in flight; count what is seen once all have begun."""
    body = bodies()
    length = len(next(body))
    heads = itertools.cycle(
        f"POST /generations HTTP/1.1\r\nHost: recto\r\nContent-Type: application/json\r\nAccept: {accept}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n".encode()
        for token in tokens(secret)
    )
    requests = (head + text for head, text in zip(heads, body, strict=True))
    seen = Seen()
    begin = time.monotonic() + STREAM_S
    loop = asyncio.get_running_loop()
    for _ in range(streams):
        counted = (begin, begin + seconds)
        await loop.create_connection(lambda: _Caller(requests, seen, counted), "127.0.0.1", port)  # noqa: B023
        await asyncio.sleep(0.97 * STREAM_S / streams)
    await asyncio.sleep(max(0.0, begin - time.monotonic()))
    print("begin", flush=True)
    await asyncio.sleep(begin + seconds - time.monotonic())
    return seen


def main() -> None:
    """Read the command line, run, print what was seen."""
    parser = argparse.ArgumentParser(prog="python -m bench.streams")
    parser.add_argument("port", type=int)
    parser.add_argument("secret")
    parser.add_argument("accept")
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    print(json.dumps(asdict(run(load(args.port, args.secret, args.accept, args.streams, args.seconds)))))


if __name__ == "__main__":
    main()
