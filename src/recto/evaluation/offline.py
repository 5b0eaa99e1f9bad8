"""What can be told without a provider, a database or a network."""

from typing import Any, NamedTuple

from recto.evaluation.labelled import Half
from recto.evaluation.recovery import recoveries, recovery_table
from recto.evaluation.rules import figures, grounding_of, grounding_table, rules_table
from recto.evaluation.tables import Table


class Report(NamedTuple):
    """What was found: for machines, and laid out for people."""

    figures: dict[str, Any]
    tables: list[Table]


def offline() -> Report:
    """Count what is read from spoilt answers, and how good the rules are on the labelled cards."""
    recovered, rules = recoveries(), figures()
    grounding: dict[Half, dict[str, float]] = {"tuned": grounding_of("tuned"), "held out": grounding_of("held out")}
    return Report(
        {"recovery": recovered, "grounding": grounding, "rules": rules},
        [recovery_table(recovered), grounding_table(grounding), rules_table(rules)],
    )
