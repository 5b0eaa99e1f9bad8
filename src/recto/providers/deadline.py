"""A transport for ``requests`` whose timeout is a total one.

The timeouts of requests and urllib3 are per read: a server that drips a byte every half second, in headers or in the
body, is waited for for ever. Here the read timeout that urllib3 has computed for a call becomes a deadline for the
whole answer, and every read of the socket gets only what is left of it. It works on plain and TLS sockets, in threads
and in greenlets, and needs no timer.
"""

import io
import socket
from http.client import HTTPResponse
from time import monotonic
from types import SimpleNamespace
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

# Connections kept for the next call; beyond it they are opened and closed. As many as one worker lets wait.
_KEPT_CONNECTIONS = 1000


def session() -> requests.Session:
    """Make a session that ignores the environment's proxies and credentials, and gives up at total deadlines.

    Pass ``urllib3.Timeout(total=seconds)`` as a call's timeout.
    """
    made = requests.Session()
    made.trust_env = False
    for scheme in ("http://", "https://"):
        made.mount(scheme, DeadlineAdapter(pool_maxsize=_KEPT_CONNECTIONS))
    return made


class _DeadlineReader(io.RawIOBase):
    """Reads from the socket until the time that its timeout left when reading began is over."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        timeout = sock.gettimeout()
        self._deadline = None if timeout is None else monotonic() + timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            left = self._deadline - monotonic()
            if left <= 0:
                raise TimeoutError("the deadline has passed")
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        reader = SimpleNamespace(makefile=lambda _mode: io.BufferedReader(_DeadlineReader(sock)))
        super().__init__(reader, *args, **kwargs)  # type: ignore[arg-type]  # it only ever calls makefile


class _DeadlineHTTPConnection(HTTPConnection):
    response_class = _DeadlineResponse


class _DeadlineHTTPSConnection(HTTPSConnection):
    response_class = _DeadlineResponse


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _DeadlineHTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _DeadlineHTTPSConnection


class DeadlineAdapter(HTTPAdapter):
    """Requests' own adapter over connections that keep a total deadline.

    It is made for many calls of few addresses with the adapter's own certificates: what Requests works out anew for
    every call is remembered by address, and cookies are not read.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Put the connection pools of this module in place of urllib3's."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
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
