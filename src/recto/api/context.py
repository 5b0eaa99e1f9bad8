"""What views work with: the process's runtime, and answers made of the contract's models."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Any
from uuid import UUID

from flask import Response, current_app
from pydantic import BaseModel

from recto.errors import InvalidRequest, Unavailable
from recto.runtime import Runtime


def runtime() -> Runtime:
    """Return what the process holds."""
    held: Runtime = current_app.extensions["recto"]
    return held


@contextmanager
def place(places: BoundedSemaphore, full: str, *, retry_after_s: float) -> Iterator[None]:
    """Take one of the process's places for what needs much memory.

    Raises ``Unavailable`` with ``full`` as its message if none is free.
    """
    if not places.acquire(blocking=False):
        raise Unavailable(full, retry_after_s=retry_after_s)
    try:
        yield
    finally:
        places.release()


def respond(body: BaseModel, status: int = 200, **headers: Any) -> Response:
    """Answer with a model as JSON."""
    return Response(body.model_dump_json(), status=status, headers=headers, mimetype="application/json")


def parse_uuid(text: str) -> UUID:
    """Read an id of the address. Raises ``InvalidRequest``."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRequest("The id in the address is not a UUID.") from None
