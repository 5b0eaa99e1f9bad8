"""The public contract of the quotas: what the caller's generations count against them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Usage(BaseModel):
    """What the caller's generations count against the quota of this calendar month (UTC)."""

    model_config = ConfigDict(from_attributes=True)

    limit: Annotated[int | None, Field(description="Generations a month; null if there is no quota.")]
    used: Annotated[int, Field(description="Succeeded this month.")]
    reserved: Annotated[int, Field(description="In flight.")]
    resets_at: datetime


class AllUsage(Usage):
    """What counts of texts, and of pictures where they are on. One kind never uses up the other's."""

    images: Annotated[Usage | None, Field(description="The same for pictures, by the caller's plan.")] = None
