"""Where the sentences of a pasted text begin and end, in any language."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_SENTENCE_MAX = 400  # what is longer is taken for a text without sentence ends
_PIECE = 240

_ITEM = re.compile(r"[ \t]*(?:[-*•–·▪‣◦]|\(?\d{1,3}[.)]|[a-z]\))[ \t]+")
_CLOSERS = "\"'”’»)\\]"
_END = re.compile(
    rf"(?:(?<![.!?…؟۔।])[.!?…؟۔।]+[{_CLOSERS}]*(?:\[\d+\])*(?=\s+[\"'“‘„«(¿¡\[—–]*[^\W_a-zà-ÿąćęłńóśźż])|[。！？]+[”’」』）]*)"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mrs?|Ms|Dr|Prof|St|Mt|Jr|Sr|Gen|Col|Capt|Rev|vs|etc|No|Vol|vol|Fig|fig|pp?|ca?|cf|e\.g|i\.e|a\.m|p\.m"
    r"|np|tzw|tzn|m\.in|ul|św|ks|im|prof|al|[A-Z])|\d\s?r|\bw|(?:^|\n)\s*\d{1,2})\.$"
)


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
    return [
        match.end()
        for match in _END.finditer(text, start, end)
        if not _ABBREVIATION.search(text[max(start, match.start() - 12) : match.end()])
    ]


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
