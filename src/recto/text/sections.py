"""A long text in sections that fit a call each: split at headings, else paragraphs, sentences, words, anywhere."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil
from typing import NamedTuple
from unicodedata import category

from recto.text.sentences import sentences
from recto.text.source import MAX_CHARACTERS, MIN_CHARACTERS

_ROOM = 9000  # characters: parts are planned for this, so that a good place to cut need not be the last possible one
_REACH = 0.25  # how far from its planned place a cut may be, as a share of the part

_LONGEST_HEADING = 120
_LONGEST_BARE_HEADING = 80  # of a line that no mark shows to be a heading
_MARKED = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_UNDERLINE = re.compile(r"={3,}|-{3,}")
_FENCE = re.compile(r"```|~~~")
_NUMBERED = re.compile(r"(\d{1,3}(?:\.\d{1,3})*|[IVXLC]+(?=\.))\.?[ \t]+[^\W\d_]")
_CHAPTER = re.compile(
    r"(?:chapter|part|unit|lesson|kapitel|teil|chapitre|partie|cap[ií]tulo|capitolo|parte|rozdział|część|глава|часть"
    r"|розділ|hoofdstuk|bölüm|luku|kapitola)\s+(?:\d{1,3}|[IVXLC]+)\b|第\s?[\d一二三四五六七八九十百]{1,5}\s?[章节節回课課]",
    re.IGNORECASE,
)
_SENTENCE_ENDS = tuple(".!?…,;:。！？；，")
_PARAGRAPH = re.compile(r"\n\s*\n\s*")
_SPACE = re.compile(r"\s+")
_JOINER = "\u200d"
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))  # two are a flag


class Section(NamedTuple):
    """``text[start:end]`` in code points of the trimmed text, without white space at its ends.

    ``title`` is the heading that it stands under: of all that reach into it the first one of the highest rank. None
    where there is none before or in it.
    """

    title: str | None
    start: int
    end: int

    @property
    def length(self) -> int:
        """Code points."""
        return self.end - self.start


class _Heading(NamedTuple):
    start: int
    rank: int  # 1 is the highest
    title: str


def split(text: str, least: int = MIN_CHARACTERS) -> list[Section]:
    """Split the trimmed text into sections of 1,000–10,000 characters, in its order.

    ``least``, 1,000–10,000: a heading ends a section that has so many characters already; with more there are fewer
    sections. They do not overlap, and all that lies between them is white space. One is shorter than 1,000 only where
    the whole text is, or where thousands of white-space characters in a row leave no other way. None begins within a
    character that consists of several code points unless that is thousands long. Takes time linear in the text.
    """
    text = text.strip()
    headings = _headings(text)
    starts = [heading.start for heading in headings]
    cuts: list[int] = []
    for start, end in pairwise([*_groups(text, starts, least), len(text)]):
        cuts += _cuts(text, start, start + len(text[start:end].rstrip()), starts)
    found = []
    for start, end in pairwise([*cuts, len(text)]):
        raw = text[start:end]
        if content := raw.strip():
            first = start + len(raw) - len(raw.lstrip())
            reaching = headings[max(0, bisect_right(starts, first) - 1) : bisect_left(starts, end)]
            title = min(reaching, key=lambda heading: heading.rank).title if reaching else None
            found.append(Section(title, first, first + len(content)))
    return found


def shares(sections: Sequence[Section], count: int) -> list[int]:
    """Return how many of ``count`` cards each section gets; they add up to ``count`` unless there is no section.

    At least one each, and else by length (largest remainder). With fewer cards than sections each gets one or none,
    evenly over the text: a zero is a section that the caller has to name as passed over.
    """
    places = len(sections)
    if count < places:
        until = [(2 * place * count + places) // (2 * places) for place in range(places + 1)]
        return [end - start for start, end in pairwise(until)]
    given = [1] * places
    total = sum(section.length for section in sections)
    by_length = sorted(range(places), key=lambda place: -sections[place].length)
    while by_length and sections[by_length[-1]].length * count < total:
        total -= sections[by_length.pop()].length
        count -= 1
    remainders = {}
    for place in by_length:
        given[place], remainders[place] = divmod(sections[place].length * count, total)
    left = count - sum(given[place] for place in by_length)
    for place in sorted(by_length, key=lambda place: (-remainders[place], place))[:left]:
        given[place] += 1
    return given


def _headings(text: str) -> list[_Heading]:
    found = []
    lines = [(match.start(), match[0]) for match in re.finditer(r"[^\n]*\n?", text)]
    before, is_code = "", False
    for (start, line), (_, after) in pairwise(lines):
        content, after = line.strip(), after.strip()
        if _FENCE.match(content):
            is_code = not is_code
        if content and not is_code and (heading := _heading(content, before, after)):
            found.append(_Heading(start + line.index(content), *heading))
        before = content
    return found


def _heading(line: str, before: str, after: str) -> tuple[int, str] | None:
    """Rank and title of a line that is a heading between its neighbours."""
    if len(line) > _LONGEST_HEADING:
        return None
    if marked := _MARKED.fullmatch(line):
        title = marked[2].rstrip("#").rstrip()
        return (len(marked[1]), title) if title else None
    if before:
        return None
    if _UNDERLINE.fullmatch(after):
        return 1 if after[0] == "=" else 2, line
    if after or len(line) > _LONGEST_BARE_HEADING or line.endswith(_SENTENCE_ENDS):
        return None
    if _CHAPTER.match(line):
        return 1, line
    if numbered := _NUMBERED.match(line):
        return 1 + numbered[1].count("."), line
    if line.isupper() and sum(character.isalpha() for character in line) > 2:
        return 1, line
    return None


def _groups(text: str, starts: Iterable[int], least: int) -> list[int]:
    """Where the text is split at headings so that no group is shorter than ``least``."""
    groups = [0]
    for start in starts:
        if len(text[groups[-1] : start].rstrip()) >= least:
            groups.append(start)
    if len(groups) > 1 and len(text) - groups[-1] < least:
        groups.pop()
    return groups


def _cuts(text: str, start: int, end: int, headings: Sequence[int]) -> list[int]:
    """Where the parts of a group begin, the first one included; they are about equally long."""
    cuts = [start]
    while (length := end - cuts[-1]) > MAX_CHARACTERS:
        cuts.append(_cut(text, cuts[-1], length / ceil(length / _ROOM), headings))
    return cuts


def _cut(text: str, start: int, size: float, headings: Sequence[int]) -> int:
    """Return the best place to end a part that begins at ``start``, near ``size`` characters after it."""
    planned = start + round(size)
    first, last = planned - round(size * _REACH), min(planned + round(size * _REACH), start + MAX_CHARACTERS)
    for places in (
        headings[bisect_left(headings, first) : bisect_right(headings, last)],
        [match.end() for match in _PARAGRAPH.finditer(text, first, last)],
        [start + sentence.start for sentence in sentences(text[start:last]) if sentence.is_whole],
        [match.end() for match in _SPACE.finditer(text, first, last)],
    ):
        allowed = [place for place in places if first <= place <= last and not _is_within_character(text, start, place)]
        if allowed:
            return min(allowed, key=lambda place: abs(place - planned))
    return next((place for place in range(planned, first, -1) if not _is_within_character(text, start, place)), planned)


def _is_within_character(text: str, start: int, place: int) -> bool:
    """Whether a reader sees what stands before and after ``place`` as one character, if one begins at ``start``.

    The cases of Unicode's UAX #29 that occur in texts.
    """
    before, after = text[place - 1], text[place]
    return (
        category(after) in {"Mn", "Mc", "Me"}
        or _JOINER in (before, after)
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= after <= "\U000e007f"  # the tags of a flag
        or (after in _FLAG_LETTERS and (place - len(text[start:place].rstrip(_FLAG_LETTERS)) - start) % 2 == 1)
        or ("\u1100" <= before <= "\u11ff" and "\u1160" <= after <= "\u11ff")  # Hangul in parts
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff")
    )
