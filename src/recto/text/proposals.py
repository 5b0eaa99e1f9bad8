"""What a model wrote → clean flashcard proposals. The model's text is untrusted: nothing in it can raise.

Reading goes from exact to lenient, and each step sees only what the one before could not read:

1. jiter, when the whole text is one JSON value;
2. every whole JSON value that stands in it, past fences, prose and raw line breaks in strings;
3. jiter's partial mode on the rest: JSON that was cut off, its last card dropped unless it is whole;
4. card by card: JSON that is broken. json_repair closes whatever is open, so that a cut card would look whole to it;
   it is therefore only shown a single card that visibly ends itself.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from json import JSONDecoder, dumps
from unicodedata import category, normalize

import jiter
import json_repair

from recto.text import latex
from recto.text.options import GAP


@dataclass(frozen=True, slots=True)
class Proposal:
    """A flashcard that a model proposes: plain text, trimmed, never markup."""

    front: str
    back: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many proposals are kept, and how many characters (code points) a side may have."""

    proposals: int = 15
    front: int = 200
    back: int = 500


@dataclass(frozen=True, slots=True)
class ParsedProposals:
    """The kept cards in the model's order, and how many were dropped for each reason."""

    proposals: list[Proposal]
    drops: Counter[str]


DEFAULT_BOUNDS = Bounds()


def parse(
    content: str, bounds: Bounds = DEFAULT_BOUNDS, known: Collection[str] = (), *, cloze: bool = False
) -> ParsedProposals:
    r"""Read the flashcards in a model's answer; keep the good ones, count the others by reason. Never raises.

    A card is dropped for the first of these that holds:

    - ``incomplete``: the text ended, or the JSON broke, inside it
    - ``not_text``: it is no object, lacks a side, or a side is no string
    - ``empty``: a side shows nothing
    - ``control_character``: other than line breaks and tabs; NUL and lone surrogates too
    - ``too_long``: a side exceeds its bound
    - ``no_gap``: it should be a ``cloze`` card, and its front leaves nothing out
    - ``front_is_back``: both sides say the same
    - ``leak``: the question holds the whole answer
    - ``known``: its front repeats one of ``known``
    - ``duplicate``: its front repeats a kept card's
    - ``surplus``: a fine card, but ``bounds.proposals`` are kept already

    Texts are compared as ``comparable`` has them. Sides are trimmed, ``\r\n`` becomes ``\n``, and the gap of a cloze
    card has four underscores; otherwise they are returned as written.
    """
    entries, incomplete = _read(content[: most_read(bounds)])
    selection = Selection(bounds, known, cloze=cloze)
    for entry in entries:
        selection.add(entry)
    selection.drops["incomplete"] += incomplete
    return ParsedProposals(selection.proposals, +selection.drops)


class Selection:
    """The good ones of the entries that should be cards, and how many others there were for each reason."""

    def __init__(self, bounds: Bounds, known: Collection[str], *, cloze: bool = False) -> None:
        self.proposals: list[Proposal] = []
        self.drops: Counter[str] = Counter()
        self._bounds = bounds
        self._cloze = cloze
        self._known = set(map(comparable, known))
        self._fronts: set[str] = set()

    def add(self, entry: object) -> Proposal | None:
        """Keep the entry and return it as a proposal, or count why it is dropped."""
        proposal, reason = self._judge(*_sides(entry))
        if reason:
            self.drops[reason] += 1
            return None
        self.proposals.append(proposal)
        return proposal

    def _judge(self, front: object, back: object) -> tuple[Proposal, str | None]:
        proposal = Proposal("", "")
        if not isinstance(front, str) or not isinstance(back, str):
            return proposal, "not_text"
        front, back = front.replace("\r\n", "\n"), back.replace("\r\n", "\n")
        if not (_VISIBLE.search(front) and _VISIBLE.search(back)):
            return proposal, "empty"
        # Before trimming: a form feed is white space, and may be what is left of a LaTeX command.
        if _CONTROL.search(front) or _CONTROL.search(back):
            return proposal, "control_character"
        if self._cloze:
            front = _GAP.sub(GAP, front)
            if GAP not in front:
                return proposal, "no_gap"
        proposal = Proposal(front.strip(), back.strip())
        if len(proposal.front) > self._bounds.front or len(proposal.back) > self._bounds.back:
            return proposal, "too_long"
        question, answer = comparable(proposal.front), comparable(proposal.back)
        if question == answer:
            reason = "front_is_back"
        elif _leaks(question, answer):
            reason = "leak"
        elif question in self._known:
            reason = "known"
        elif question in self._fronts:
            reason = "duplicate"
        elif len(self.proposals) >= self._bounds.proposals:
            reason = "surplus"
        else:
            self._fronts.add(question)
            return proposal, None
        return proposal, reason


# A megabyte would take seconds: so many characters are read, or twice what the cards asked for may have, and so many
# entries, ten times the most cards that can be asked for.
_LEAST_READ = 200_000
_MAX_ENTRIES = 1000


def most_read(bounds: Bounds) -> int:
    """Return how many characters of an answer are read."""
    return max(_LEAST_READ, 2 * bounds.proposals * (bounds.front + bounds.back))


_JSON = JSONDecoder(strict=False)  # lets raw line breaks stand in strings; other control characters are judged above
_JSON_START = re.compile(r'\{\s*"|\[\s*\{')


def _read(content: str) -> tuple[list[object], int]:
    """The entries that should be cards, and how many cards were not whole."""
    text = latex.escape(content)
    with suppress(ValueError):
        return _entries(jiter.from_json(text.encode())), 0
    entries: list[object] = []
    position = 0
    while start := _JSON_START.search(text, position):
        try:
            value, position = _JSON.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            break
        entries += _entries(value)
        if len(entries) >= _MAX_ENTRIES:
            return entries, 0
    more, incomplete = _read_cut(text[start.start() :]) if start else _read_broken(text[position:])
    return entries + more, incomplete


def _read_cut(text: str) -> tuple[list[object], int]:
    # Partial mode passes over most errors and returns what stood before them. Only an answer without one was cut off.
    try:
        jiter.from_json(text.encode())
    except ValueError as error:
        if not str(error).startswith("EOF"):
            return _read_broken(text)
    entries = _entries(jiter.from_json(text.encode(), partial_mode=True))
    # A quote at the very end need not close the side: models forget to escape the quotes inside one.
    if entries and (None in _sides(entries[-1]) or text.rstrip(", \t\r\n").endswith('"')):
        return entries[:-1], 1
    return entries, 0


# A key with a plain value: here begins a card, not a wrapper. A bare key must name a side, for {x: x > 0} is a set.
_CARD_START = re.compile(
    r"""\{\s*(?:["'“”„]\w{1,30}["'“”]|(?:front|back|question|answer|q|a))\s*:(?!\s*[\[{])""", re.IGNORECASE
)

_MAX_BROKEN, _MAX_BROKEN_CARD = 32_000, 2_000  # twice what the bounds need: json_repair's time outgrows its input
# Each card start is decoded as far as it goes; where one card holds the next, that reads the same text again and again.
_MAX_REREAD = 4 * _MAX_BROKEN


def _read_broken(text: str) -> tuple[list[object], int]:
    text = text[:_MAX_BROKEN]
    entries: list[object] = []
    incomplete = 0
    left = _MAX_REREAD
    start = _CARD_START.search(text)
    while start and left > 0 and len(entries) + incomplete < _MAX_ENTRIES:
        try:
            value, end = _JSON.raw_decode(text, start.start())
            following = _CARD_START.search(text, end)
        except (ValueError, RecursionError) as error:
            left -= getattr(error, "pos", len(text)) - start.start()
            following = _CARD_START.search(text, start.end())
            value = _repair(text[start.start() : following.start() if following else None])
        if value is None:
            incomplete += 1
        else:
            entries.append(value)
        start = following
    return entries, incomplete


# A repaired card ends with the brace that balances its first one, behind a whole value. In a card that was cut inside a
# side, the first brace is still open, whatever \frac{a}{b} or {"a": "b"} that side holds, or the side's quote is.
# Where quotes in a side were not escaped, json_repair may end it too early: it then holds one of a pair of quotes, the
# rest of it has become a key, or is lost.
_OPENING_QUOTE = re.compile(r""":\s*(["'“])""")


def _repair(text: str) -> dict[str, object] | None:
    """The card that begins a text, repaired; None unless it ends there and all of it survives."""
    card = text[:_MAX_BROKEN_CARD]
    card = card[: card.rfind("}") + 1]
    while card.count("}") > card.count("{"):
        card = card[: card.rfind("}", 0, -1) + 1]
    body = card[:-1].rstrip().removesuffix(",").rstrip()
    opened = _OPENING_QUOTE.findall(body)
    if card.count("{") > card.count("}") or not opened:
        return None
    straight = _straightened(body)
    try:
        value = json_repair.loads(straight + "}")
    except Exception:  # noqa: BLE001 - it guesses at hostile text; whatever goes wrong there, this card is lost
        return None
    if not isinstance(value, dict) or not all(map(str.isidentifier, value)):
        return None
    last = [None, *value.values()][-1]
    quoted = body[-1] == opened[-1].replace("“", "”") and body[-2] != "\\"
    still_open = isinstance(last, str) and not (quoted and _quotes_at_end(body) > _quotes_at_end(last))
    unpaired = any(_is_unpaired(str(side), smart=straight != body) for side in value.values())
    lost = _size(dumps(value, ensure_ascii=False)) <= _size(body)
    return None if still_open or unpaired or lost else value


# json_repair ends a side between smart quotes at its first comma.
_SMART_QUOTES = re.compile(r"(?<=[{:,])(\s*+)“|”(?=\s*+(?:[:,]|$))")


def _straightened(card: str) -> str:
    return _SMART_QUOTES.sub(r'\1"', card) if card[1:].lstrip().startswith("“") else card


def _is_unpaired(side: str, *, smart: bool) -> bool:
    return side.count('"') % 2 == 1 or (smart and side.count("“") != side.count("”"))


def _quotes_at_end(text: str) -> int:
    return len(text) - len(text.rstrip("\"'“”’"))


def _size(json: str) -> int:
    return len(re.sub(r"""\\(?:u[0-9a-fA-F]{4}|.)|[\s"'“”’]""", "", json))


_NAMES = (("front", "question", "q"), ("back", "answer", "a"))


def _sides(entry: object) -> tuple[object, object]:
    """Front and back as written, None for what is missing."""
    if not isinstance(entry, dict):
        return None, None
    if "front" in entry and "back" in entry:
        return entry["front"], entry["back"]
    named = {key.strip().lower(): side for key, side in entry.items()}
    front, back = (next((named[name] for name in names if name in named), None) for names in _NAMES)
    return front, back


def _entries(value: object) -> list[object]:
    """What stands where cards should stand, whatever it is wrapped in; the first of very many."""
    return list(islice(_each_entry(value), _MAX_ENTRIES))


def _each_entry(value: object, depth: int = 5) -> Iterator[object]:
    if isinstance(value, dict) and not any(isinstance(side, str) for side in _sides(value)):
        value = [child for child in value.values() if isinstance(child, dict | list)] or value
    if depth and isinstance(value, list):
        for child in value:
            yield from _each_entry(child, depth - 1)
    else:
        yield value


_GAP = re.compile(r"_{2,}")
_VISIBLE = re.compile("[^\\s\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

# Signs that distinguish C from C# and 6*2 from 6/2 count as letters. NFKC brings most punctuation into this plane.
_PUNCTUATION = re.compile(
    f"[{re.escape(''.join(c for c in map(chr, range(0x10000)) if category(c)[0] == 'P' and c not in '#%&*-/@'))}]"
)
_HYPHEN = re.compile(r"-(?!\d)|(?<=\w)-")  # the others are the minus of a number


def comparable(text: str) -> str:
    """Return what texts have in common that say the same: NFKC, case folded, white space and punctuation collapsed."""
    folded = text.lower() if text.isascii() else normalize("NFKC", text).casefold()
    if "-" in folded:
        folded = _HYPHEN.sub(" ", folded)
    return " ".join(_PUNCTUATION.sub(" ", folded).split()) or text


_OR = re.compile(
    " (?:or|oder|ou|o|oppure|lub|albo|czy|nebo|vagy|veya|eller|sau|или|або|أم|أو|या) "
    "|或|还是|還是|または|それとも|아니면|또는"
)
_CHINESE_OR_JAPANESE = re.compile("[\u3040-\u30ff\u3400-\u9fff]")


def _leaks(question: str, answer: str) -> bool:
    """Whether the question holds the whole answer, both comparable, and does not offer it as one of several.

    Exact leaks alone are worth a rejection: 71 % of them were bad questions by human judgement (QGEval, arXiv
    2406.05707). Answers below three characters, or two where no gaps part the words, stand in questions by chance.
    """
    if answer not in question or _OR.search(question):
        return False
    if _CHINESE_OR_JAPANESE.search(answer):
        return len(answer) >= 2
    return len(answer) >= 3 and f" {answer} " in f" {question} "
