"""The load generator: a process of its own, so that it shares no interpreter with what it measures.

    python -m bench.load closed PORT SECRET --clients N --seconds S
    python -m bench.load open   PORT SECRET --in-flight N --delay S --seconds S

Both send ``POST /generations`` to 127.0.0.1:PORT over keep-alive connections and print one JSON object (``Result``).
``--requests FILE`` names a JSON list of other requests, to be sent in turn; ``--issuer`` who signs the tokens, with
ES256 instead of HS256.

*Closed loop*: each of N clients sends as soon as it has its answer. It shows throughput; its latencies do not show
queueing, because a slow target is asked less often.

*Open loop*: arrivals are planned evenly, N / delay a second, whatever the answers do. Latency counts from the planned
arrival, so that a wait for a connection, or for this very process, is in it. Arrivals go on before and after the
counted window, so that all of it is seen under the same load.

A line ``begin`` is printed when the counted part begins and a line ``end`` when the sending ends, all requests still in
flight: the moments to look at the CPU and the memory of the others.
"""

import argparse
import asyncio
import itertools
import json
import math
import operator
import re
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.loop import Protocol, run
from bench.payload import bodies, tokens

DRAIN_S = 30.0
"""How long to wait for the last answers; what is missing then counts as the error ``no answer``."""

_IDLE_S = 1.0
"""A connection that was idle for longer is not used again: a server closes it some time, perhaps at that moment."""

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass
class Result:
    """What one run measured. Latencies of the 200s in the counted window, in ms, each from its planned arrival.

    ``seconds`` is the length of that window; ``requests`` (answers of any status) and ``cpu_s`` (of this process)
    belong to the time between ``begin`` and ``end``; ``errors``, by status or by cause, to the whole run.
    """

    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    cpu_s: float = 0.0

    def percentile_ms(self, percent: float) -> float:
        """The nearest-rank percentile; NaN without any answer."""
        ranked = sorted(self.latencies_ms)
        return ranked[math.ceil(len(ranked) * percent / 100) - 1] if ranked else math.nan


def _requests(port: int, secret: str, issuer: str | None) -> Iterator[bytes]:
    body = bodies()
    length = len(next(body))
    heads = [
        f"POST /generations HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n".encode()
        for token in tokens(secret, issuer)
    ]
    return map(operator.add, itertools.cycle(heads), body)


class _Connection(Protocol):
    """One keep-alive connection with at most one request on its way, planned for ``planned`` (monotonic seconds)."""

    def __init__(self, load: "_Load", planned: float) -> None:
        self._load = load
        self._received = b""
        self.planned = planned
        self.waiting = True
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.write(next(self._load.requests))

    def send(self, planned: float) -> None:
        self.planned = planned
        self.waiting = True
        self.transport.write(next(self._load.requests))

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        head = data.find(b"\r\n\r\n")
        body = _CONTENT_LENGTH.search(data, 0, head + 2) if head >= 0 else None
        if body is None or len(data) < head + 4 + int(body[1]):
            self._received = data
            return
        self._received = b""
        self.waiting = False
        if data.find(b"onnection: close", 0, head) >= 0:
            self.transport.close()
        self._load.answered(self, data[9:12])

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting:
            self._load.failed("connection lost")


class _Load:
    """The bookkeeping of one run; ``counted`` is the part of the monotonic clock whose arrivals are reported."""

    def __init__(
        self,
        port: int,
        requests: Iterator[bytes],
        counted: tuple[float, float],
        then: Callable[[_Connection], None],
    ) -> None:
        self.requests = requests
        self.result = Result(seconds=counted[1] - counted[0])
        self.in_flight = 0
        self._port = port
        self._from, self._to = counted
        self._then = then
        self._loop = asyncio.get_running_loop()
        self._loop.call_at(self._from, self._begin)
        self._connecting: set[asyncio.Task[None]] = set()

    def _begin(self) -> None:
        print("begin", flush=True)
        self.result.requests = 0
        self.result.cpu_s = time.process_time()

    def start(self, planned: float, connection: _Connection | None = None) -> None:
        """Send a request on ``connection``, or on a new one."""
        self.in_flight += 1
        if connection:
            connection.send(planned)
        else:
            task = self._loop.create_task(self._connect(planned))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, planned: float) -> None:
        try:
            await self._loop.create_connection(lambda: _Connection(self, planned), "127.0.0.1", self._port)
        except OSError as error:
            self.failed(type(error).__name__)

    def answered(self, connection: _Connection, status: bytes) -> None:
        now = self._loop.time()
        self.in_flight -= 1
        self.result.requests += 1
        if status != b"200":
            self.result.errors[status.decode()] += 1
        elif self._from <= connection.planned < self._to:
            self.result.latencies_ms.append((now - connection.planned) * 1e3)
        connection.idle_since = now
        self._then(connection)

    def failed(self, cause: str) -> None:
        self.in_flight -= 1
        self.result.errors[cause] += 1

    async def end(self) -> Result:
        """Wait for the last answers, at most ``DRAIN_S``."""
        requests, cpu_s = self.result.requests, time.process_time() - self.result.cpu_s
        print("end", flush=True)
        deadline = self._loop.time() + DRAIN_S
        while self.in_flight and self._loop.time() < deadline:
            await asyncio.sleep(0.02)
        if self.in_flight:
            self.result.errors["no answer"] += self.in_flight
        self.result.requests, self.result.cpu_s = requests, cpu_s
        return self.result


async def closed(port: int, requests: Iterator[bytes], clients: int, seconds: float) -> Result:
    """Keep ``clients`` requests in flight for ``seconds``, after an uncounted second in which they join."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    warm = start + 1.0
    end = warm + seconds

    def again(connection: _Connection) -> None:
        now = loop.time()
        if now >= end:
            return
        load.start(now, None if connection.transport.is_closing() else connection)

    load = _Load(port, requests, (warm, end), again)
    # One after the other: of a burst of connections most go to the one worker that happens to be awake.
    for client in range(clients):
        planned = start + 0.8 * client / clients
        loop.call_at(planned, load.start, planned)
    await asyncio.sleep(end - start)
    return await load.end()


async def open_loop(port: int, requests: Iterator[bytes], in_flight: int, delay_s: float, seconds: float) -> Result:
    """Plan ``in_flight / delay_s`` arrivals a second and count those of a window of ``seconds``."""
    loop = asyncio.get_running_loop()
    interval = delay_s / in_flight
    start = loop.time() + 0.05
    ramp = delay_s + 1.0
    arrivals = math.ceil((ramp + seconds + delay_s) / interval)
    idle: list[_Connection] = []
    load = _Load(port, requests, (start + ramp, start + ramp + seconds), idle.append)
    done = loop.create_future()

    def tick(arrival: int) -> None:
        now = loop.time()
        while arrival < arrivals and (planned := start + arrival * interval) <= now:
            load.start(planned, _freshest(idle, now))
            arrival += 1
        if arrival < arrivals:
            loop.call_at(start + arrival * interval, tick, arrival)
        else:
            done.set_result(None)

    loop.call_at(start, tick, 0)
    await done
    return await load.end()


def _freshest(idle: list[_Connection], now: float) -> _Connection | None:
    while idle:
        connection = idle.pop()
        if now - connection.idle_since < _IDLE_S and not connection.transport.is_closing():
            return connection
        connection.transport.close()
    return None


def main() -> None:
    """Read the command line, run, print the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.load")
    parser.add_argument("loop", choices=["closed", "open"])
    parser.add_argument("port", type=int)
    parser.add_argument("secret")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--in-flight", type=int, default=1000)
    parser.add_argument("--delay", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--requests", type=Path)
    parser.add_argument("--issuer")
    args = parser.parse_args()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    if args.requests:
        requests = itertools.cycle([request.encode() for request in json.loads(args.requests.read_text())])
    else:
        requests = _requests(args.port, args.secret, args.issuer)
    if args.loop == "closed":
        result = run(closed(args.port, requests, args.clients, args.seconds))
    else:
        result = run(open_loop(args.port, requests, args.in_flight, args.delay, args.seconds))
    print(json.dumps(vars(result)))


if __name__ == "__main__":
    main()
