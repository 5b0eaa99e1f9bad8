"""The public contract of generations that are waited for, of exports, and of errors: what is sent and answered."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from recto.api.parsing import DEFAULT_PAGE_SIZE, INTEGRAL, WHITE, Body, PageSize, Query
from recto.errors import InvalidRequest
from recto.text.options import GAP, LANGUAGE_PATTERN, MAX_FOCUS_CHARACTERS, Options, Style
from recto.text.source import MAX_CHARACTERS, MIN_CHARACTERS

# The schema says the rule but for its upper bound: few dialects let a pattern count beyond 1,000, and ``maxLength``
# would count the white space.
SOURCE_TEXT_SCHEMA: dict[str, Any] = {
    "minLength": MIN_CHARACTERS,
    "pattern": rf"^[{WHITE}]*[^{WHITE}\x00][^\x00]{{{MIN_CHARACTERS - 2},}}[^{WHITE}\x00][{WHITE}]*$",
}
SOURCE_TEXT_RULE = (
    f"{MIN_CHARACTERS} to {{most}} characters (Unicode code points), white space at both ends not counted; neither NUL "
    "characters nor lone surrogates."
)
SourceText = Annotated[
    StrictStr,
    Field(description=SOURCE_TEXT_RULE.format(most=MAX_CHARACTERS), json_schema_extra=SOURCE_TEXT_SCHEMA),
]


class CardOptions(Body):
    """What the cards shall be like."""

    language: Annotated[
        StrictStr | None,
        Field(
            pattern=LANGUAGE_PATTERN,
            description="In which language to write: a BCP 47 tag. The text's own if left out.",
            examples=["pl", "pt-BR"],
        ),
    ] = None
    focus: Annotated[
        StrictStr | None,
        Field(
            description=f"What the cards shall be about: one line of at most {MAX_FOCUS_CHARACTERS} characters.",
            examples=["dates", "the Calvin cycle"],
            json_schema_extra={
                "minLength": 1,
                "maxLength": MAX_FOCUS_CHARACTERS,
                "pattern": rf"^[^\x00-\x1f\x7f-\x9f{WHITE}]([^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f{WHITE}])?$",
            },
        ),
    ] = None
    style: Annotated[
        Style, Field(description=f"`cloze`: the front is a sentence with `{GAP}` in the place of the back.")
    ] = "question"

    def options(self, *, count: int | None = None, most: int) -> Options:
        """Return the options of which ``count`` is one. Raises ``InvalidRequest`` if it is above ``most``."""
        if count is not None and count > most:
            raise InvalidRequest(f"count must be at most {most}.")
        return Options(count, self.language, self.focus, self.style)


class CreateGeneration(CardOptions):
    """What to make flashcard proposals of."""

    source_text: SourceText
    count: Annotated[
        StrictInt | None,
        Field(
            ge=1,
            description="How many proposals to make. If fewer come and there is time, the model is asked once more. "
            "Left out, it is asked once for as many as the text has facts for.",
        ),
        INTEGRAL,
    ] = None
    include: Annotated[
        list[Literal["grounding"]],
        Field(
            max_length=1,
            description="`grounding`: where each proposal stands in the source text, and whether that supports it.",
        ),
    ] = []


class ReportAccepted(Body):
    """How many of a generation's proposals the learner accepted: together at most its `generated_count`."""

    accepted_unedited_count: Annotated[StrictInt, Field(ge=0, description="As they were proposed."), INTEGRAL]
    accepted_edited_count: Annotated[StrictInt, Field(ge=0, description="After an edit."), INTEGRAL]


Dropped = Annotated[
    dict[str, int],
    Field(description="How many cards the model wrote that are not proposed, by reason.", examples=[{"duplicate": 1}]),
]
Language = Annotated[
    str | None,
    Field(
        description="In which language the cards turned out to be, as found by looking at them all; null unless "
        "`language` was sent.",
        examples=["pl"],
    ),
]
Incomplete = Annotated[
    str | None,
    Field(
        description="Why there are not all the cards that there would have been; null if there are. `max_tokens`, "
        "`content_filter`, `model_stopped` (there are fewer than were asked for), or the code of what ended a "
        "stream, such as `upstream_timeout`."
    ),
]


NextCursor = Annotated[str | None, Field(description="Send it as `cursor` for the next page; null on the last.")]


class FlashcardProposal(BaseModel):
    """A flashcard that the model proposes. Plain text: never interpret it as HTML."""

    model_config = ConfigDict(frozen=True)

    temp_id: Annotated[str, Field(description="Unique within this answer.", examples=["temp-1"])]
    front: str
    back: str
    source: Literal["ai-full"] = "ai-full"


Quote = Annotated[
    str | None,
    Field(description="What the source text says of it: one sentence or two neighbours; null if they share nothing."),
]
Start = Annotated[
    int | None, Field(description="Where `quote` begins in the trimmed source text, in Unicode code points from 0.")
]
End = Annotated[int | None, Field(description="Behind the last code point of `quote`.")]


class GroundedProposal(FlashcardProposal):
    """A flashcard that the model proposes, and where it stands in the source text."""

    quote: Quote
    start: Start
    end: End
    grounded: Annotated[bool, Field(description="Whether the source text supports it.")]


class CreatedGeneration(BaseModel):
    """The proposals, which are stored nowhere, and the key of the generation's record."""

    generation_id: Annotated[
        int | None,
        Field(description="Null if the record could not be written yet: it follows once the database can be reached."),
    ]
    flashcards_proposals: Annotated[list[GroundedProposal | FlashcardProposal], Field(min_length=1)]
    generated_count: Annotated[int, Field(ge=1)]
    dropped: Dropped
    incomplete: Incomplete
    language: Language


class GenerationDone(BaseModel):
    """The data of the event `done`, the last one of a stream of proposals."""

    generation_id: int | None
    generated_count: int
    dropped: Dropped
    incomplete: Incomplete
    language: Language


class Generation(BaseModel):
    """The record of a generation."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    user_id: UUID
    model: Annotated[str, Field(description="The model that answered.")]
    generated_count: int
    accepted_unedited_count: int | None
    accepted_edited_count: int | None
    source_text_hash: Annotated[str, Field(description="SHA-256 of the trimmed source text's UTF-8, hexadecimal.")]
    source_text_length: Annotated[int, Field(description="Characters of the trimmed source text.")]
    generation_duration: Annotated[int, Field(description="Milliseconds.")]
    prompt_version: Annotated[
        str | None, Field(description="Null if an app that shares the table wrote the record itself.")
    ]
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: float | None
    dropped: Dropped
    incomplete: Incomplete
    first_proposal_ms: Annotated[int | None, Field(description="Until the first card was there; null if not streamed.")]
    created_at: datetime
    updated_at: datetime


class GenerationPage(BaseModel):
    """The caller's generations, newest first."""

    model_config = ConfigDict(from_attributes=True)

    generations: list[Generation]
    next_cursor: NextCursor


class GenerationErrorLog(BaseModel):
    """The record of a generation that the provider failed."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    user_id: UUID
    model: str
    source_text_hash: str
    source_text_length: int
    error_code: Annotated[str, Field(examples=["upstream_timeout", "upstream_http_error_503"])]
    error_message: str
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: float | None
    created_at: datetime


class GenerationErrorLogPage(BaseModel):
    """The caller's failed generations, newest first."""

    model_config = ConfigDict(from_attributes=True)

    generation_error_logs: list[GenerationErrorLog]
    next_cursor: NextCursor


class PageQuery(Query):
    """Which part of a list to return."""

    cursor: Annotated[int | None, Field(ge=1, le=2**63 - 1, description="The `next_cursor` of the page before.")] = None
    limit: PageSize = DEFAULT_PAGE_SIZE


class Flashcard(BaseModel):
    """A flashcard as plain text."""

    front: Annotated[StrictStr, Field(min_length=1, max_length=10_000)]
    back: Annotated[StrictStr, Field(min_length=1, max_length=10_000)]
    style: Annotated[Style, Field(description=f"`cloze`: a cloze note, if `front` has a gap (`{GAP}`) for `back`.")] = (
        "question"
    )
    render_id: Annotated[
        UUID | None,
        Field(
            alias="renderId",
            description="Of one of the caller's pictures: its first variant stands below the back. 64 MiB together.",
        ),
    ] = None


class ExportAnki(Body):
    """The flashcards of an Anki deck."""

    deck_name: Annotated[StrictStr, Field(min_length=1, max_length=100, pattern=r"[^\s\x00-\x1f\x7f-\x9f]")] = "Recto"
    flashcards: Annotated[list[Flashcard], Field(min_length=1, max_length=1000)]


class Error(BaseModel):
    """Every error of the service has this form."""

    error: Annotated[str, Field(description="A stable code, for programs.", examples=["invalid_request"])]
    message: Annotated[str, Field(description="A sentence, for people.")]


class Status(BaseModel):
    """The service is well."""

    status: Literal["ok"] = "ok"
