"""PDF → text with headings: lines in larger letters than most of the text."""

import re
from collections import Counter
from itertools import pairwise
from math import sqrt
from statistics import median
from typing import Any, BinaryIO, NamedTuple
from unicodedata import normalize

from pypdf import PageObject, PdfReader
from pypdf.errors import LimitReachedError

from recto.documents import MAX_CHARACTERS, DocumentError

_LETTERS_A_PAGE = 20  # on average; with fewer it is taken for pictures of pages
_LARGER = 1.1  # than the text's letters are those of a heading
_LONGEST_HEADING = 120
_GAP = 1.35  # times the usual step from line to line is a new paragraph
_RUNNING = 3  # pages that begin or end with the same line have it as header or footer
_FULL_LINE = 0.75  # of the usual length: the next line goes on with it

_ITEM = re.compile(r"[-*•–▪◦‣]\s|\(?\d{1,3}[.)]\s")
_HYPHEN = re.compile(r"(?<=[^\W\d_])[-‐\u00ad][ \n](?=([^\W\d_]))")
_CONTENTS = re.compile(r"(?:\.\s?){4,}\s*\w{1,6}$")  # a line of the table of contents: dots up to a page's number
_LIGATURE = re.compile("[ﬀ-ﬆ]")


class _Line(NamedTuple):
    text: str
    size: float  # of its letters, in points
    y: float  # points from the page's bottom

    @property
    def place(self) -> str:
        """The line without what differs from page to page."""
        return re.sub(r"\d+", "0", self.text)


def read(document: BinaryIO) -> str:
    """Return the text of a PDF. Raises ``DocumentError``, also for one with a password or without text."""
    if b"%PDF-" not in document.read(1024):
        raise DocumentError("The file is no PDF.")
    reader = PdfReader(document)
    if reader.is_encrypted and not reader.decrypt(""):
        raise DocumentError("The PDF is encrypted: save it without its password first.")
    pages, length = [], 0
    for page in reader.pages:
        try:
            pages.append(_lines(page))
        except LimitReachedError:
            raise DocumentError("The PDF unpacks to more than can be read.") from None
        length += sum(len(line.text) for line in pages[-1])
        if length > MAX_CHARACTERS:
            raise DocumentError(f"The PDF has more than {MAX_CHARACTERS:,} characters of text; split it first.")
    if length <= _LETTERS_A_PAGE * len(pages):
        raise DocumentError(
            "The PDF has pictures of pages and no text, as scanners make it: let an OCR program read it."
        )
    return _HYPHEN.sub(_joined, _text(pages))


def _lines(page: PageObject) -> list[_Line]:
    """The lines of a page in pypdf's order, but for a table of contents; the size is that of most letters in a line."""
    lines: list[_Line] = []
    line: list[str] = []
    sizes: Counter[float] = Counter()
    heights: list[float] = []

    def end_line() -> None:
        text = " ".join("".join(line).split())
        if text and not _CONTENTS.search(text):
            lines.append(
                _Line(_LIGATURE.sub(lambda match: normalize("NFKC", match[0]), text), _most(sizes), heights[0])
            )
        for collected in (line, sizes, heights):
            collected.clear()

    def hear(text: str, outer: list[float], inner: list[float], _font: Any, size: float) -> None:
        for number, part in enumerate(text.split("\n")):
            if number:
                end_line()
            line.append(part)
            if letters := len(part.strip()):
                sizes[round(size * _scale(outer) * _scale(inner), 1)] += letters
                heights.append(outer[1] * inner[4] + outer[3] * inner[5] + outer[5])

    page.extract_text(visitor_text=hear)
    end_line()
    return lines


def _scale(matrix: list[float]) -> float:
    return sqrt(abs(matrix[0] * matrix[3] - matrix[1] * matrix[2]))


def _text(pages: list[list[_Line]]) -> str:
    lines = _without_headers(pages)
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[line.size] += len(line.text)
    usual = _most(sizes)
    body = [line for line in lines if line.size <= usual * _LARGER]
    step = median([before.y - line.y for before, line in pairwise(body) if before.y > line.y] or [0])
    full = _FULL_LINE * median([len(line.text) for line in body] or [0])
    ranks = sorted({line.size for line in lines if _is_heading(line, usual)}, reverse=True)
    parts: list[str] = []
    before = None
    for line in lines:
        goes_on = before and _is_heading(before, usual) == _is_heading(line, usual)
        if _is_heading(line, usual):
            gap = " " if goes_on and before.size == line.size else f"\n\n{'#' * min(ranks.index(line.size) + 1, 6)} "
        elif not goes_on or before.y - line.y > step * _GAP:
            gap = "\n\n"
        else:
            gap = " " if len(before.text) >= full and not _ITEM.match(line.text) else "\n"
        parts += gap, line.text
        before = line
    return "".join(parts)


def _without_headers(pages: list[list[_Line]]) -> list[_Line]:
    edges = Counter(place for lines in pages for place in {line.place for line in (*lines[:1], *lines[-1:])})
    found = []
    for lines in pages:
        for number, line in enumerate(lines):
            if number not in (0, len(lines) - 1) or edges[line.place] < _RUNNING:
                found.append(line)
    return found


def _is_heading(line: _Line, usual: float) -> bool:
    return (
        line.size > usual * _LARGER
        and len(line.text) <= _LONGEST_HEADING
        and sum(character.isalpha() for character in line.text) > 2  # not an initial, nor a page's number
    )


def _most(sizes: Counter[float]) -> float:
    return max(sizes, key=sizes.__getitem__, default=0)


def _joined(match: re.Match[str]) -> str:
    return "" if match[1].islower() else match[0]
