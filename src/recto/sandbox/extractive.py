"""Question/answer proposals taken from a text by rule: no model, no randomness, any language.

The text is cut into sentences; each that is whole offers candidates, the best of them read off its grammar, the rest
clozes on a number, a name or a term. The chosen cards are spread over the whole text: rather few than poor ones.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from recto.sandbox.gaps import ANY, NAMED, any_gaps, gaps, vocabulary
from recto.sandbox.grammar import questions
from recto.sandbox.languages import language_of
from recto.sandbox.whole import is_whole, parted
from recto.text.sentences import Sentence, cut, sentences

FRONT_MAX = 200
BACK_MAX = 500

_ENTRY = 1  # its rank, beside those of the grammar's rules and of gaps
_FILLER = NAMED  # beyond one card for each stretch of text, only cards of this rank or better

_BLANK = "____"
_CLOZE_MAX = 180


class _Forms(NamedTuple):
    """The words around what is the text's own: of a cloze, of a glossary's entry, of the last resort."""

    cloze: str
    entry: str
    beginning: str


_FORMS = {
    "en": _Forms("Complete: {}", "What does the text say about “{}”?", "How does the text begin?"),
    "pl": _Forms("Uzupełnij: {}", "Co tekst mówi na temat: „{}”?", "Jak zaczyna się tekst?"),
    "zh": _Forms("填空：{}", "关于“{}”，文中怎么说？", "文章的开头是什么？"),
}
_OWN_WORDS = _Forms("{}", "{}: ____", "How does the text begin?")  # for any other language

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
_GLOSSARY = re.compile(
    r"(?P<term>[^\s:：–—\d][^:：–—“”\"?!.;,\n]{1,48}?)(?::\s|：|\s[–—-]\s)\s*(?P<answer>\S.{9,})", re.S
)
_STOPS = " \t\r\n.!?…。！？؟۔।"
# Of a source: [3], (Smith et al., 2010), （今井、1985）.
_CITATION = re.compile(
    r"\s*(?:\[\d+\]|[(（][^()（）]*[^\W\d_][^()（）]*[,，、\s]\s?\d{4}[a-z]?(?:[,;，；][^()（）]*)?[)）])"
)
_CITATIONS_BEHIND = re.compile(rf"(?:{_CITATION.pattern})+$")


class _Candidate(NamedTuple):
    rank: int
    start: int
    front: str
    back: str


def propose(text: str, limit: int, known: Collection[str] = (), *, cloze: bool = False) -> list[dict[str, str]]:
    """At most ``limit`` cards ``{"front", "back"}`` in the order of the text, the same for the same text and ``known``.

    Every back is an exact substring of the text. Fronts have at most 200 characters, backs at most 500; no
    two fronts are alike, nor two backs, and no front holds its own answer. A text with at least 1,000
    characters that are neither white space nor control characters yields at least one card.

    With ``cloze`` every front is a sentence with a gap. No front is like one of ``known``, so that calls which add the
    fronts that they got bring new cards until the text is exhausted.
    """
    language = language_of(text)
    forms = _FORMS.get(language, _OWN_WORDS)
    if cloze:  # no words around the sentence
        forms = forms._replace(cloze="{}")

    def allowed(offers: Iterable[_Candidate]) -> list[_Candidate]:
        return [offer for offer in offers if _BLANK in offer.front or not cloze]

    candidates = (
        allowed(_good(text, language, forms))
        or allowed(_poor(text, language, forms))
        or allowed(_last_resort(text, forms))
    )
    asked = set(map(key, known))
    candidates = sorted(
        (candidate for candidate in candidates if key(candidate.front) not in asked),
        key=lambda candidate: (candidate.rank, candidate.start),
    )
    cards: dict[int, _Candidate] = {}
    taken: set[tuple[str, str]] = set()

    def take(offers: list[_Candidate]) -> None:
        for offer in offers:
            keys = {("front", key(offer.front)), ("back", key(offer.back))}
            if len(cards) < limit and offer.start not in cards and not keys & taken:
                cards[offer.start] = offer
                taken.update(keys)
                return

    buckets: dict[int, list[_Candidate]] = {}
    for candidate in candidates:
        buckets.setdefault(candidate.start * limit // len(text), []).append(candidate)
    for _, offers in sorted(buckets.items()):
        take(offers)
    for candidate in candidates:
        if candidate.rank <= _FILLER:
            take([candidate])
    return [{"front": cards[start].front, "back": cards[start].back} for start in sorted(cards)]


def _good(text: str, language: str, forms: _Forms) -> Iterator[_Candidate]:
    """Cards of whole sentences and of a glossary's entries."""
    words = vocabulary(text, language)
    for sentence in parted(text, words.lower):
        body = sentence.text.rstrip(_STOPS)
        if sentence.is_entry and (match := _GLOSSARY.fullmatch(body)):
            yield from _card(sentence, _ENTRY, forms.entry.format(match["term"]), match["answer"])
        if is_whole(sentence, language):
            for offer in questions(body, language, words.lower):
                yield from _card(sentence, *offer)
            for rank, start, end in gaps(sentence.text, words):
                front = f"{sentence.text[:start]}{_BLANK}{sentence.text[end:]}"
                yield from _card(sentence, rank, forms.cloze.format(front), sentence.text[start:end])


def _poor(text: str, language: str, forms: _Forms) -> Iterator[_Candidate]:
    """Gaps in whatever there is, shortened where it is long: for a text without any good card."""
    words = vocabulary(text, language)
    for sentence in sentences(text):
        for rank, start, end in [*gaps(sentence.text, words), *any_gaps(sentence.text)]:
            front = forms.cloze.format(_gap(sentence, start, end, _CLOZE_MAX - len(forms.cloze)))
            yield from _card(sentence, rank, front, sentence.text[start:end])


def _last_resort(text: str, forms: _Forms) -> Iterator[_Candidate]:
    """One card on the text's beginning, for a text so repetitive that every cloze gives its answer away."""
    for stretch in re.split(_CONTROL, text):
        beginning = cut(stretch.strip(), 120)
        if beginning and beginning.casefold() not in forms.beginning.casefold():
            yield _Candidate(ANY, 0, forms.beginning, beginning)
            return


def _card(sentence: Sentence, rank: int, front: str, back: str) -> Iterator[_Candidate]:
    """The card without its citations, if there is one then."""
    front = re.sub(r"\.\.$", ".", " ".join(_CITATION.sub("", front).split()))
    back = _CITATIONS_BEHIND.sub("", back.strip()).rstrip(",;")
    if _fits(front, back) and not _CITATION.search(back):
        yield _Candidate(rank, sentence.start, front, back)


def _fits(front: str, back: str) -> bool:
    answer = key(back)
    return (
        len(front) <= FRONT_MAX
        and len(back) <= BACK_MAX
        and bool(answer)
        and not _CONTROL.search(front + back)
        and answer not in key(front)
        and back.casefold() not in front.casefold()
    )


def key(text: str) -> str:
    """What two texts have in common that differ in case, compatibility forms, spacing or punctuation only."""
    return " ".join(re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).split())


def _gap(sentence: Sentence, start: int, end: int, size: int) -> str:
    """The sentence with a blank for one passage, shortened around it at word edges to ``size`` characters."""
    before, after = sentence.text[:start], sentence.text[end:]
    room = size - len(_BLANK) - 2
    left = max(room // 2, room - len(after))
    right = max(room - left, room - len(before))
    if len(before) > left:
        before = "…" + cut(before[::-1], left)[::-1]
    if len(after) > right:
        after = cut(after, right) + "…"
    return f"{before}{_BLANK}{after}"
