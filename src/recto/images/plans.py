"""Plans: how many pictures a month a user may have, by what they pay for.

A plans file is TOML::

    [plans.free]
    monthly_generations = 20

    [plans.pro]
    monthly_generations = 500
    price_ids = ["price_1QX"]

A user whose ``price_id`` no plan lists has the plan ``free``, which must be there.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

_DEFAULT = {"plans": {"free": {"monthly_generations": 20}}}


class PlansError(ValueError):
    """The plans file cannot be read; the text says why."""


class Plan(BaseModel):
    """What a month holds, for whom has one of ``price_ids``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    monthly_generations: Annotated[int, Field(ge=0)]
    price_ids: list[str] = []


class Plans(BaseModel):
    """All plans, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    plans: dict[str, Plan]

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Read the file; without one everybody has 20 a month. Raises ``PlansError``."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text("utf-8")) if path else _DEFAULT)
        except OSError as error:
            raise PlansError(f"PLANS_FILE: {path} cannot be read ({error.strerror}).") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PlansError(f"PLANS_FILE: {path} is not TOML ({error}).") from None
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
            raise PlansError(f"PLANS_FILE: {path}: {'; '.join(lines)}.") from None

    @model_validator(mode="after")
    def _is_unambiguous(self) -> Self:
        if "free" not in self.plans:
            raise ValueError("a plan named free must be there")
        listed = [price_id for plan in self.plans.values() for price_id in plan.price_ids]
        if twice := {price_id for price_id in listed if listed.count(price_id) > 1}:
            raise ValueError(f"more than one plan lists {', '.join(sorted(twice))}")
        return self

    def of(self, price_id: str | None) -> Plan:
        """Return the plan of a user."""
        return next((plan for plan in self.plans.values() if price_id in plan.price_ids), self.plans["free"])
