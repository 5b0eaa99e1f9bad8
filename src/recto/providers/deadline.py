"""A transport for ``requests`` whose timeout is a total one.

The timeouts of requests and urllib3 are per read: a server that drips a byte every half second, in headers or in the
body, is waited for without an end. Here the read timeout that urllib3 has computed for a call becomes a deadline for
the whole answer, and every read of the socket gets only what is left of it. It works on plain and TLS sockets, in
threads and in greenlets. An answer that always has more to read is cut too, and lets others run meanwhile. An answer
that nobody waits for any more is given up.
"""

import io
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import CONTINUE, HTTPResponse
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any, ClassVar

import gevent
import requests
from gevent.monkey import get_original, is_module_patched
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError

# Connections kept for the next call; beyond it they are opened and closed. As many as one worker lets wait.
_KEPT_CONNECTIONS = 1000

# All that an answer may send, its head and its framing included, unless a class says otherwise.
_MAX_WIRE_BYTES = 2 * 1024 * 1024
# A stream has some 250 bytes around each token, and a model that thinks streams those tokens too.
_MAX_STREAM_BYTES = 16 * 1024 * 1024

# How often a read that may be canceled asks whether it was.
_CANCEL_POLL_S = 0.25

_is_canceled: ContextVar[Callable[[], bool] | None] = ContextVar("is_canceled", default=None)

# In a greenlet, a socket that has data is read without a pause: after so many bytes others get their turn. A pause of
# 0 s would not do: gevent ends it many times before it looks at other sockets.
_TURN_BYTES = 16 * 1024
_PAUSE_S = 0.0001


class TooMuchSent(OSError):
    """The answer is longer than any that makes sense."""


def session() -> requests.Session:
    """Make a session that ignores the environment's proxies and credentials, and gives up at total deadlines.

    Pass ``urllib3.Timeout(total=seconds)`` as a call's timeout.
    """
    made = requests.Session()
    made.trust_env = False
    for scheme in ("http://", "https://"):
        made.mount(scheme, DeadlineAdapter(pool_maxsize=_KEPT_CONNECTIONS))
    return made


class Canceled(OSError):
    """Nobody waits for the answer any more."""


@contextmanager
def streamed(is_canceled: Callable[[], bool]) -> Iterator[None]:
    """Let the answers that begin within the block be long, and end when ``is_canceled()`` is seen to be true.

    All reads of such an answer then raise ``Canceled``, those after the block too.
    """
    token = _is_canceled.set(is_canceled)
    try:
        yield
    finally:
        _is_canceled.reset(token)


class _DeadlineReader(io.RawIOBase):
    """Reads one answer from the socket until the time that its timeout left when reading began is over."""

    def __init__(self, sock: socket.socket, max_bytes: int) -> None:
        self._sock = sock
        self._is_canceled = _is_canceled.get()
        self._max_bytes = max_bytes if self._is_canceled is None else _MAX_STREAM_BYTES
        self._raw = sock.makefile("rb", buffering=0)  # which keeps the socket open until all is read
        timeout = sock.gettimeout()
        self._deadline = None if timeout is None else monotonic() + timeout
        self._read_bytes = 0
        self._next_turn = _TURN_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._read_bytes >= self._next_turn:
            self._next_turn = self._read_bytes + _TURN_BYTES
            sleep(_PAUSE_S)
        if self._read_bytes > self._max_bytes:
            raise TooMuchSent
        while True:
            self._sock.settimeout(self._wait_s())
            try:
                count = self._sock.recv_into(buffer)
            except TimeoutError:
                continue
            self._read_bytes += count
            return count

    def _wait_s(self) -> float | None:
        """Return how long the next read may wait. Raises ``TimeoutError`` at the deadline, and ``Canceled``."""
        if self._is_canceled and self._is_canceled():
            raise Canceled
        left = None if self._deadline is None else self._deadline - monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("the deadline has passed")
        return left if self._is_canceled is None else min(_CANCEL_POLL_S, left or _CANCEL_POLL_S)

    def close(self) -> None:
        self._raw.close()
        super().close()


class DeadlineResponse(HTTPResponse):
    """An answer that sends at most ``max_bytes``."""

    max_bytes = _MAX_WIRE_BYTES

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        reader = SimpleNamespace(makefile=lambda _mode: io.BufferedReader(_DeadlineReader(sock, self.max_bytes)))
        super().__init__(reader, *args, **kwargs)  # type: ignore[arg-type]  # it only ever calls makefile

    def _read_status(self) -> tuple[str, int, str]:
        """Skip every informational head, not 100 alone: else the connection's next call would get the answer."""
        version, status, reason = super()._read_status()  # type: ignore[misc]  # private, and the only way in
        return version, CONTINUE if 100 <= status < 200 else status, reason


@contextmanager
def _total_timeout(connection: HTTPConnection | HTTPSConnection) -> Iterator[None]:
    """Bound the whole connecting: resolver, every address of the host, TLS.

    Each of them has the connect timeout for itself, in greenlets each read of a TLS handshake too. In threads, where
    nothing can be interrupted, it stays so.
    """
    if not isinstance(connection.timeout, int | float) or not is_module_patched("socket"):
        yield
        return
    with gevent.Timeout(connection.timeout, ConnectTimeoutError(connection, "no connection in time")):
        yield


_poll: Callable[[], select.poll] = get_original("select", "poll")


class _Lean(HTTPConnection):
    """Spares each call two turns of the event loop: one to ask whether its connection still is one, one to send."""

    _unsent: list[Any] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether a connection that is not in use is still one: all that could come there is its end.

        Asking the system does not wait. Gevent's own poll, which urllib3 asks, lets all other greenlets run meanwhile.
        """
        if self.sock is None:
            return False
        poll = _poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send the head and the body in one piece."""
        unsent: list[Any] = []
        self._unsent = unsent
        try:
            super().request(*args, **kwargs)
        finally:
            self._unsent = None
        self.send(b"".join(unsent))

    def send(self, data: Any) -> None:
        """Send it, or keep it until ``request`` has all."""
        if self._unsent is None:
            super().send(data)
        else:
            self._unsent.append(data)


class DeadlineHTTPConnection(_Lean):
    """A connection whose answers keep a total deadline."""

    response_class = DeadlineResponse

    def connect(self) -> None:
        """Connect within the connect timeout."""
        with _total_timeout(self):
            super().connect()


class DeadlineHTTPSConnection(_Lean, HTTPSConnection):
    """The same over TLS."""

    response_class = DeadlineResponse

    def connect(self) -> None:
        """Connect within the connect timeout."""
        with _total_timeout(self):
            super().connect()


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = DeadlineHTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = DeadlineHTTPSConnection


class DeadlineAdapter(HTTPAdapter):
    """Requests' own adapter over connections that keep a total deadline.

    It is made for many calls of few addresses with the adapter's own certificates: what Requests works out again for
    every call is remembered by address, and cookies are not read.
    """

    pool_classes: ClassVar[dict[str, type[HTTPConnectionPool]]] = {"http": _HTTPPool, "https": _HTTPSPool}

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Put the connection pools of this module in place of urllib3's."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self.pool_classes
        self._pools: dict[Any, Any] = {}

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Find the connections to the request's address."""
        key = (request.url, verify)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = super().get_connection_with_tls_context(request, verify, proxies, cert)
        return pool

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Wrap urllib3's answer, whose body is still to be read."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        response.url = req.url or ""
        response.request = req
        response.connection = self
        return response
