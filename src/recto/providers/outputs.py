"""The files that Replicate's models make, fetched from the addresses that it names.

An address comes from outside. It may be one of Replicate's own hosts or one that the operator trusts, and no private
address stands behind it: a name may resolve to one, so the connection's other end is looked at before anything is sent.
"""

import socket
from collections.abc import Collection
from ipaddress import ip_address
from time import monotonic
from typing import ClassVar
from urllib.parse import urlsplit

import requests
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

from recto.errors import UpstreamBrokenAnswer, UpstreamConnectionError, UpstreamError, UpstreamHTTPError
from recto.providers.deadline import (
    DeadlineAdapter,
    DeadlineHTTPConnection,
    DeadlineHTTPSConnection,
    DeadlineResponse,
)
from recto.providers.transport import send, translated

MAX_BYTES = 25 * 1024 * 1024
HOST = "replicate.delivery"

_HEAD_AND_FRAMING_BYTES = 1024 * 1024


class OutputRefused(UpstreamError):
    """The image model's provider sent an output that is not taken."""

    code = "upstream_invalid_response"
    log_code = "upstream_output_refused"


class Outputs:
    """Fetches outputs. Safe to share between threads and greenlets.

    ``trusted``: further hosts (``cdn.example.com``, for https), and whole origins (``http://127.0.0.1:9000``), which
    are trusted whatever their address is: a sandbox.
    """

    def __init__(self, *, trusted: Collection[str] = (), timeout_ms: int) -> None:
        self._hosts = frozenset(entry.lower() for entry in trusted if "://" not in entry)
        self._origins = frozenset(entry.lower().rstrip("/") for entry in trusted if "://" in entry)
        self._timeout_s = timeout_ms / 1000
        self._public = _PublicAdapter(pool_maxsize=4)
        self._any = _LargeAdapter(pool_maxsize=4)

    def fetch(self, url: str) -> bytes:
        """Return the file. The time is a total one; redirects are not followed.

        Raises ``OutputRefused`` if the address is not allowed, answers that there is nothing, or sends more than
        ``MAX_BYTES``, and other ``UpstreamError``s, after which it may be tried again.
        """
        adapter = self._adapter(url)
        deadline = monotonic() + self._timeout_s
        request = requests.Request("GET", url, headers={"User-Agent": "recto", "Accept-Encoding": "identity"}).prepare()
        with translated(UpstreamConnectionError, deadline):
            response = send(adapter, request, self._timeout_s)
        with response, translated(UpstreamBrokenAnswer, deadline):
            status = response.status_code
            if status == 429 or status >= 500:
                raise UpstreamHTTPError(status, f"HTTP {status} for an output")
            if status != 200:
                raise OutputRefused(f"HTTP {status} for an output", upstream_status=status)
            data: bytes = response.raw.read(MAX_BYTES + 1, decode_content=False)
            if len(data) > MAX_BYTES:
                raise OutputRefused(f"an output of more than {MAX_BYTES} bytes", upstream_status=status)
        return data

    def _adapter(self, url: str) -> DeadlineAdapter:
        """Return what may fetch the address. Raises ``OutputRefused``."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise OutputRefused("a malformed address") from None
        if parts.username is not None or parts.password is not None or not url.isascii() or not url.isprintable():
            raise OutputRefused("a malformed address")
        if f"{parts.scheme}://{parts.netloc}".lower() in self._origins:
            return self._any
        is_known = host == HOST or host.endswith(f".{HOST}") or host in self._hosts
        if parts.scheme != "https" or port not in (None, 443) or not is_known:
            raise OutputRefused("an address that is not the provider's")
        return self._public


class _LargeResponse(DeadlineResponse):
    max_bytes = MAX_BYTES + _HEAD_AND_FRAMING_BYTES


class _LargeHTTPConnection(DeadlineHTTPConnection):
    response_class = _LargeResponse


class _LargeHTTPSConnection(DeadlineHTTPSConnection):
    response_class = _LargeResponse


class _PublicHTTPSConnection(_LargeHTTPSConnection):
    """Refuses to speak to a private address, before TLS begins."""

    def _new_conn(self) -> socket.socket:
        conn = super()._new_conn()
        peer = ip_address(conn.getpeername()[0])
        address = getattr(peer, "ipv4_mapped", None) or peer
        if not address.is_global or address.is_multicast:
            conn.close()
            raise OutputRefused("an address that is not public")
        return conn


class _LargeHTTPPool(HTTPConnectionPool):
    ConnectionCls = _LargeHTTPConnection


class _LargeHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _LargeHTTPSConnection


class _PublicHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicHTTPSConnection


class _LargeAdapter(DeadlineAdapter):
    pool_classes: ClassVar = {"http": _LargeHTTPPool, "https": _LargeHTTPSPool}


class _PublicAdapter(DeadlineAdapter):
    pool_classes: ClassVar = {"https": _PublicHTTPSPool}
