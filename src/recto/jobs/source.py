"""What the calls of a job see: its text or topic, or one section of a long text at a time."""

from functools import cached_property
from hashlib import sha256
from typing import Any, Self

from recto.db.suggestions import NewSuggestion
from recto.text.deck import Part
from recto.text.grounding import Index
from recto.text.proposals import Proposal, comparable
from recto.text.source import Material, Passage, SourceText, Topic


class Source:
    """The material of a job's calls.

    Of a section ``number``, from 1, ``title`` and ``start``, in code points, say where it stands in the job's text.
    """

    def __init__(
        self, material: Material, *, number: int | None = None, title: str | None = None, start: int = 0
    ) -> None:
        self.material = material
        self.number = number
        self._title = title
        self._start = start

    @classmethod
    def whole(cls, payload: dict[str, Any]) -> Self:
        """All that a job's payload has."""
        return cls(SourceText(payload["source_text"]) if "source_text" in payload else Topic(payload["topic"]))

    @classmethod
    def part(cls, payload: dict[str, Any], number: int, part: Part) -> Self:
        """A section of the payload's text."""
        passage = Passage(payload["source_text"][part.start : part.end])
        return cls(passage, number=number, title=part.title, start=part.start)

    def suggestion(self, card: Proposal) -> NewSuggestion:
        """Return a card with its place in the job's whole text."""
        place = self._index.ground(card.front, card.back).moved(self._start) if self._index else None
        front_hash = sha256(comparable(card.front).encode()).hexdigest()
        return NewSuggestion(card.front, card.back, front_hash, place, self.number, self._title)

    @cached_property
    def _index(self) -> Index | None:
        return None if isinstance(self.material, Topic) else Index(self.material.text)
