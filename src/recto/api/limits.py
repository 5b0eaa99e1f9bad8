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

from recto.db import rate_limits  # noqa: F401  registers the storage for postgresql:// addresses
from recto.errors import RateLimited
from recto.runtime import Runtime

P = ParamSpec("P")

# A household or a server has a whole IPv6 network of this size, and could change its address with every request.
_IPV6_NETWORK_BITS = 64


def register(app: Flask, runtime: Runtime) -> None:
    """Choose where hits are counted: the service's own database, unless RATE_LIMIT_STORAGE_URL names another store."""
    url = runtime.settings.rate_limit_storage_url
    app.extensions["recto_limiter"] = Limiter(
        get_remote_address,
        app=app,
        storage_uri=url or "postgresql://",
        storage_options={} if url else {"pool": runtime.pool},  # type: ignore[dict-item]  # passed on as it is
        strategy="fixed-window",
    )
    app.after_request(_add_headers)


def limited(view: Callable[P, Response]) -> Callable[P, Response]:
    """Count the request against both limits before the view runs. Raises ``RateLimited``.

    It asks Flask-Limiter's strategy itself: the extension's default limits run before a blueprint's authentication,
    and its decorators and contexts cost 50 to 150 µs a request more.
    """

    @wraps(view)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Response:
        _check()
        return view(*args, **kwargs)

    return checked


def _check() -> None:
    settings = current_app.extensions["recto"].settings
    strategy = current_app.extensions["recto_limiter"].limiter
    g.rate_limits = []
    for name, rule, key in (
        ("user", settings.limit_per_user, str(g.user.id)),
        ("ip", settings.limit_per_ip, _network(request.remote_addr or "")),
    ):
        allowed = strategy.hit(rule, name, key)
        window = strategy.get_window_stats(rule, name, key)
        resets_in_s = max(1, ceil(window.reset_time - time()))
        g.rate_limits.append((name, rule, window.remaining, resets_in_s))
        if not allowed:
            raise RateLimited(
                f"Too many generations in a short time. Try again in {resets_in_s} seconds.",
                retry_after_s=resets_in_s,
            )


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
        response.headers["RateLimit"] = ", ".join(f'"{name}";r={left};t={reset}' for name, _, left, reset in windows)
    return response
