"""What all calls to providers share: the bounds of time and size, and what the transport's failures mean.

An answer is untrusted: whatever it holds, reading it takes time in proportion to its size.
"""

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Any

import jiter
import requests
import urllib3
from requests.adapters import BaseAdapter

from recto.errors import UpstreamConnectionError, UpstreamError, UpstreamInvalidResponse, UpstreamTimeout

# Most of the deadline is for the answer: an address that does not take connections is given up earlier.
CONNECT_TIMEOUT_S = 5.0

# A completion of 15 cards has about 4 KiB. What is larger by this much is not an answer.
MAX_RESPONSE_BYTES = 1024 * 1024

_SECONDS = re.compile("[0-9]{1,9}")  # thirty years; what is longer means nothing

# White space, which JSON allows, and the comment lines of event streams. Possessive: it never goes back.
_PADDING = re.compile(rb"(?:\s++|:[^\n]*+\n?+)*+")


def seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header, which is a number of seconds or a date; None for what is neither."""
    value = (retry_after or "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, OverflowError):
        return None


def send(adapter: BaseAdapter, request: requests.PreparedRequest, timeout_s: float) -> requests.Response:
    """Send a request within a total time, and return the answer with its body still to be read.

    By an adapter: a session would keep cookies, and follow redirects or read their bodies whole.
    """
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, total=timeout_s)
    return adapter.send(request, timeout=timeout)  # type: ignore[arg-type]  # requests passes urllib3's own through


@contextmanager
def translated(failure: type[UpstreamConnectionError], deadline: float) -> Iterator[None]:
    """Turn the transport's failures into a timeout or ``failure``.

    Their texts hold addresses and buffers, so only their types are kept.
    """
    try:
        yield
    except UpstreamError:
        raise
    except requests.ConnectTimeout as error:
        raise UpstreamConnectionError("no connection in time") from error
    except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
        raise UpstreamTimeout(f"no complete answer within the deadline ({type(error).__name__})") from error
    # Malformed answers make the libraries raise other errors, too: http.client a bare ValueError, for one.
    except Exception as error:
        if monotonic() >= deadline:
            raise UpstreamTimeout("no complete answer within the deadline") from error
        raise failure(f"the connection failed ({type(error).__name__})") from error


def read(response: requests.Response) -> bytes:
    """Read and decode the body, which then returns its connection to the pool; refuse a larger one unread.

    Raises ``UpstreamInvalidResponse``, and whatever the transport and zlib raise.
    """
    raw = b""
    while more := _more(response, MAX_RESPONSE_BYTES + 1 - len(raw)):
        raw += more
    if response.headers.get("Content-Encoding", "").strip().lower() in ("gzip", "x-gzip", "deflate"):
        # Some gateways compress unasked. urllib3 would unpack one member after the other, and empty ones have no end.
        raw = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(raw, MAX_RESPONSE_BYTES + 1)
    if len(raw) > MAX_RESPONSE_BYTES:
        response.close()
        raise UpstreamInvalidResponse(f"the answer is larger than {MAX_RESPONSE_BYTES} bytes")
    return raw


def _more(response: requests.Response, size: int) -> bytes:
    more: bytes = response.raw.read(size, decode_content=False)
    return more


def parse(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in the body, an empty one if there is none; keep-alive padding before it is skipped."""
    padding = _PADDING.match(raw)
    try:
        answer = jiter.from_json(raw[padding.end() if padding else 0 :])
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
