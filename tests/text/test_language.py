"""The language of cards: of those that are labelled, and what cannot be told."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Event
from types import SimpleNamespace

import pytest
from py3langid.langid import LanguageIdentifier

from recto.evaluation.labelled import texts
from recto.text import language
from recto.text.language import detect, detect_in, differs
from recto.text.proposals import Proposal


def groups(size):
    for text in texts():
        cards = [Proposal(card.front, card.back) for card in text.cards]
        for start in range(0, len(cards) - size + 1, size):
            yield text.language, cards[start : start + size]


def test_three_labelled_cards_tell_their_language():
    assert [(language, detect(cards)) for language, cards in groups(3) if detect(cards) != language] == []


def test_one_labelled_card_nearly_always_does():
    right = [detect(cards) == language for language, cards in groups(1)]
    assert sum(right) >= 0.98 * len(right)


@pytest.mark.parametrize("proposals", [[], [Proposal("____", "1799")], [Proposal("2 + 2", "4")]])
def test_what_shows_no_language_has_none(proposals):
    assert detect(proposals) is None


@pytest.mark.parametrize(
    ("detected", "asked", "expected"),
    [
        ("pl", "pl-PL", False),
        ("pl", "de", True),
        (None, "de", False),
        ("zh", "yue-Hant", False),
        ("no", "nb-NO", False),
        ("hr", "sr-Latn", False),
        ("en", "tlh", False),
    ],
)
def test_regions_and_names_do_not_count(detected, asked, expected):
    assert differs(detected, asked) is expected


def test_the_model_is_loaded_once_by_all_who_want_it_at_once(monkeypatch):
    loads = []

    def load(path):
        loads.append(path)
        Event().wait(0.05)  # so that the others come meanwhile
        return SimpleNamespace(classify=lambda text: ("pl", 0.0))

    monkeypatch.setattr(LanguageIdentifier, "from_model_file", load)
    monkeypatch.setattr(language, "_loaded", cache(language._loaded.__wrapped__))
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(detect_in, ["tekst"] * 8)) == ["pl"] * 8
    assert len(loads) == 1
