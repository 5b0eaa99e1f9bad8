"""Rate limits by user and by address, after authentication, on the views that cost money.

Flask-Limiter brings the rules, the keys and the stores. Its own checks stay off: see docs/decisions.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from ipaddress import IPv6Address, ip_address
from math import ceil
from time import time
from typing import ParamSpec

from flask import Flask, Response, current_app, g, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from limits import RateLimitItem
from psycopg import Connection

from recto.api.context import runtime
from recto.db.rate_limits import Counts, PostgresStorage
from recto.db.valkey import ValkeyStorage
from recto.errors import RateLimited, RectoError
from recto.runtime import Runtime

P = ParamSpec("P")

# A household or a server has a whole IPv6 network of this size, and could change its address with every request.
_IPV6_NETWORK_BITS = 64


@dataclass(slots=True)
class Window:
    """One rule for one user or address, and its count.

    ``is_shared``: whether other users count under the same key. ``ends``: seconds since the epoch; 0 before the first
    hit.
    """

    name: str
    key: str
    rule: RateLimitItem
    is_shared: bool
    hits: int = 0
    ends: float = 0.0

    @property
    def left(self) -> int:
        """How many hits are left; negative for who went over."""
        return self.rule.amount - self.hits

    @property
    def resets_in_s(self) -> int:
        """Whole seconds to the window's end; its full length before the first hit."""
        return max(1, ceil(self.ends - time())) if self.ends else self.rule.get_expiry()


def register(app: Flask, runtime: Runtime) -> None:
    """Choose where hits are counted: the service's own database, or what RATE_LIMIT_STORAGE_URL names."""
    url = runtime.settings.rate_limit_storage_url
    limiter = Limiter(
        get_remote_address,
        app=Flask(__name__),  # on ours its own checks would take 30 µs of each request though they are off
        storage_uri=url.get_secret_value() if url else "postgresql://",
        storage_options={} if url else {"pool": runtime.pool},  # type: ignore[dict-item]  # passed on as it is
    )
    app.extensions["recto_limiter"] = limiter
    app.after_request(_add_headers)


def limited(view: Callable[P, Response]) -> Callable[P, Response]:
    """Count the request against all limits before the view runs. Raises ``RateLimited``.

    A request that is refused with a 4xx, by a limit or by the view, gives the address its hit back, because other
    users share it. The user's own hits stay.
    """

    @wraps(view)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Response:
        try:
            if not g.get("is_counted"):
                _count(view)
            return view(*args, **kwargs)
        except RectoError as error:
            if error.status < 500:
                _give_back()
            raise

    checked.__dict__["limited"] = True  # for the OpenAPI document
    return checked


def look(view: Callable[..., Response]) -> None:
    """Count nothing; raise ``RateLimited`` if the next hit of the view would go over a limit."""
    g.windows = windows = _windows(view)
    _read(windows, _storage().look([window.key for window in windows]))
    _refuse([window for window in windows if window.left < 1])


def count_in(conn: Connection, view: Callable[..., Response]) -> None:
    """Count in the transaction of ``conn``, or leave it to ``limited`` where another store counts.

    Raises ``RateLimited``; the transaction must then be rolled back.
    """
    if isinstance(_storage(), PostgresStorage):
        _count(view, conn)


def _count(view: Callable[..., Response], conn: Connection | None = None) -> None:
    g.windows = windows = _windows(view)
    storage = _storage()
    hits = [(window.key, window.rule.get_expiry()) for window in windows]
    counts = storage.hit(hits, conn) if isinstance(storage, PostgresStorage) else storage.hit(hits)
    g.is_counted = True
    _read(windows, counts)
    _refuse([window for window in windows if window.left < 0])


def _give_back() -> None:
    storage = _storage()
    for window in g.windows:
        if window.is_shared:
            window.hits -= 1
            storage.give_back(window.key, window.ends)


def _read(windows: list[Window], counts: Counts) -> None:
    for window, (hits, ends) in zip(windows, counts, strict=True):
        window.hits, window.ends = hits, ends


def _refuse(over: list[Window]) -> None:
    if over:
        wait_s = max(window.resets_in_s for window in over)
        raise RateLimited(f"Too many generations in a short time. Try again in {wait_s} seconds.", retry_after_s=wait_s)


def _windows(view: Callable[..., Response]) -> list[Window]:
    settings = runtime().settings
    user = (f"{view.__module__}.{view.__name__}", str(g.user.id))  # each kind of generation has a limit of its own
    address = (_network(request.remote_addr or ""),)
    return [
        Window(name if number == 1 else f"{name}-{number}", rule.key_for(name, *key), rule, is_shared)
        for name, rules, key, is_shared in (
            ("user", settings.limits_per_user, user, False),
            ("ip", settings.limits_per_ip, address, True),
        )
        for number, rule in enumerate(rules, 1)
    ]


def _storage() -> PostgresStorage | ValkeyStorage:
    storage: PostgresStorage | ValkeyStorage = current_app.extensions["recto_limiter"].storage
    return storage


@lru_cache(maxsize=1024)
def _network(address: str) -> str:
    """Return the key under which an address counts; whatever is no address shares the key ``unknown``."""
    host = address
    if address.startswith("["):
        host = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        host = address.partition(":")[0]
    try:
        parsed = ip_address(host)
    except ValueError:
        return "unknown"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or int(parsed) >> (128 - _IPV6_NETWORK_BITS))


def _add_headers(response: Response) -> Response:
    """Add the limits and what is left of them, as draft-ietf-httpapi-ratelimit-headers has it."""
    if windows := g.get("windows"):
        response.headers["RateLimit-Policy"] = ", ".join(
            f'"{window.name}";q={window.rule.amount};w={window.rule.get_expiry()}' for window in windows
        )
        response.headers["RateLimit"] = ", ".join(
            f'"{window.name}";r={max(0, window.left)};t={window.resets_in_s}' for window in windows
        )
    return response
