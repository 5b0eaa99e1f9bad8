"""The only place where an exception becomes a response."""

from math import ceil

import psycopg
from flask import Flask, Response, request
from pydantic_core import to_json
from werkzeug.exceptions import HTTPException

from recto.db.pool import AWAY
from recto.errors import (
    AddressTooLong,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RectoError,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    UpstreamError,
)
from recto.telemetry import log_failure

_BY_STATUS = {
    error.status: error for error in (NotFound, MethodNotAllowed, PayloadTooLarge, AddressTooLong, UnsupportedMediaType)
}
# PostgreSQL restarts in seconds; who comes back too early waits for a connection once more.
_DATABASE_BACK_IN_S = 5


def register(app: Flask) -> None:
    """Answer every error of the app in the one envelope of the contract."""
    app.register_error_handler(RectoError, failure)
    app.register_error_handler(HTTPException, _http)
    for away in AWAY:
        app.register_error_handler(away, _database_away)
    app.register_error_handler(Exception, _unforeseen)


def failure(error: RectoError, *, retry_after_s: float | None = None, **details: str) -> Response:
    """Answer with an error; ``details`` stand beside its code and message.

    ``retry_after_s`` replaces what the error itself says.
    """
    response = Response(
        to_json({"error": code(type(error), request.path), "message": error.message} | error.details | details),
        status=error.status,
        mimetype="application/json",
    )
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    if (wait_s := error.retry_after_s if retry_after_s is None else retry_after_s) is not None:
        response.headers["Retry-After"] = str(ceil(wait_s))
    return response


def code(error: type[RectoError], path: str) -> str:
    """Return an error's code as callers of ``path`` read it; at ``/v1`` in the words of the apps that use it."""
    if not path.removeprefix("/api").startswith("/v1/"):
        return error.code
    if issubclass(error, UpstreamError):
        return "UPSTREAM_ERROR"
    return "VALIDATION_ERROR" if error.status == 400 else error.code.upper()


def _http(error: HTTPException) -> Response:
    """Translate Flask's own errors and keep their headers, such as the Allow of a 405."""
    status = error.code or 500
    if status >= 500:
        return _unforeseen(error)
    response = failure(_BY_STATUS.get(status, InvalidRequest)())
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers.setdefault(name, value)
    return response


def _database_away(error: psycopg.Error) -> Response:
    """Say that it may pass."""
    log_failure(error)
    return failure(Unavailable(retry_after_s=_DATABASE_BACK_IN_S))


def _unforeseen(error: Exception) -> Response:
    log_failure(error)
    return failure(RectoError())
