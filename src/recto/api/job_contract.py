"""The public contract of generations that are kept for review: in the background, in sessions, of decks."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr, model_validator

from recto.api.contract import DEFAULT_PAGE_SIZE, Body, CreateGeneration, PageSize, Query
from recto.db.jobs import JobRow
from recto.errors import InvalidRequest
from recto.text.source import UNSTORABLE

Status = Literal["pending", "running", "succeeded", "failed", "canceled"]
SuggestionStatus = Literal["proposed", "accepted", "accepted_edited", "rejected"]

MAX_WAIT_S = 25
MAX_COUNT = 50
MAX_BANLIST = 500
MAX_REVIEWS = 500

_Model = Annotated[
    StrictStr | None, Field(description="One of the models that the service allows; the service's default if left out.")
]
_PromptVersion = Annotated[StrictStr | None, Field(description="One that exists; the newest if left out.")]


def _storable(text: str) -> str:
    if UNSTORABLE.search(text):
        raise ValueError("must not contain NUL characters or lone surrogates")
    return text


_Side = Annotated[StrictStr, Field(min_length=1, max_length=10_000, pattern=r"\S"), AfterValidator(_storable)]


class StartGeneration(CreateGeneration):
    """What to make flashcard proposals of, and how."""

    model: _Model = None
    prompt_version: _PromptVersion = None


class StartDeckGeneration(Body):
    """What to make a deck's pairs of: a source text, or a topic that the model knows about."""

    source_text: Annotated[StrictStr | None, Field(description="1,000 to 10,000 characters; or send `topic`.")] = None
    topic: Annotated[StrictStr | None, Field(description="3 to 200 characters; or send `source_text`.")] = None
    count: Annotated[
        StrictInt, Field(ge=1, le=MAX_COUNT, description="Pairs to make; fewer if there is no more to ask.")
    ]
    banlist: Annotated[
        list[_Side], Field(max_length=MAX_BANLIST, description="Fronts that must not come; those of the deck never do.")
    ] = []
    model: _Model = None
    prompt_version: _PromptVersion = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.source_text is None) == (self.topic is None):
            raise ValueError("send either source_text or topic")
        return self


class StartedGeneration(BaseModel):
    """The generation is queued."""

    generation_id: UUID
    status: Status = "pending"


class GenerationError(BaseModel):
    """Why a generation failed."""

    code: Annotated[str, Field(examples=["upstream_timeout"])]
    message: str


class AiGeneration(BaseModel):
    """A generation whose proposals are kept for review."""

    generation_id: UUID
    kind: Literal["review", "session", "deck"]
    status: Status
    deck_id: UUID | None
    count: Annotated[int | None, Field(description="Pairs asked for, of a deck's.")]
    attempts: Annotated[int, Field(description="Begun so far.")]
    retries: Annotated[int, Field(description="Asked for by the caller.")]
    model: Annotated[str | None, Field(description="The model that answered.")]
    prompt_version: str
    source_text_hash: str
    source_text_length: int
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: float | None
    created_at: datetime
    started_at: Annotated[datetime | None, Field(description="Of the last attempt.")]
    finished_at: datetime | None
    retry_at: Annotated[datetime | None, Field(description="When it may be retried; null if it cannot be.")]
    error: GenerationError | None
    suggestions_count: int

    @classmethod
    def of(cls, row: JobRow, *, retry_window: timedelta, **more: Any) -> Self:
        """Describe a job. Between two attempts it is pending, and shows no error."""
        shown = {name: getattr(row, name) for name in cls.model_fields if hasattr(JobRow, name)}
        shown |= {
            "generation_id": row.id,
            "model": row.model_used,
            "retry_at": row.retry_at(retry_window),
            "error": GenerationError(**row.error) if row.error and row.status == "failed" else None,
        }
        return cls(**(shown | more))


class AiGenerationPage(BaseModel):
    """The caller's generations, newest first."""

    generations: list[AiGeneration]
    next_cursor: Annotated[str | None, Field(description="Send it as `cursor` for the next page; null on the last.")]


class DeckGeneration(AiGeneration):
    """A deck's latest generation and how far it is."""

    pairs_generated: int


class Suggestion(BaseModel):
    """A proposal under review. Plain text: never interpret it as HTML."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    generation_id: UUID
    position: Annotated[int, Field(ge=1)]
    front: str
    back: str
    status: SuggestionStatus


class SuggestionList(BaseModel):
    """Suggestions in the order of their generation."""

    model_config = ConfigDict(from_attributes=True)

    suggestions: list[Suggestion]


class PairPage(BaseModel):
    """A deck's pairs, oldest first."""

    model_config = ConfigDict(from_attributes=True)

    pairs: list[Suggestion]
    next_cursor: Annotated[str | None, Field(description="Send it as `cursor` for the next page; null on the last.")]


class ReviewSuggestion(Body):
    """A decision, which may be changed later. A front or a back that differs makes it an edited card."""

    status: Literal["accepted", "rejected"]
    front: _Side | None = None
    back: _Side | None = None


class SuggestionReview(ReviewSuggestion):
    """A decision on one of several."""

    id: UUID


class ReviewSuggestions(Body):
    """Decisions on several suggestions of one generation: all are noted, or none."""

    reviews: Annotated[list[SuggestionReview], Field(min_length=1, max_length=MAX_REVIEWS)]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if len({review.id for review in self.reviews}) < len(self.reviews):
            raise ValueError("reviews: a suggestion is reviewed twice")
        return self


class Usage(BaseModel):
    """What the caller's generations count against the quota of this calendar month (UTC)."""

    model_config = ConfigDict(from_attributes=True)

    limit: Annotated[int | None, Field(description="Generations a month; null if there is no quota.")]
    used: Annotated[int, Field(description="Succeeded this month.")]
    reserved: Annotated[int, Field(description="In flight.")]
    resets_at: datetime


class ReviewSession(BaseModel):
    """The proposals of a session."""

    id: UUID
    proposals: list[Suggestion]


class Meta(BaseModel):
    """What the caller may want to show beside the proposals."""

    quota: Usage


class CreatedSession(BaseModel):
    """The proposals of a generation that was waited for."""

    session: ReviewSession
    generation: AiGeneration
    meta: Meta


class RetriedGeneration(BaseModel):
    """The generation is queued again."""

    generation: AiGeneration


class FailedGeneration(BaseModel):
    """The provider failed; the generation can be retried."""

    error: str
    message: str
    generation_id: UUID


class WaitQuery(Query):
    """How long to wait for the end of a generation."""

    wait: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_WAIT_S,
            description="Seconds. The answer comes as soon as the generation has ended or, with `If-None-Match`, "
            "as soon as anything about it changed.",
        ),
    ] = 0


class SuggestionQuery(Query):
    """Which suggestions to return."""

    status: SuggestionStatus | None = None


class AiGenerationQuery(Query):
    """Which part of the list to return."""

    status: Status | None = None
    cursor: Annotated[
        str | None, Field(pattern=r"^\d{1,17}\.[0-9a-f]{32}$", description="The `next_cursor` of the page before.")
    ] = None
    limit: PageSize = DEFAULT_PAGE_SIZE

    @property
    def before(self) -> tuple[datetime, UUID] | None:
        """Where the page before ended. Raises ``InvalidRequest``."""
        if self.cursor is None:
            return None
        microseconds, _, job_id = self.cursor.partition(".")
        try:
            return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(microseconds)), UUID(job_id)
        except OverflowError:
            raise InvalidRequest("cursor: not one of this list's.") from None

    @staticmethod
    def cursor_after(row: JobRow) -> str:
        """Return the cursor of the page that begins after the row."""
        microseconds = (row.created_at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
        return f"{microseconds}.{row.id.hex}"
