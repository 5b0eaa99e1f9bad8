"""Good cards made bad, each in one way, by rule: the same every time."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from recto.evaluation.labelled import Card, Kind, LabelledText
from recto.text.proposals import comparable


class Sides(NamedTuple):
    """A card as a model writes it."""

    front: str
    back: str


def foreign(text: LabelledText, texts: Sequence[LabelledText]) -> Iterator[Sides]:
    """The cards of another text: of the next one in the same language, else of the next one."""
    at = texts.index(text)
    following = [*texts[at + 1 :], *texts[:at]]
    other = next((other for other in following if other.language == text.language), following[0])
    return (Sides(card.front, card.back) for card in other.cards)


def changed(text: LabelledText) -> Iterator[Sides]:
    """Cards with another number, unit or month: those written by hand, and every card whose digits can be changed."""
    for card in text.cards:
        yield from (Sides(card.front, back) for back in card.changed)
        for sides in (Sides(card.front, _renumbered(card.back)), Sides(_renumbered(card.front), card.back)):
            if sides != (card.front, card.back):
                yield sides
                break


def swapped(text: LabelledText) -> Iterator[Sides]:
    """Each question with another card's answer of the same kind, or of one like it: the next that does not agree."""
    for at, card in enumerate(text.cards):
        following = [*text.cards[at + 1 :], *text.cards[:at]]
        others = [other for other in following if not _agree(card, other)]
        alike = _ALIKE[card.kind]
        yield Sides(card.front, min(others, key=lambda other: alike.index(other.kind)).back)


def invented(text: LabelledText) -> Iterator[Sides]:
    """Cards on the text's subject that it does not support."""
    return (Sides(*card) for card in text.invented)


# Kinds of answers to each kind of question, the most sensible first.
_ALIKE: dict[Kind, tuple[Kind, ...]] = {
    "date": ("date", "number", "name", "term", "statement"),
    "number": ("number", "date", "term", "name", "statement"),
    "name": ("name", "term", "statement", "date", "number"),
    "term": ("term", "name", "statement", "number", "date"),
    "statement": ("statement", "term", "name", "number", "date"),
}

_NUMBER = re.compile(r"\d+")


def _renumbered(side: str) -> str:
    """The side with the last digit of its first number changed: a year stays in its century."""
    return _NUMBER.sub(lambda number: number[0][:-1] + str((int(number[0][-1]) + 3) % 10), side, count=1)


def _agree(card: Card, other: Card) -> bool:
    one, two = comparable(card.back), comparable(other.back)
    return one in two or two in one
