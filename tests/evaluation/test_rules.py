"""What is published about the rules is what is counted."""

import re
from pathlib import Path

import pytest

from recto.evaluation import rules
from recto.evaluation.offline import offline
from recto.evaluation.tables import markdown
from recto.text.proposals import parse

OFFLINE = offline()
FIGURES = OFFLINE.figures["rules"]
PAGE = Path(__file__).parents[2] / "docs" / "cards.md"


def test_the_page_has_the_tables_that_are_counted() -> None:
    published = re.search(r"<!-- tables -->\n\n(.*)\n<!-- end of tables -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert published
    assert published[1] == "\n\n".join(map(markdown, OFFLINE.tables)) + "\n", (
        "run: python -m recto.evaluation, and put its tables into docs/cards.md"
    )


def test_every_rule_that_can_be_right_or_wrong_has_a_figure() -> None:
    reasons = set(re.findall(r"- ``(\w+)``:", parse.__doc__ or ""))
    assert {row.rule for row in FIGURES} == reasons - {"surplus", "no_gap"} | {"grounded"}


@pytest.mark.parametrize("rule", ["incomplete", "not_text", "empty", "control_character", "too_long", "front_is_back"])
def test_an_exact_rule_finds_what_is_spoilt_for_it_and_nothing_good(rule: str) -> None:
    (row,) = [row for row in FIGURES if row.rule == rule]
    assert row.found == row.spoilt > 0
    assert row.good_flagged == 0


def test_figures_are_counts_of_the_same_set() -> None:
    for row in FIGURES:
        assert 0 <= row.found <= min(row.spoilt, row.flagged)
        assert row.rightly <= row.flagged
        assert row.good_flagged <= rules.good_cards()
