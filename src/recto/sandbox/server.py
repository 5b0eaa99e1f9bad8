"""The sandbox's HTTP server for all providers: a thread a connection, 127.0.0.1 only, and no text in any log."""

import math
import re
import select
import socket
import struct
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote

from recto.sandbox import catalogue
from recto.sandbox.chat import BadRequest, Reply, error, parse, to_json
from recto.sandbox.faults import FAULTS
from recto.sandbox.generations import Generations
from recto.sandbox.replicate import Replicate
from recto.sandbox.scripts import End, Script
from recto.sandbox.streams import stream

CHUNKS_PER_SECOND = 60.0  # of four characters each: what a middling model writes

_BASE = "/api/v1"
_ENDPOINTS = re.compile(rf"{_BASE}/models/(.+)/endpoints")
_MAX_BODY_BYTES = 8 * 1024 * 1024
_POLL_S = 0.05  # how long close() may wait for the accepting thread
_LINGER_ZERO = struct.pack("ii", 1, 0)  # closing with it resets the connection


def start(
    port: int = 0, *, chunks_per_second: float = CHUNKS_PER_SECOND, usd_per_token: float = 0.0
) -> "SandboxServer":
    """A sandbox on its own threads, listening when this returns; ``port`` 0 takes a free one.

    ``chunks_per_second`` is the pace of streams, 0 for one without waiting; ``usd_per_token`` what its completions say
    that they cost. Raises ``OSError`` if the port is taken.
    """
    return SandboxServer(port, chunks_per_second, usd_per_token)


class SandboxServer:
    """A running sandbox.

    ``base_url`` is what OpenRouter's ``https://openrouter.ai/api/v1`` is to a client, ``replicate_url`` what
    ``https://api.replicate.com`` is; its outputs are served there too. ``generations`` tells what became of each call.
    """

    def __init__(self, port: int, chunks_per_second: float, usd_per_token: float) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.chunk_s = 1 / chunks_per_second if chunks_per_second else 0.0
        self._server.usd_per_token = usd_per_token
        self.generations = self._server.generations
        self.replicate_url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.base_url = f"{self.replicate_url}{_BASE}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cut every connection, answered or not, and return when no thread is left. May be called again."""
        self._server.shutdown()
        self._server.replicate.close()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = False  # so that server_close() waits for them
    chunk_s = 0.0
    usd_per_token = 0.0

    def __init__(self, *args: Any) -> None:
        self.connections: set[socket.socket] = set()
        self.failed: set[str] = set()
        self.generations = Generations()
        super().__init__(*args)
        self.replicate = Replicate(f"http://127.0.0.1:{self.server_address[1]}")

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own asks the resolver for the host's name

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        # The inherited one sends a FIN first, and a reset would no longer be one.
        self.connections.discard(request)
        request.close()

    def hang_up(self) -> None:
        """End every connection: a handler that waits for its client sees it leave."""
        for connection in tuple(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


WRONG_KEY = "wrong"  # every other one is right


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def answer(self) -> None:
        path, _, query = self.path.partition("?")
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _MAX_BODY_BYTES or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self.send(error(413, "payload_too_large", "The sandbox takes bodies of a known length up to 8 MiB."))
            return
        body = self.rfile.read(int(length))
        if path.startswith("/outputs/"):
            self.send(self.server.replicate.output(path))
            return
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() not in ("bearer", "token") or key.strip() in ("", WRONG_KEY):
            self.send(error(401, "authentication", "No auth credentials found"))
        elif path.startswith("/v1/"):
            reply = self.server.replicate.answer(self.command, path, dict(self.headers.items()), body)
            if reply:
                self.send(reply)
            else:
                self.play(iter([math.inf]))
        elif (self.command, path) == ("POST", f"{_BASE}/chat/completions"):
            self.complete(body)
        elif (self.command, path) == ("GET", f"{_BASE}/generation"):
            self.tell(parse_qs(query).get("id", [""])[0])
        elif (self.command, path) == ("GET", f"{_BASE}/key"):
            self.send(catalogue.key(self.server.generations.cost))
        elif (self.command, path) == ("GET", f"{_BASE}/credits"):
            self.send(catalogue.credits_left(self.server.generations.cost))
        elif (self.command, path) == ("GET", f"{_BASE}/models"):
            self.send(catalogue.models(self.server.usd_per_token))
        elif self.command == "GET" and (listed := _ENDPOINTS.fullmatch(path)):
            self.send(catalogue.endpoints(unquote(listed[1]), self.server.usd_per_token))
        else:
            self.send(error(404, "not_found", f"There is no {self.command} {path} here."))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # http.server asks for a method a verb
            return self.answer
        raise AttributeError(name)

    def complete(self, body: bytes) -> None:
        try:
            call = parse(body, chunk_s=self.server.chunk_s, usd_per_token=self.server.usd_per_token)
        except BadRequest as refusal:
            self.send(error(400, "invalid_request", str(refusal)))
            return
        if call.fault and call.fault not in FAULTS:
            names = ", ".join(FAULTS)
            self.send(error(400, "invalid_request", f"There is no fault of that name. There are: {names}."))
            return
        outcome = FAULTS[call.fault].play(call, self.server.failed) if call.fault else call.answer()
        if isinstance(outcome, Reply):
            outcome = stream(call, outcome.events) if outcome.events else iter([outcome.head() + outcome.body])
        self.server.generations.keep(call.generation)
        left = True
        try:
            left = not self.play(outcome)
        finally:
            call.generation.end(left=left)

    def tell(self, generation_id: str) -> None:
        generation = self.server.generations.look(generation_id)
        if generation:
            self.send(Reply(200, to_json({"data": generation.describe()}).encode()))
        else:
            self.send(error(404, "not_found", "There is no generation of this id."))

    def send(self, reply: Reply) -> None:
        self.wfile.write(reply.head() + reply.body)

    def play(self, script: Script) -> bool:
        """Go through the steps; False if the client left before the last one."""
        for step in script:
            if isinstance(step, bytes):
                self.wfile.write(step)
            elif isinstance(step, float):
                if self.client_leaves_within(step):
                    self.close_connection = True
                    return False
            else:
                self.close_connection = True
                if step is End.RESET:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        return True

    def client_leaves_within(self, seconds: float) -> bool:
        """Wait; a closed connection reads as ready, and nobody sends on before the answer."""
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        return bool(poll.poll(None if math.isinf(seconds) else seconds * 1000))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the inherited name
        """Record nothing."""
