"""Where in a sentence a gap makes a card: at a date, a number, a name or a term."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from recto.sandbox import dates

NUMERIC, NAMED, WORD, ANY = 3, 4, 6, 7
"""The ranks of gaps, the best first; ``ANY`` is one for a text that has nothing better."""

_NAME_MAX = 6  # words
_WORD_MAX = 60  # characters; what is longer is no word
_SIGNIFICANT = 8  # letters of a word that is worth a blank if the text repeats it

_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
# Where no gap is made: brackets, with what they cite, code, formulas, and words beside a sign of arithmetic.
_SIGN = r"(?:[=+<>≈≤≥→×^_{}|~#@`\\]|(?<=\s)[/·](?=\s))"
_BARRED = re.compile(
    r"\([^()]*\)|\[[^\[\]]*\]|（[^（）]*）|\$[^$]+\$|`[^`]+`"
    rf"|(?:\S+\s)?\S*{_SIGN}\S*(?:\s\S+)?|https?:\S+"
)
_NUMBER = re.compile(
    r"(?<![\w.,:/§$€£¥–-])(?:[$€£¥]\s?)?(?:\d{1,3}(?:[ \u00a0\u202f]\d{3})+|\d+(?:[.,:]\d+)*)"
    r"(?P<unit>\s?(?:%|°C|°F|‰)|(?:\s(?:hundred|thousand|million|billion|trillion|tys\.|mln|mld|BCE?|AD|CE))?"
    r"(?:\s(?:years?|months?|weeks?|days?|hours?|minutes?|seconds?|met(?:er|re)s?|kilomet(?:er|re)s?|miles?"
    r"|feet|inches|tonn?e?s?|kilograms?|pounds?|degrees|percent|per cent|people|km|cm|mm|kg|lat|dni|metrów"
    r"|kilometrów|osób|ludzi|procent)\b)?)(?![\w%/²³]|[–-]\d)"
)
# What a number of one or two digits follows that only tells its place.
_LABEL = re.compile(r"(?:[^\W\d_a-zà-ÿ][^\W_]*|[^\W\d_]+\.|\d\s(?:and|und|et|y|i))\s$")
_LABELLED = re.compile(
    r"(?:\b(?i:section|chapter|figure|table|page|article|chapitre|rozdział|capítulo)|§|\b(?:Abs|Art|Nr|No|p|S)\.)\s$"
)
_LABEL_BEHIND = re.compile(r"\s(?:\d{1,2}|\w*[^\W\d_]\d\w*)\b")  # Java 8, vitamin B12
_COUNTED = re.compile(r"\s[^\W\d_]{4,}")
# Words that a capital at the beginning of a sentence makes look like part of the name behind them.
_STARTER = re.compile(
    r"(?i:see|since|while|after|before|when|under|during|although|despite|unlike|from|with|without|nach|seit|während|unter"
    r"|gegen|durch|über|zwischen|ohne|trotz|laut|wenn|weil|obwohl|neben|selon|après|avant|depuis|pendant|quand|sous|chez"
    r"|entre|según|desde|cuando|durante|hasta|tras|według|podczas|przed|mimo|dzięki|przez|the|der|die|das|ein|eine|les|los|las|una)"
)
# A king's number or an initial: part of a name that is none by itself.
_PART = re.compile(r"(?:[IVX]|[IVXLC]{2,}e?|Ier|[^\W\d_a-zà-ÿ](?=\.))(?!\w)")
_PARTICLES = frozenset(["von", "van", "de", "du", "da", "di", "del", "della", "la", "le", "of"])
_QUOTED = re.compile(r"[《「『“]([^《》「」『』“”]{2,20})[》」』”]")
_UNSPACED_NUMBER = re.compile(
    r"(?<![\d.,第])(?:(?:公元前?)?\d+年(?:\d+月(?:\d+日)?)?"
    r"|(?:\d[\d,.]*[万亿億]?|[一二两三四五六七八九十百千万亿億]{2,})多?(?:%|平方公里|公里|公斤|厘米|毫米|[个個種种幅座位名次人天米里倍岁歳册卷条吨克度元帖首冊巻話]))(?![（(])"
)
_TERM = re.compile(
    r"[\u30a1-\u30ff][\u30a1-\u30ff・＝]{2,}|(?<![\u4e00-\u9fff々])[\u4e00-\u9fff々]{3,8}(?![\u4e00-\u9fff々（(])"
)
_KANA = re.compile(r"[\u3040-\u309f]")
_CLAUSE = re.compile(r"[^\s，、；：。！？,;:“”「」『』《》（）…]{3,24}")
_DULL = re.compile(
    r"(?i:another|because|between|himself|herself|however|nothing|perhaps|several|something|themselves|therefore"
    r"|thought|through|together|towards|without|although|bardzo|dlatego|jednak|jeszcze|również|wszystko"
    r"|zwischen|während|besonders|mehrere|verschieden\w*|plusieurs|quelques|pendant|toujours|lorsque|durante|siempre|algun[ao]s"
    r"|\w+(?:ly|ing|ed|ment|mente))"
)


class Vocabulary(NamedTuple):
    """A text's words: how often it has each, which of them are in lower case, and whether nouns have capitals."""

    counts: Counter[str]
    lower: frozenset[str]
    nouns_are_capitals: bool


def vocabulary(text: str, language: str) -> Vocabulary:
    """Return the words of a text in a language of ``languages``."""
    counts = Counter(re.findall(r"[^\W\d_]+", text))
    return Vocabulary(counts, frozenset(word for word in counts if word.islower()), language == "de")


def gaps(text: str, words: Vocabulary) -> Iterator[tuple[int, int, int]]:
    """``(rank, start, end)`` of the passages of a sentence that are worth a gap."""
    barred = [match.span() for match in _BARRED.finditer(text)]
    unspaced = len(re.findall(f"[{_UNSPACED}]", text)) > len(text) / 3
    for rank, start, end in _unspaced(text) if unspaced else _spaced(text, words):
        if not any(start < last and first < end for first, last in barred):
            yield rank, start, end


def any_gaps(text: str) -> Iterator[tuple[int, int, int]]:
    """Passages of a sentence without any of ``gaps``: its longest words, or clauses where no spaces part the words."""
    tokens = list(re.finditer(r"\S+", text))
    if len(tokens) >= 5 and max(len(token[0]) for token in tokens) <= _WORD_MAX:
        spans = [(start, end) for start, end in map(_bare, tokens[1:]) if text[start:end].lower() not in dates.NAMES]
        for start, end in sorted(spans, key=lambda span: (span[0] - span[1], span))[:2]:
            yield ANY, start, end
        return
    clauses = list(_CLAUSE.finditer(text))
    if len(clauses) > 1:
        for match in reversed(clauses):
            yield ANY, *match.span()
    elif len(text) >= 12:
        middle = len(text) // 2
        yield ANY, middle, middle + 4


def _spaced(text: str, words: Vocabulary) -> Iterator[tuple[int, int, int]]:
    tokens = list(re.finditer(r"\S+", text))
    if len(tokens) < 5:
        return
    whole_dates = [match.span() for match in dates.DATE.finditer(text)]
    for start, end in whole_dates:
        yield NUMERIC, start, end
    days = whole_dates + [match.span() for match in dates.DAY.finditer(text)]
    for match in _NUMBER.finditer(text):
        if not any(first <= match.start() < last for first, last in days) and _is_fact(match):
            yield NUMERIC, *match.span()
    spans = [_bare(token) for token in tokens]
    for run in _runs(text, spans, words):
        start, end = run[0][0], run[-1][1]
        if len(run) > 1 or not words.nouns_are_capitals or words.counts[text[start:end]] > 1:
            yield NAMED, start, end
    for start, end in spans[1:]:
        word = text[start:end]
        is_term = (
            words.counts[word] > 1 and len(word) >= _SIGNIFICANT and word == word.lower() and not _DULL.fullmatch(word)
        )
        if is_term and not _LABEL_BEHIND.match(text, end):
            yield WORD, start, end


def _is_fact(number: re.Match[str]) -> bool:
    """Whether a number is an amount or a year, not the number of a section or of a version."""
    before, digits = number.string[: number.start()], re.sub(r"\D", "", number[0])
    if _LABELLED.search(before):
        return False
    if number["unit"] or len(digits) >= 3:
        return True
    is_counted = "," in number[0] or "." in number[0] or _COUNTED.match(number.string, number.end())
    return bool(is_counted) and not _LABEL.search(before)


def _runs(text: str, spans: list[tuple[int, int]], words: Vocabulary) -> Iterator[list[tuple[int, int]]]:
    """Names: runs of capitalised words, with a king's number, initials and what a name has between its words."""
    run: list[tuple[int, int]] = []
    for index, (start, end) in enumerate([*spans, (len(text), len(text))]):
        word = text[start:end]
        goes_on = word.lower() in _PARTICLES or _is_name(word, frozenset())
        begins = bool(_PART.match(text, start)) or (
            _is_name(word, words.lower)
            and text[end : end + 2] != ". "  # a title
            and (index > 0 or words.counts[word] > 1 or (text[spans[1][0]].isupper() and not _STARTER.fullmatch(word)))
        )
        if run and not (word and _joins(text, run[-1], start) and (begins or goes_on)):
            yield from _trimmed(text, run)
            run = []
        if begins or run:
            run.append((start, end))


def _joins(text: str, last: tuple[int, int], start: int) -> bool:
    """Whether nothing but a space, or an initial's full stop and one, parts a run from the word that follows."""
    between = text[last[1] : start]
    return between.isspace() or (between[:1] == "." and between[1:].isspace() and bool(_PART.match(text, last[0])))


def _is_name(word: str, lower: frozenset[str]) -> bool:
    return (
        len(word) > 2
        and word[0].isupper()
        and not any(map(str.isdigit, word))
        and word.lower() not in lower | dates.NAMES
    )


def _trimmed(text: str, run: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """The run if it is a name, without the particles behind it."""
    while run and text[slice(*run[-1])].lower() in _PARTICLES:
        run = run[:-1]
    is_name = len(run) <= _NAME_MAX and not all(_PART.match(text, start) for start, _ in run)
    if not is_name or _LABEL_BEHIND.match(text, run[-1][1]):
        return
    start, end = run[-1]
    if _PART.match(text, start) and text[end : end + 2] == ". ":
        run = [*run[:-1], (start, end + 1)]
    yield run


def _bare(token: re.Match[str]) -> tuple[int, int]:
    """The span of a token without the punctuation and the possessive ending around it."""
    start, end = token.span()
    while start < end and unicodedata.category(token.string[start])[0] in "PS":
        start += 1
    while start < end and unicodedata.category(token.string[end - 1])[0] in "PS":
        end -= 1
    possessive = token.string[start:end].endswith(("'s", "’s"))
    return start, end - 2 * possessive


def _unspaced(text: str) -> Iterator[tuple[int, int, int]]:
    for match in _QUOTED.finditer(text):
        yield NUMERIC, *match.span(1)
    for match in _UNSPACED_NUMBER.finditer(text):
        yield NAMED, *match.span()
    if _KANA.search(text):
        for match in _TERM.finditer(text):
            yield WORD, *match.span()
