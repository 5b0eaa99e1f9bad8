"""Which errors an operation may answer with, as the OpenAPI document tells them: read from ``recto.errors``."""

from collections.abc import Iterable, Iterator
from typing import Any

from recto.api.errors import code
from recto.api.operation import Operation
from recto.errors import (
    AddressTooLong,
    Canceled,
    IdempotencyKeyReused,
    InProgress,
    InvalidRequest,
    PayloadTooLarge,
    QuotaExceeded,
    RateLimited,
    RectoError,
    RequestTimeout,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)

# What callers should know beside the default messages.
_NOTES = {
    400: " The message says which rule is broken.",
    401: " None was sent, or one that is malformed, forged, expired or not a user's.",
    402: " `resetsAt` says until when.",
    404: " What is another user's is not there either.",
    413: " It may have 256 KiB, of a deck 12 bytes for each character that its text may have, with pictures 31 MiB.",
    429: " A retry that comes too soon is limited too, and so are too many bodies at once.",
    502: " The failure is recorded in the caller's generation error logs.",
}


def by_status(
    operation: Operation, parameters: list[dict[str, Any]], path: str, *, public: bool
) -> dict[int, dict[str, str]]:
    """Return by status the codes that an operation may answer with, each with its default message."""
    told: dict[int, dict[str, str]] = {}
    for error in _possible(operation, parameters, public=public):
        for kind in _kinds(error):
            # gunicorn answers to an address that is too long, and knows no paths.
            spelled = code(kind, "" if kind is AddressTooLong else path)
            told.setdefault(kind.status, {}).setdefault(spelled, kind.default_message())
    return told


def description(status: int, messages: dict[str, str]) -> str:
    """Say what a status means: each code with its message."""
    return " ".join(f"`{code}`: {message}" for code, message in messages.items()) + _NOTES.get(status, "")


def _possible(operation: Operation, parameters: list[dict[str, Any]], *, public: bool) -> Iterator[type[RectoError]]:
    """Yield the errors that follow from the declaration, and those that it names."""
    yield from (AddressTooLong, RectoError)
    if not public:
        yield from (Unauthorized, Unavailable)
    # A key is kept with a hash of the body, also of one that no view reads.
    if operation.body or operation.idempotent:
        yield from (InvalidRequest, RequestTimeout, PayloadTooLarge, RateLimited)
    if operation.body:
        yield UnsupportedMediaType
    if operation.query or any(parameter["schema"].get("format") == "uuid" for parameter in parameters):
        yield InvalidRequest
    if operation.limited:
        yield RateLimited
    if operation.idempotent:
        yield from (InProgress, IdempotencyKeyReused, QuotaExceeded)
    yield from operation.errors


def _kinds(error: type[RectoError]) -> Iterable[type[RectoError]]:
    """Yield the error and its subclasses of the same status, but ``Canceled``, whose caller is gone."""
    yield error
    for kind in error.__subclasses__():
        if kind.status == error.status and kind is not Canceled:
            yield from _kinds(kind)
