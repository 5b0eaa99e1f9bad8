"""How often: limits by user and by address, after authentication, on the views that cost money."""

from collections.abc import Callable
from functools import wraps
from ipaddress import IPv6Address, ip_address
from math import ceil
from time import time
from typing import ParamSpec

from flask import Flask, Response, current_app, g, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from recto.db.rate_limits import PostgresStorage
from recto.errors import RateLimited
from recto.runtime import Runtime

P = ParamSpec("P")

# A household or a server has a whole IPv6 network of this size, and could change its address with every request.
_IPV6_NETWORK_BITS = 64


def register(app: Flask, runtime: Runtime) -> None:
    """Choose where hits are counted: the service's own database, unless RATE_LIMIT_STORAGE_URL names another store."""
    url = runtime.settings.rate_limit_storage_url
    limiter = Limiter(
        get_remote_address,
        app=app,
        storage_uri=url or "postgresql://",
        storage_options={} if url else {"pool": runtime.pool},  # type: ignore[dict-item]  # passed on as it is
    )
    limiter.enabled = False  # its own checks, before each request; `limited` takes their place
    app.extensions["recto_limiter"] = limiter
    app.after_request(_add_headers)


def limited(view: Callable[P, Response]) -> Callable[P, Response]:
    """Count the request against both limits before the view runs. Raises ``RateLimited``.

    It counts in Flask-Limiter's storage itself, in a fixed window for each limit: the extension's default limits run
    before a blueprint's authentication, and its own checks take a round trip for each limit and more for the headers.
    """
    scope = f"{view.__module__}.{view.__name__}"  # each kind of generation has a user's limit of its own

    @wraps(view)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Response:
        _check(scope)
        return view(*args, **kwargs)

    return checked


def _check(scope: str) -> None:
    settings = current_app.extensions["recto"].settings
    rules = (
        ("user", settings.limit_per_user, (scope, str(g.user.id))),
        ("ip", settings.limit_per_ip, (_network(request.remote_addr or ""),)),
    )
    hits = _hit([(rule.key_for(name, *key), rule.get_expiry()) for name, rule, key in rules])
    now = time()
    g.rate_limits = [
        (name, rule, rule.amount - count, max(1, ceil(ends - now)))
        for (name, rule, _), (count, ends) in zip(rules, hits, strict=True)
    ]
    if waits := [resets_in_s for _, _, left, resets_in_s in g.rate_limits if left < 0]:
        wait_s = max(waits)
        raise RateLimited(f"Too many generations in a short time. Try again in {wait_s} seconds.", retry_after_s=wait_s)


def _hit(windows: list[tuple[str, int]]) -> list[tuple[int, float]]:
    storage = current_app.extensions["recto_limiter"].storage
    if isinstance(storage, PostgresStorage):
        return storage.hit(windows)
    return [(storage.incr(key, expiry), storage.get_expiry(key)) for key, expiry in windows]


def _network(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and not parsed.ipv4_mapped:
        return str(int(parsed) >> (128 - _IPV6_NETWORK_BITS))
    return str(parsed)


def _add_headers(response: Response) -> Response:
    """Tell the limits in the form of draft-ietf-httpapi-ratelimit-headers."""
    if windows := g.get("rate_limits"):
        response.headers["RateLimit-Policy"] = ", ".join(
            f'"{name}";q={rule.amount};w={rule.get_expiry()}' for name, rule, _, _ in windows
        )
        response.headers["RateLimit"] = ", ".join(
            f'"{name}";r={max(0, left)};t={reset}' for name, _, left, reset in windows
        )
    return response
