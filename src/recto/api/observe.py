"""Give every request an id; count, time and log it."""

import re
from time import perf_counter
from urllib.parse import quote
from uuid import uuid4

import structlog
from flask import Flask, Response, g, request

from recto.telemetry import log, request_seconds, requests_in_flight, requests_total

_VALID_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)

# Machines ask for these every few seconds, and the page for its files: they are counted, but not logged.
_QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/playground/<path:filename>"})

# A caller may invent methods; each would be a time series of its own.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def register(app: Flask) -> None:
    """Observe all of the app's requests."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_leave)


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if _VALID_ID.fullmatch(given) else uuid4().hex
    g.started = perf_counter()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)
    requests_in_flight.inc()
    g.in_flight = True


def _end(response: Response) -> Response:
    seconds = perf_counter() - g.started
    route = request.url_rule.rule if request.url_rule else "unmatched"
    method = request.method if request.method in _METHODS else "other"
    requests_total.labels(route, method, response.status_code).inc()
    request_seconds.labels(route).observe(seconds)
    response.headers["X-Request-ID"] = g.request_id
    if route not in _QUIET:
        log.info(
            "request",
            method=method,
            route=route,
            path=quote(request.path),
            status=response.status_code,
            duration_ms=round(seconds * 1000, 1),
            user_id=str(g.user.id) if "user" in g else None,
            **g.get("outcome", {}),
        )
    return response


def _leave(_error: BaseException | None) -> None:
    if g.pop("in_flight", False):
        requests_in_flight.dec()
    structlog.contextvars.clear_contextvars()
