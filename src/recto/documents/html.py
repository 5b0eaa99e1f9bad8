"""HTML → text with headings. The standard library's parser reads any input, and keeps no tree of it."""

import re
from html.parser import HTMLParser
from typing import BinaryIO

from recto.documents import DocumentError

_SKIPPED = re.compile(r"script|style|template|noscript|title|nav|svg|math|select|button|textarea|iframe|object|r[tp]")
_BLOCK = re.compile(
    r"address|article|aside|blockquote|body|d[dlt]|div|fieldset|figcaption|figure|footer|form|header|hr|html|main|ol|p"
    r"|section|table|ul"
)
_ITEMS = frozenset({"li", "tr", "caption"})
_HEADING = re.compile(r"h([1-6])")
_DECLARED = re.compile(rb"(?:charset|encoding)\s*=\s*[\"']?([\w-]+)")


def read(document: BinaryIO) -> str:
    """Return the text of an HTML file. Raises ``DocumentError`` if it is binary."""
    return to_text(decode(document.read()))


def to_text(html: str) -> str:
    """Return what a reader sees: paragraphs between blank lines, headings after ``#``, list items after ``-``."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.finish()


def decode(data: bytes) -> str:
    """Decode as browsers do, UTF-8 first: what is not meant as that is hardly ever valid as that."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if b"\x00" in data:
        raise DocumentError("The file is no HTML: it is binary.")
    declared = _DECLARED.search(data, 0, 1024)
    for encoding in ("utf-8-sig", declared[1].decode() if declared else "windows-1252"):
        try:
            return data.decode(encoding)
        except (LookupError, UnicodeError):
            continue
    return data.decode("windows-1252", errors="replace")


class _Reader(HTMLParser):
    """Collects lines; a line is given out when the next block, item or line break begins."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[str] = []
        self._line: list[str] = []
        self._mark = ""  # what the line begins with
        self._skipped = ""  # the element that is being skipped,
        self._depth = 0  # and how often it is open
        self._is_code = False

    def finish(self) -> str:
        self._end_block()
        return "\n".join(self._lines)

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Read on after ``<![``, which is a comment as in browsers; the inherited one may raise AssertionError."""
        return self.parse_bogus_comment(i, report)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._skipped:
            self._depth += tag == self._skipped
        elif _SKIPPED.fullmatch(tag):
            self._skipped, self._depth = tag, 1
        elif heading := _HEADING.fullmatch(tag):
            self._end_block()
            self._mark = "#" * int(heading[1]) + " "
        elif tag == "pre":
            self._end_block()
            self._lines.append("```")
            self._is_code = True
        elif _BLOCK.fullmatch(tag):
            self._end_block()
        elif tag in _ITEMS:
            self._end_line()
            self._mark = "- " if tag == "li" else ""
        elif tag == "br":
            if self._mark.startswith("#"):
                self._line.append(" ")
            else:
                self._end_line()
        elif tag in {"td", "th"} and self._line:
            self._line.append(" | ")

    def handle_endtag(self, tag: str) -> None:
        if self._skipped:
            self._depth -= tag == self._skipped
            if not self._depth:
                self._skipped = ""
        elif tag == "pre" and self._is_code:
            self._end_line()
            self._lines += ["```", ""]
            self._is_code = False
        elif _HEADING.fullmatch(tag) or _BLOCK.fullmatch(tag):
            self._end_block()
            self._mark = ""
        elif tag in _ITEMS:
            self._end_line()
            self._mark = ""

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self._line.append(data)

    def _end_block(self) -> None:
        self._end_line()
        if not self._is_code and self._lines and self._lines[-1]:
            self._lines.append("")

    def _end_line(self) -> None:
        raw = "".join(self._line)
        self._line = []
        if self._is_code:
            self._lines += raw.strip("\n").splitlines()
        elif text := " ".join(raw.split()):
            self._lines.append(self._mark + text)
            self._mark = ""
