"""What all calls to providers share: how long connecting may take, and what the transport's failures mean."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from time import monotonic, time

import requests
import urllib3

from recto.errors import UpstreamConnectionError, UpstreamError, UpstreamTimeout

# Most of the deadline is for the answer: an address that does not take connections is given up earlier.
CONNECT_TIMEOUT_S = 5.0

_SECONDS = re.compile("[0-9]{1,9}")  # thirty years; what is longer means nothing


def seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header, which is a number of seconds or a date; None for what is neither."""
    value = (retry_after or "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, OverflowError):
        return None


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
