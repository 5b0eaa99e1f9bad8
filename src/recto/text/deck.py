"""A deck of a text: its sections are asked one after another, in batches that each fit one answer."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Unpack

from recto.errors import UpstreamInvalidResponse
from recto.providers.openrouter import Completion, OpenRouter
from recto.text.generate import MODEL_STOPPED, Asked, Generation, ask
from recto.text.prompt import PROMPT_VERSION
from recto.text.proposals import Bounds
from recto.text.sections import Section, shares, split
from recto.text.source import MAX_CHARACTERS, MIN_CHARACTERS, Passage

# Of one generation of a deck, of a text.
MAX_COUNT = 200

# A heading ends a section only if there is text for about so many cards: each call has words around its section.
_CARDS_A_SECTION = 4

# A model that brings nothing new this many times in a row has no more to say.
_BATCHES_WITHOUT_NEWS = 2

# The longest card allowed takes about this many tokens, at four characters a token and with its JSON.
_CHARACTERS_A_TOKEN = 4
_TOKENS_AROUND_A_CARD = 12

# What became of a section; else why it did not bring its share, as in ``Generation.incomplete``.
COMPLETE = "complete"
NOT_ASKED = "not_asked"  # fewer cards were asked for than there are sections


@dataclass(frozen=True, slots=True)
class Part:
    """A section of a deck's text: its ``cards`` so far, and its ``outcome`` once it is asked no more."""

    title: str | None
    start: int
    end: int
    cards: int = 0
    outcome: str | None = None

    @property
    def section(self) -> Section:
        """Without what came of it."""
        return Section(self.title, self.start, self.end)


def plan(text: str, count: int) -> list[Part]:
    """Split a trimmed text for a deck of ``count`` cards. With fewer cards than sections some are not asked."""
    least = _CARDS_A_SECTION * len(text) // count
    sections = split(text, min(max(least, MIN_CHARACTERS), MAX_CHARACTERS))
    given = shares(sections, count)
    return [
        Part(*section, outcome=None if share else NOT_ASKED) for section, share in zip(sections, given, strict=True)
    ]


def coverage(parts: Iterable[Part]) -> float:
    """Return the share of the text, by characters, whose sections have a card."""
    lengths = [(part.section.length, part.cards > 0) for part in parts]
    return sum(length for length, has_card in lengths if has_card) / sum(length for length, _ in lengths)


def without_cards(parts: Iterable[Part], reason: str | None) -> Iterator[tuple[int, Part, str]]:
    """Yield each section that gave no card, with its number from 1 and why.

    ``reason``: why those are not asked any more that still could be; None while they will be.
    """
    for number, part in enumerate(parts, 1):
        why = part.outcome or reason
        if why and not part.cards:
            yield number, part, why


def batch_size(bounds: Bounds, max_tokens: int) -> int:
    """Return how many cards of the greatest length fit one completion, but no more than a generation may have."""
    longest = (bounds.front + bounds.back) // _CHARACTERS_A_TOKEN + _TOKENS_AROUND_A_CARD
    return max(1, min(bounds.proposals, max_tokens // longest))


def ask_section(provider: OpenRouter, section: Passage, **asked: Unpack[Asked]) -> Generation:
    """``ask``, where an answer that cannot be read is one without a card: the text has other sections."""
    started = monotonic()
    try:
        return ask(provider, section, **asked)
    except UpstreamInvalidResponse as error:
        return Generation(
            proposals=[],
            drops=Counter(),
            completion=Completion("", None, error.calls),
            prompt_version=asked.get("prompt_version", PROMPT_VERSION),
            duration_ms=round((monotonic() - started) * 1000),
            failure=error,
        )


class Course:
    """The way through a deck's sections, of which at least one is open: which is asked now, and for how many cards.

    Each is asked for its share of the ``count`` cards by its length; for what one does not bring, those after it are.
    """

    def __init__(self, parts: Sequence[Part], count: int) -> None:
        self.parts = list(parts)
        self._count = count
        self._without_news = 0

    @property
    def number(self) -> int | None:
        """Of the section that is asked now, from 1; None once none is open."""
        return next((number for number, part in enumerate(self.parts, 1) if part.outcome is None), None)

    @property
    def is_last(self) -> bool:
        """Whether at most one section is open."""
        return sum(part.outcome is None for part in self.parts) <= 1

    @property
    def missing(self) -> int:
        """How many cards the section that is asked now still has to bring."""
        still_open = [part for part in self.parts if part.outcome is None]
        wanted = self._count - sum(part.cards for part in self.parts if part.outcome is not None)
        return shares([part.section for part in still_open], wanted)[0] - still_open[0].cards

    def stops(self, generation: Generation) -> str | None:
        """Say why the section is asked no more after this batch, whatever it brought; None if it may have more."""
        if self._without_news + (not generation.proposals) < _BATCHES_WITHOUT_NEWS:
            return None
        return generation.incomplete or MODEL_STOPPED

    def took(self, new: int, stopped: str | None) -> bool:
        """Note a batch of ``new`` cards. The section ends if it has all or ``stopped``; return whether it did."""
        place = (self.number or 1) - 1
        outcome = stopped or (COMPLETE if new >= self.missing else None)
        self._without_news = 0 if new or outcome else self._without_news + 1
        part = self.parts[place]
        self.parts[place] = replace(part, cards=part.cards + new, outcome=outcome)
        return outcome is not None
