"""What is read from spoilt answers."""

import pytest

from recto.evaluation.labelled import texts
from recto.evaluation.recovery import AWKWARD, recoveries
from recto.sandbox.forms import CUT, WHOLE

RECOVERIES = {row.form: row for row in recoveries()}


def test_every_form_is_measured_on_all_cards() -> None:
    assert list(RECOVERIES) == [*WHOLE, *CUT]
    for form in WHOLE:
        assert RECOVERIES[form].labelled.whole == sum(len(text.cards) for text in texts())
        assert RECOVERIES[form].awkward.whole == len(AWKWARD)
    for form in CUT:
        assert RECOVERIES[form].awkward.whole == len(AWKWARD) - 1


@pytest.mark.parametrize("form", [*WHOLE, *CUT])
def test_whole_cards_are_read_from_every_form_and_nothing_else_is(form: str) -> None:
    labelled, awkward = RECOVERIES[form].labelled, RECOVERIES[form].awkward
    assert labelled.read >= 0.99 * labelled.whole
    assert labelled.wrong + awkward.wrong <= 1


@pytest.mark.parametrize(
    "form", ["as asked for", "fenced in prose", "question and answer", "cut inside the last answer"]
)
def test_awkward_cards_are_read_from_what_is_json(form: str) -> None:
    assert RECOVERIES[form].awkward.read == RECOVERIES[form].awkward.whole
