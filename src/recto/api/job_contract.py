"""The public contract of generations that are kept for review: in the background, in sessions, of decks."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, model_validator

from recto.api.contract import (
    SOURCE_TEXT_RULE,
    SOURCE_TEXT_SCHEMA,
    CardOptions,
    CreateGeneration,
    Dropped,
    Incomplete,
    NextCursor,
)
from recto.api.parsing import DEFAULT_PAGE_SIZE, INTEGRAL, WHITE, PageSize, Query
from recto.api.review_contract import Cursor, Side, Suggestion
from recto.api.section_contract import Progress
from recto.api.usage_contract import Usage
from recto.db.jobs import JobRow
from recto.text.deck import MAX_COUNT, Part
from recto.text.prompt import PROMPT_VERSIONS
from recto.text.source import MAX_CHARACTERS, MAX_TOPIC_CHARACTERS, MIN_TOPIC_CHARACTERS
from recto.times import LONGEST_WAIT_S

Status = Literal["pending", "running", "succeeded", "failed", "canceled"]

MAX_COUNT_OF_A_TOPIC = 50
MAX_BANLIST = 500
MAX_BANNED_CHARACTERS = 10_000  # as long as a front may be by any setting; the prompt cuts it to the one in force

_Model = Annotated[
    StrictStr | None, Field(description="One of the models that the service allows; the service's default if left out.")
]
_Version = Annotated[StrictStr, Field(json_schema_extra={"enum": list(PROMPT_VERSIONS)})]
_PromptVersion = Annotated[_Version | None, Field(description="One that exists; the newest if left out.")]

_WrittenIn = Annotated[str | None, Field(description="The one that the cards turned out to be in, as its subtag.")]

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_Topic = Annotated[
    StrictStr,
    Field(
        json_schema_extra={
            "minLength": MIN_TOPIC_CHARACTERS,
            "pattern": rf"^[{WHITE}]*[^{WHITE}{_CONTROL}]"
            rf"[^{_CONTROL}]{{{MIN_TOPIC_CHARACTERS - 2},{MAX_TOPIC_CHARACTERS - 2}}}[^{WHITE}{_CONTROL}][{WHITE}]*$",
        },
    ),
]


class StartGeneration(CreateGeneration):
    """What to make flashcard proposals of, and how."""

    model: _Model = None
    prompt_version: _PromptVersion = None


_LongText = Annotated[
    StrictStr,
    Field(
        description=SOURCE_TEXT_RULE.format(most="200000")
        + " The service may have another bound (`DECK_MAX_CHARACTERS`). More than "
        f"{MAX_CHARACTERS} are split into sections.",
        json_schema_extra=SOURCE_TEXT_SCHEMA,
    ),
]


class StartDeckGeneration(CardOptions):
    """What to make a deck's pairs of: a source text, or a topic that the model knows about."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {
                    "required": [sent],
                    "properties": {sent: {"type": "string"}, other: {"type": "null"}, "count": {"maximum": most}},
                }
                for sent, other, most in (
                    ("source_text", "topic", MAX_COUNT),
                    ("topic", "source_text", MAX_COUNT_OF_A_TOPIC),
                )
            ]
        }
    )

    source_text: Annotated[_LongText | None, Field(description="Or send `topic`.")] = None
    topic: Annotated[
        _Topic | None,
        Field(
            description=f"One line of {MIN_TOPIC_CHARACTERS} to {MAX_TOPIC_CHARACTERS} characters, white space at both "
            "ends not counted; or send `source_text`."
        ),
    ] = None
    count: Annotated[
        StrictInt,
        Field(
            ge=1,
            le=MAX_COUNT,
            description=f"Pairs to make, of a topic at most {MAX_COUNT_OF_A_TOPIC}; fewer if there is no more to ask.",
        ),
        INTEGRAL,
    ]
    banlist: Annotated[
        list[Annotated[Side, Field(max_length=MAX_BANNED_CHARACTERS)]],
        Field(max_length=MAX_BANLIST, description="Fronts that must not come; those of the deck never do."),
    ] = []
    model: _Model = None
    prompt_version: _PromptVersion = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.source_text is None) == (self.topic is None):
            raise ValueError("send either source_text or topic")
        if self.topic is not None and self.count > MAX_COUNT_OF_A_TOPIC:
            raise ValueError(f"count must be at most {MAX_COUNT_OF_A_TOPIC} for a topic")
        return self


class StartedGeneration(BaseModel):
    """The generation is queued."""

    generation_id: UUID
    status: Status = "pending"


class GenerationError(BaseModel):
    """Why a generation failed."""

    code: Annotated[str, Field(examples=["upstream_timeout"])]
    message: str

    @classmethod
    def of(cls, row: JobRow) -> Self | None:
        """Describe why a job failed. Between two attempts it is pending, and shows no error."""
        return cls(**row.error) if row.error and row.status == "failed" else None


class AiGeneration(Progress):
    """A generation whose proposals are kept for review."""

    generation_id: UUID
    kind: Literal["review", "session", "deck"]
    status: Status
    deck_id: UUID | None
    count: Annotated[int | None, Field(description="Cards asked for, if that was said.")]
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
    dropped: Dropped
    incomplete: Incomplete
    language: _WrittenIn

    @classmethod
    def of(cls, row: JobRow, *, retry_window: timedelta, **more: Any) -> Self:
        """Describe a job."""
        return cls(
            generation_id=row.id,
            kind=row.kind,
            status=row.status,
            deck_id=row.deck_id,
            count=row.count,
            attempts=row.attempts,
            retries=row.retries,
            model=row.model,
            prompt_version=row.prompt_version,
            source_text_hash=row.source_text_hash,
            source_text_length=row.source_text_length,
            tokens_input=row.tokens_input,
            tokens_output=row.tokens_output,
            cost_usd=row.cost_usd,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            retry_at=row.retry_at(retry_window),
            error=GenerationError.of(row),
            suggestions_count=row.suggestions_count,
            dropped=row.dropped,
            incomplete=row.incomplete,
            language=row.language,
            **Progress.told([Part(**section) for section in row.sections or ()], row.ended_by),
            **more,
        )


class GenerationEnded(BaseModel):
    """The data of the event `done`, the last one of a generation's events."""

    status: Status
    error: GenerationError | None
    dropped: Dropped
    incomplete: Incomplete
    language: _WrittenIn

    @classmethod
    def of(cls, row: JobRow) -> Self:
        """Describe how a job has ended."""
        return cls(
            status=row.status,
            error=GenerationError.of(row),
            dropped=row.dropped,
            incomplete=row.incomplete,
            language=row.language,
        )


class ListedGeneration(AiGeneration):
    """A generation in a list, with what tells it from the others."""

    first_front: Annotated[
        str | None, Field(description="The front of the first suggestion; null if there is none, or none any more.")
    ]
    reviewed_count: Annotated[int, Field(description="Of the suggestions, how many are accepted or rejected.")]


class AiGenerationPage(BaseModel):
    """The caller's generations, newest first."""

    generations: list[ListedGeneration]
    next_cursor: NextCursor


class DeckGeneration(AiGeneration):
    """A deck's latest generation and how far it is."""

    pairs_generated: int


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
            le=LONGEST_WAIT_S,
            description="Seconds. The answer comes as soon as the generation has ended or, with `If-None-Match`, "
            "as soon as anything about it changed.",
        ),
    ] = 0


class AiGenerationQuery(Query):
    """Which part of the list to return."""

    status: Status | None = None
    cursor: Cursor = None
    limit: PageSize = DEFAULT_PAGE_SIZE
