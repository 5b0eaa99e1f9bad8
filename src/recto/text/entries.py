"""What a model wrote → the entries that should be cards. The model's text is untrusted: nothing in it can raise.

Reading goes from exact to lenient, and each step sees only what the one before could not read:

1. jiter, when the whole text is one JSON value;
2. every whole JSON value that stands in it, past fences, prose and raw line breaks in strings;
3. jiter's partial mode on the rest: JSON that was cut off, its last card dropped unless it is whole;
4. card by card: JSON that is broken. json_repair closes whatever is open, so that a cut card would look whole to it;
   it is therefore only shown a single card that visibly ends itself.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from json import JSONDecoder, dumps

import jiter
import json_repair

from recto.text import latex

_MAX_ENTRIES = 1000  # ten times the most cards that can be asked for

_JSON = JSONDecoder(strict=False)  # lets raw line breaks stand in strings; `proposals` drops other control characters
_JSON_START = re.compile(r'\{\s*"|\[\s*\{')


def read(content: str) -> tuple[list[object], int]:
    """Return the entries that should be cards, and how many cards were not whole. Never raises."""
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
    if entries and (None in sides(entries[-1]) or text.rstrip(", \t\r\n").endswith('"')):
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


def sides(entry: object) -> tuple[object, object]:
    """Return an entry's front and back as written, None for what is missing."""
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
    if isinstance(value, dict) and not any(isinstance(side, str) for side in sides(value)):
        value = [child for child in value.values() if isinstance(child, dict | list)] or value
    if depth and isinstance(value, list):
        for child in value:
            yield from _each_entry(child, depth - 1)
    else:
        yield value
