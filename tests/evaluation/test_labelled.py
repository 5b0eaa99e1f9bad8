"""The labelled cards are what their description says."""

import json
from collections import Counter
from pathlib import Path

import pytest

from recto import evaluation
from recto.evaluation import spoiling
from recto.evaluation.labelled import LabelledText, texts
from recto.text.proposals import comparable, parse
from recto.text.source import SourceText

TEXTS = texts()
EACH_TEXT = pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)


def test_there_are_enough_cards_texts_and_languages_in_both_halves() -> None:
    assert sum(len(text.cards) for text in TEXTS) >= 150
    for half in ("tuned", "held out"):
        assert len([text for text in TEXTS if text.half == half]) >= 6
        assert {"en", "de", "pl", "es", "ru", "zh"} <= {text.language for text in TEXTS if text.half == half}


@EACH_TEXT
def test_a_text_is_one_that_the_service_takes(text: LabelledText) -> None:
    assert SourceText(text.text).text == text.text


@EACH_TEXT
def test_the_place_of_an_answer_is_in_the_text_once(text: LabelledText) -> None:
    folder = Path(evaluation.__file__).parent / "cards"
    for entry, card in zip(json.loads((folder / f"{text.name}.json").read_text())["cards"], text.cards, strict=True):
        assert text.text.count(entry["at"]) == 1, entry
        assert text.text[card.answer_start : card.answer_end] == entry["at"]


@EACH_TEXT
def test_no_drop_rule_has_anything_against_a_good_card(text: LabelledText) -> None:
    cards = [{"front": card.front, "back": card.back} for card in text.cards]
    parsed = parse(json.dumps(cards[:15]))
    assert not parsed.drops
    assert len({comparable(card.front) for card in text.cards}) == len(cards)


@EACH_TEXT
def test_a_spoilt_card_is_none_of_the_good_ones(text: LabelledText) -> None:
    good = {(card.front, card.back) for card in text.cards}
    for spoilt in (spoiling.foreign(text, TEXTS), spoiling.changed(text), spoiling.swapped(text)):
        cards = list(spoilt)
        assert len(cards) >= 8
        assert not good & set(cards)


def test_a_swapped_answer_is_of_the_kind_that_the_question_asks_for() -> None:
    kinds = Counter(
        kind_of[back] == card.kind
        for text in TEXTS
        for kind_of in [{card.back: card.kind for card in text.cards}]
        for card, (_, back) in zip(text.cards, spoiling.swapped(text), strict=True)
    )
    assert kinds[True] > 0.9 * kinds.total()


def test_digits_are_changed_once_and_a_year_stays_in_its_century() -> None:
    backs = {card.back for text in TEXTS if text.name == "en_sewers" for card in spoiling.changed(text)}
    assert {"1818", "17,137", "18 weeks"} <= backs
