"""The public contract of the statistics: how good the models' cards were, and what they cost."""

from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from recto.api.contract import Dropped
from recto.api.parsing import Query
from recto.db.stats import MAX_DAYS


class StatsQuery(Query):
    """Which days to look at."""

    days: Annotated[int, Field(ge=1, le=MAX_DAYS, description="The last days in UTC, today included.")] = 30


class ModelStats(BaseModel):
    """What one model made with one version of the prompt in one language. Pictures are not counted."""

    model_config = ConfigDict(from_attributes=True)

    model: Annotated[str, Field(description="The model that answered, else the one that was asked.")]
    prompt_version: Annotated[str | None, Field(description="Null for failures of before it was recorded with them.")]
    language: Annotated[str | None, Field(description="Null if it is not known.")]
    generations: int
    failures: Annotated[int, Field(description="Attempts that brought no card, those that were tried again too.")]
    proposed: Annotated[int, Field(description="Cards.")]
    dropped: Dropped
    accepted_unedited: Annotated[int, Field(description="Cards that were kept as they were proposed.")]
    accepted_edited: Annotated[int, Field(description="Cards that were kept after an edit.")]
    rejected: Annotated[int, Field(description="In reviews here: an app that reviews by itself reports what it kept.")]
    grounded: Annotated[int, Field(description="Cards that their source text supports, of `grounding_known`.")]
    grounding_known: Annotated[
        int, Field(description="Cards of which it was looked at whether the text supports them.")
    ]
    tokens_input: Annotated[int | None, Field(description="Of all calls, failed ones too; null if none was told.")]
    tokens_output: int | None
    cost_usd: Annotated[float | None, Field(description="Each dollar once: of all calls, failed ones too.")]
    tokens_per_kept_card: Annotated[float | None, Field(description="Both kinds; null if no card was kept.")]
    cost_usd_per_kept_card: float | None
    median_first_proposal_ms: Annotated[
        int | None, Field(description="Until the first card was there, of what was streamed; null if nothing was.")
    ]


class DayCost(BaseModel):
    """What one day cost."""

    model_config = ConfigDict(from_attributes=True)

    date: Annotated[date, Field(description="In UTC.")]
    cost_usd: float


class Stats(BaseModel):
    """What the caller's generations came to."""

    model_config = ConfigDict(from_attributes=True)

    days: int
    since: Annotated[datetime, Field(description="The beginning of the first day.")]
    models: list[ModelStats]
    cost_by_day: Annotated[list[DayCost], Field(description="Oldest first, without days on which nothing was paid.")]
