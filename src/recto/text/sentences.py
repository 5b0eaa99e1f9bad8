"""Where the sentences of a pasted text begin and end, in any language."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_SENTENCE_MAX = 400  # what is longer is taken for a text without sentence ends
_PIECE = 240

_ITEM = re.compile(r"[ \t]*(?:[-*•–·▪‣◦]|\(?\d{1,3}[.)]|[a-z]\))[ \t]+")
_FULL_STOPS = "。！？"  # after which no space need follow
_CLOSERS = "\"'”’»)\\]」』）"
_END = re.compile(rf"[.!?…؟۔।{_FULL_STOPS}]+[{_CLOSERS}]*(?:\[\d+\])*")
_BEGINNING = re.compile(r"\s+[\"'“‘„«(¿¡\[—–]*[^\W_a-zà-ÿąćęłńóśźż]")  # of a sentence after one that ends with a point
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mrs?|Ms|Dr|Prof|St|Mt|Jr|Sr|Gen|Col|Capt|Rev|vs|etc|No|Vol|vol|Fig|fig|pp?|ca?|cf|e\.g|i\.e|a\.m|p\.m"
    r"|Abs|Art|Bd|bzw|Jh|Nr|vgl|art|dr|n[rp]|ok|pkt|poz|tys|tzw|tzn|m\.in|ul|ust|św|[Kk]s|im|prof|Sra?|al|вв|гг|млн|ст|тыс"
    r"|Kap|rozdz|sog|ggf|Mio|Mrd|Chr|Hrsg|ej|núm|págs?|Dra|av"
    r"|(?<!°)(?<![=/]\s)[^\W\d_])|\d\s?r|\bw|(?:^|\n)\s*\d{1,2})\.$"
)
_LONGEST_ABBREVIATION = 5  # letters
# A German date: 3. Dezember, 19. Jahrhundert.
_ORDINAL = re.compile(r"\b\d{1,2}\.$")
_AFTER_ORDINAL = re.compile(r"\s+(?:Jan|Feb|März|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez|Jahrhundert)")


class Sentence(NamedTuple):
    """A sentence and the place where it starts in the text; it is an exact part of that text."""

    start: int
    text: str
    is_entry: bool  # alone in its list item or short line
    is_whole: bool  # not cut by length out of a text without sentence ends


def sentences(text: str) -> Iterator[Sentence]:
    """All sentences of the text in its order, without list markers and surrounding white space."""
    for start, end, short in _units(text):
        marker = _ITEM.match(text, start, end)
        entry = bool(marker) or short
        first = begin = marker.end() if marker else start
        for stop in [*_stops(text, first, end), end]:
            raw = text[first:stop]
            at = first + len(raw) - len(raw.lstrip())
            if sentence := raw.strip():
                if len(sentence) <= _SENTENCE_MAX:
                    yield Sentence(at, sentence, entry and first == begin and stop == end, True)
                else:
                    yield from _pieces(at, sentence)
            first = stop


def _units(text: str) -> Iterator[tuple[int, int, bool]]:
    """Start and end of every paragraph, list item or line of its own, and whether it is one short line.

    A line break in a hard-wrapped paragraph is no end: the line before it is long, the next starts no item.
    """
    start = 0
    lines = list(re.finditer(r"[^\n]*(?:\n|$)", text))
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        content = line[0].strip()
        wrapped = following and 45 <= len(content) <= 110 and following[0].strip() and not _ITEM.match(following[0])
        if not wrapped:
            yield start, line.end(), start == line.start() and len(content) <= _PIECE
            start = line.end()


def _stops(text: str, start: int, end: int) -> list[int]:
    return [match.end() for match in _END.finditer(text, start, end) if _is_end(text, start, match)]


def _is_end(text: str, start: int, match: re.Match[str]) -> bool:
    if match[0][0] in _FULL_STOPS:
        return True
    if not _BEGINNING.match(text, match.end()):
        return False
    word = text[max(start, match.start() - _LONGEST_ABBREVIATION - 1) : match.start()]
    if len(word) > _LONGEST_ABBREVIATION and word.isalpha():
        return True
    before = text[max(start, match.start() - 12) : match.end()]
    return not (_ABBREVIATION.search(before) or (_ORDINAL.search(before) and _AFTER_ORDINAL.match(text, match.end())))


def _pieces(start: int, text: str) -> Iterator[Sentence]:
    while text:
        piece = cut(text, _PIECE)
        yield Sentence(start, piece, False, False)
        rest = text[len(piece) :]
        start += len(text) - len(rest.lstrip())
        text = rest.lstrip()


def cut(text: str, size: int) -> str:
    """The first ``size`` characters at most, cut inside a word only if it is longer than half of that."""
    if len(text) <= size:
        return text
    match = re.compile(r"(?s).*(?=\s)").match(text, 0, size + 1)
    head = match[0].rstrip() if match else ""
    return head if len(head) > size // 2 else text[:size]
