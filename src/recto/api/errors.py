"""The only place where an exception becomes a response."""

from math import ceil

from flask import Flask, Response
from pydantic_core import to_json
from werkzeug.exceptions import HTTPException

from recto.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RectoError,
    Unauthorized,
    UnsupportedMediaType,
)
from recto.telemetry import log_failure

_BY_STATUS = {error.status: error for error in (NotFound, MethodNotAllowed, PayloadTooLarge, UnsupportedMediaType)}


def register(app: Flask) -> None:
    """Answer every error of the app in the one envelope of the contract."""
    app.register_error_handler(RectoError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unforeseen)


def _known(error: RectoError) -> Response:
    response = Response(
        to_json({"error": error.code, "message": error.message} | error.details),
        status=error.status,
        mimetype="application/json",
    )
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(ceil(error.retry_after_s))
    return response


def _http(error: HTTPException) -> Response:
    """Translate Flask's own errors and keep their headers, such as the Allow of a 405."""
    status = error.code or 500
    if status >= 500:
        return _unforeseen(error)
    response = _known(_BY_STATUS.get(status, InvalidRequest)())
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers.setdefault(name, value)
    return response


def _unforeseen(error: Exception) -> Response:
    log_failure(error)
    return _known(RectoError())
