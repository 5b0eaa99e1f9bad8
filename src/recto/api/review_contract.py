"""The public contract of suggestions: proposals that are kept, read and reviewed, also as the pairs of a deck."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, StrictStr, model_validator

from recto.api import cursors
from recto.api.contract import End, NextCursor, Quote, Start
from recto.api.parsing import DEFAULT_PAGE_SIZE, WHITE, Body, PageSize, Query
from recto.api.section_contract import Section
from recto.db.suggestions import SuggestionRow
from recto.errors import InvalidRequest
from recto.text.proposals import Bounds

SuggestionStatus = Literal["proposed", "accepted", "accepted_edited", "rejected"]

MAX_REVIEWS = 500

Side = Annotated[
    StrictStr,
    Field(
        min_length=1,
        pattern=rf"^[^\x00]*[^{WHITE}\x00][^\x00]*$",
        description="Not blank; no NUL characters.",
    ),
]
Cursor = Annotated[str | None, Field(pattern=cursors.PATTERN, description="The `next_cursor` of the page before.")]


class Suggestion(BaseModel):
    """A proposal under review. Plain text: never interpret it as HTML."""

    id: UUID
    generation_id: UUID
    position: Annotated[int, Field(ge=1)]
    front: str
    back: str
    status: SuggestionStatus
    quote: Quote
    start: Start
    end: End
    grounded: Annotated[
        bool | None, Field(description="Whether the source text supports it; null if it was made of a topic.")
    ]
    section: Annotated[Section | None, Field(description="Null if the text was asked as a whole.")]

    @classmethod
    def of(cls, row: SuggestionRow) -> Self:
        """Describe a suggestion."""
        return cls(
            id=row.id,
            generation_id=row.job_id,
            position=row.position,
            front=row.front,
            back=row.back,
            status=row.status,
            quote=row.quote,
            start=row.start,
            end=row.end,
            grounded=row.grounded,
            section=Section(number=row.section, title=row.section_title) if row.section else None,
        )


class SuggestionList(BaseModel):
    """Suggestions in the order of their generation."""

    suggestions: list[Suggestion]


class PairPage(BaseModel):
    """A deck's pairs, oldest first."""

    pairs: list[Suggestion]
    next_cursor: NextCursor


class ReviewSuggestion(Body):
    """A decision, which may be changed later. A front or a back that differs makes it an edited card."""

    status: Literal["accepted", "rejected"]
    front: Side | None = None
    back: Side | None = None

    def require_bounds(self, bounds: Bounds) -> None:
        """Raise ``InvalidRequest`` if a side is longer than a model's may be: it goes into later prompts as well."""
        for name, longest in (("front", bounds.front), ("back", bounds.back)):
            if len(getattr(self, name) or "") > longest:
                raise InvalidRequest(f"{name}: String should have at most {longest} characters.")


class SuggestionReview(ReviewSuggestion):
    """A decision on one of several."""

    id: UUID


class ReviewSuggestions(Body):
    """Decisions on several suggestions of one generation: all are noted, or none."""

    reviews: Annotated[
        list[SuggestionReview],
        Field(
            min_length=1,
            max_length=MAX_REVIEWS,
            description="No suggestion may be in it twice.",
            json_schema_extra={"uniqueItems": True},
        ),
    ]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if len({review.id for review in self.reviews}) < len(self.reviews):
            raise ValueError("reviews: a suggestion is reviewed twice")
        return self


class SuggestionQuery(Query):
    """Which suggestions to return."""

    status: SuggestionStatus | None = None


class PairQuery(Query):
    """Which part of the list to return."""

    cursor: Cursor = None
    limit: PageSize = DEFAULT_PAGE_SIZE
