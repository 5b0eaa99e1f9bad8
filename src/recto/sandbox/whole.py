"""Which sentences are worth a card by themselves: whole ones that need no sentence before them.

The rules would rather miss a good sentence than let a bad one pass.
"""

import re
from collections.abc import Iterator

from recto.sandbox import dates
from recto.sandbox.languages import points_back
from recto.text.sentences import Sentence, sentences

_CAPITAL = r"[^\W\d_a-zà-ÿąćęłńóśźż]"
# A letter or a king's number with a full stop, which may be an abbreviation's, an initial's or the sentence's.
_POINT = re.compile(rf"(?<![\w°])(?<!\b\w\.\s)(?:[^\W\d_]|[IVXLC]{{2,}})\.\s+(?=[\"“„«(]?(?P<next>{_CAPITAL}\w*))")
# As in "in 1787 r. The", but for a sentence's first words.
_PERHAPS_TWO = re.compile(rf"(?:\S+\s+){{4,}}?\S*(?<!\w)[^\W\d_A-Z]\.\s+(?!\w\.){_CAPITAL}")
_END = re.compile(r"[.!…。！۔।][\"'“”’»)\]」』]*(?:\s?\[\d+\])*$")
_PAIRS = (("(", ")"), ("[", "]"), ("«", "»"), ("「", "」"), ("『", "』"), ("（", "）"))


def parted(text: str, lower: frozenset[str]) -> Iterator[Sentence]:
    """The sentences of a text, parted after letters too where the next word has its capital from a sentence's start.

    ``lower`` are the words that the text also writes in lower case: "of Ptolemy V. The priests" is parted,
    "of Ptolemy V. Epiphanes" is not.
    """
    for sentence in sentences(text):
        start = 0
        for point in _POINT.finditer(sentence.text):
            if point["next"].lower() in lower:
                yield Sentence(sentence.start + start, sentence.text[start : point.end()].rstrip(), False, True)
                start = point.end()
        rest = sentence.text[start:]
        doubtful = _POINT.match(text, sentence.start + len(sentence.text) - len(rest.split()[-1]))
        is_whole = sentence.is_whole and not (doubtful and doubtful["next"].lower() not in lower)
        yield Sentence(sentence.start + start, rest, sentence.is_entry and not start, is_whole)


def is_whole(sentence: Sentence, language: str) -> bool:
    """Whether a sentence is complete, states something and says by itself what it is about, as far as can be told."""
    text = sentence.text
    beginning = text.lstrip("\"'“‘„«¿¡([（「『—–- ")[:1]
    return (
        sentence.is_whole
        and bool(_END.search(text))
        and beginning != ""
        and not beginning.islower()
        and not _PERHAPS_TWO.match(text)
        and not points_back(text, language)
        and (not dates.WEEKDAY.search(text) or bool(dates.DATE.search(text)))  # a Monday of which week?
        and all(text.count(opening) == text.count(closing) for opening, closing in _PAIRS)
    )
