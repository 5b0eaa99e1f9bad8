"""Texts with cards whose place and worth are known: written by hand for Recto, in ``cards/*.json``.

A file holds a text and its cards:

- ``title``, ``language`` (ISO 639-1), ``half``: ``tuned`` if thresholds were chosen on it, else ``held out``
- ``text``: its paragraphs
- ``cards``: good ones. ``front``; ``back``; ``at``: a part of the sentence that holds the answer, which stands once in
  the text; ``kind`` of the answer: ``date``, ``number``, ``name``, ``term`` or ``statement``. Where it is natural:
  ``changed``: answers with another number, unit or month; ``again``: the same question in other words; ``leak``: a
  question that gives the answer away
- ``invented``: cards on the text's subject that it does not support, true or not
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Kind = Literal["date", "number", "name", "term", "statement"]
Half = Literal["tuned", "held out"]


@dataclass(frozen=True, slots=True)
class Card:
    """A good card. ``answer_start`` and ``answer_end``: a part of the sentence that holds its answer."""

    front: str
    back: str
    kind: Kind
    answer_start: int
    answer_end: int
    changed: tuple[str, ...]
    again: str | None
    leak: str | None


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text with its good cards and with invented ones, as ``(front, back)``. ``name`` is its file's."""

    name: str
    language: str
    half: Half
    text: str
    cards: tuple[Card, ...]
    invented: tuple[tuple[str, str], ...]


@cache
def texts() -> Sequence[LabelledText]:
    """All labelled texts, by name."""
    folder = files("recto.evaluation") / "cards"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".json"))
    return [_read(name.removesuffix(".json"), json.loads((folder / name).read_text("utf-8"))) for name in names]


def _read(name: str, entry: dict[str, Any]) -> LabelledText:
    text = "\n\n".join(entry["text"])
    return LabelledText(
        name,
        entry["language"],
        entry["half"],
        text,
        tuple(_card(text, card) for card in entry["cards"]),
        tuple((card["front"], card["back"]) for card in entry["invented"]),
    )


def _card(text: str, entry: dict[str, Any]) -> Card:
    start = text.index(entry["at"])
    return Card(
        entry["front"],
        entry["back"],
        entry["kind"],
        start,
        start + len(entry["at"]),
        tuple(entry.get("changed", ())),
        entry.get("again"),
        entry.get("leak"),
    )
