"""What a view declares of itself: what it takes and what it answers. The OpenAPI document is collected from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import getdoc
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from recto.api.parsing import Body, Query
from recto.errors import RectoError

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Operation:
    """One view's declaration. What each field means stands at ``operation``."""

    id: str
    summary: str
    description: str
    answers: Mapping[int, type[BaseModel] | str | None]
    errors: tuple[type[RectoError], ...]
    body: type[Body] | None
    query: type[Query] | None
    headers: Mapping[str, str]
    request_headers: Mapping[str, str]
    events: str | None
    limited: bool = False
    idempotent: bool = False

    @classmethod
    def of(cls, view: Callable[..., Any]) -> Self | None:
        """Return what the view and its decorators declare; None if it is no part of the API."""
        notes = view.__dict__  # which each wrapper takes over from what it wraps
        declared: Self | None = notes.get("operation")
        if declared is None:
            return None
        return replace(declared, limited="limited" in notes, idempotent="idempotent" in notes)


def operation(
    operation_id: str,
    *,
    answers: Mapping[int, type[BaseModel] | str | None],
    errors: tuple[type[RectoError], ...] = (),
    body: type[Body] | None = None,
    query: type[Query] | None = None,
    headers: Mapping[str, str] | None = None,
    request_headers: Mapping[str, str] | None = None,
    events: str | None = None,
) -> Callable[[View], View]:
    """Declare a view's part of the API. Whether it is ``limited`` and ``idempotent`` is read from those decorators.

    The view's docstring is what callers read: its first line is the summary, what follows the description.

    ``answers``: by status the model of the answer, its media type, or None for an empty one. ``errors``: those
    that the document cannot know from the rest of the declaration, the route and its decorators. ``body`` and
    ``query``: what the view parses. ``headers``: what the answers carry; ``request_headers``: what may be sent; both
    by name, with a sentence each. ``events``: which events a 200 has, where they may be asked for in place of JSON.
    """

    def declare(view: View) -> View:
        summary, _, description = (getdoc(view) or "").partition("\n")
        view.__dict__["operation"] = Operation(
            id=operation_id,
            summary=summary.removesuffix("."),
            description=description.strip(),
            answers=answers,
            errors=errors,
            body=body,
            query=query,
            headers=headers or {},
            request_headers=request_headers or {},
            events=events,
        )
        return view

    return declare
