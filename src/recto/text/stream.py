"""Read a model's answer while it is written: each card as soon as it is whole.

What is found early are the objects of well-formed JSON; whatever else stands in the answer is found at its end, when
``proposals.parse`` reads all of it. So a streamed answer brings the cards that the same answer brings in one piece.
"""

import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from json import JSONDecoder

from recto.text import latex
from recto.text.proposals import Bounds, ParsedProposals, Proposal, Selection, comparable, most_read, parse

_JSON = JSONDecoder(strict=False)
_OPENING = re.compile(r"[{\[]")
_OUTSIDE_STRING = re.compile(r'["{}\[\]]')
_INSIDE_STRING = re.compile(r'["\\]')

# A character may take six, as \u0041 does; so much of a card that does not end is kept to look at again.
_ESCAPED = 6
_AROUND_A_CARD = 1000


class ProposalStream:
    """The cards of an answer that comes piece by piece. Its time is in proportion to what is fed.

    ``bounds``, ``known`` and ``cloze`` as in ``proposals.parse``.
    """

    def __init__(self, bounds: Bounds, known: Collection[str] = (), *, cloze: bool = False) -> None:
        self._bounds = bounds
        self._cloze = cloze
        self._known = known
        self._pieces: list[str] = []
        self._characters = 0
        self._selection = Selection(bounds, known, cloze=cloze)
        self._longest_card = _ESCAPED * (bounds.front + bounds.back) + _AROUND_A_CARD
        self._text = ""  # from the open card's start, or from where to look on
        self._position = 0
        self._in_string = False
        self._open: list[str] = []  # brackets
        self._card: int | None = None  # where the innermost object begins, if it may be a card

    @property
    def content(self) -> str:
        """All that was fed."""
        return "".join(self._pieces)

    @property
    def proposals(self) -> list[Proposal]:
        """The good cards so far."""
        return self._selection.proposals

    def feed(self, piece: str) -> list[Proposal]:
        """Take the next piece of the answer and return the good cards that it completes."""
        self._pieces.append(piece)
        if self._characters > most_read(self._bounds):
            return []
        self._characters += len(piece)
        self._text += piece
        found: list[Proposal] = []
        while self._step(found):
            pass
        self._forget()
        return found

    def finish(self) -> ParsedProposals:
        """Return all good cards, those that were found before first, and the drops of the whole answer."""
        whole = parse(self.content, self._bounds, self._known, cloze=self._cloze)
        early = self.proposals
        if whole.proposals[: len(early)] == early:
            return whole
        fronts = {comparable(proposal.front) for proposal in early}
        late = [proposal for proposal in whole.proposals if comparable(proposal.front) not in fronts]
        return ParsedProposals((early + late)[: max(self._bounds.proposals, len(early))], Counter(whole.drops))

    def _step(self, found: list[Proposal]) -> bool:
        """Go on to the next character that matters; False if it has not come yet."""
        expected = _INSIDE_STRING if self._in_string else _OUTSIDE_STRING if self._open else _OPENING
        match = expected.search(self._text, self._position)
        if match is None:
            self._position = len(self._text)
            return False
        sign = match[0]
        if sign == "\\" and match.end() == len(self._text):  # what it escapes has not come yet
            self._position = match.start()
            return False
        self._position = match.end() + (sign == "\\")
        if sign == '"':
            self._in_string = not self._in_string
        elif sign in "{[":
            if sign == "{":  # an object's own objects are no cards, and what holds an object is none either
                self._card = match.start() if self._open[-1:] != ["{"] else None
            self._open.append(sign)
        elif sign in "}]":
            self._closed(sign, found)
        return True

    def _closed(self, sign: str, found: list[Proposal]) -> None:
        if (self._open.pop() == "{") is not (sign == "}"):  # no JSON: what is open is left for the end
            self._open.clear()
            self._card = None
        elif sign == "}" and self._card is not None:
            card = self._text[self._card : self._position]
            self._card = None
            if len(self.proposals) < self._bounds.proposals:
                with suppress(ValueError, RecursionError):
                    if proposal := self._selection.add(_JSON.decode(latex.escape(card))):
                        found.append(proposal)

    def _forget(self) -> None:
        """Drop the text that is done with, and a card that is too long to be one: no piece is copied many times."""
        if self._card is not None and self._position - self._card > self._longest_card:
            self._card = None
        done = self._position if self._card is None else self._card
        self._text = self._text[done:]
        self._position -= done
        if self._card is not None:
            self._card = 0
