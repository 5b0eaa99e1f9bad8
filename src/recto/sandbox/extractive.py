"""Question/answer proposals taken from a text by rule: no model, no randomness, any language.

The text is cut into sentences; each offers candidates, the best of them read off its grammar, the rest clozes
on a number, a name or a significant word. The chosen cards are spread over the whole text.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from recto.sandbox.grammar import questions
from recto.text.sentences import Sentence, cut, sentences

FRONT_MAX = 200
BACK_MAX = 500

_ENTRY, _NUMERIC, _NAMED, _WORD, _PHRASE = 1, 3, 4, 6, 7  # ranks, beside those of the grammar's rules
_FILLER = 4  # beyond one card for each stretch of text, only cards of this rank or better
_SIGNIFICANT = 8  # what makes a word worth a blank: eight letters, or fewer if the text repeats it

_BLANK = "____"
_CLOZE_MAX = 180
_TEMPLATES = {  # language: cloze, glossary entry, last resort
    "en": ("Complete: {}", "What does the text say about “{}”?", "How does the text begin?"),
    "pl": ("Uzupełnij: {}", "Co tekst mówi na temat: „{}”?", "Jak zaczyna się tekst?"),
    "zh": ("填空：{}", "关于“{}”，文中怎么说？", "文章的开头是什么？"),
    "": ("{}", "{}: ____", "How does the text begin?"),
}

_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
_GLOSSARY = re.compile(
    r"(?P<term>[^\s:：–—\d][^:：–—“”\"?!.;,\n]{1,48}?)(?::\s|：|\s[–—-]\s)\s*(?P<answer>\S.{9,})", re.S
)
_NUMBER = re.compile(
    r"(?<![\w.,:/\[-])(?:[$€£¥]\s?)?\d+(?:[.,:]\d+)*(?:\s?(?:%|°C|°F|‰)|(?:\s(?:hundred|thousand|million|billion|trillion|tys\.|mln"
    r"|mld))?(?:\s(?:years?|months?|weeks?|days?|hours?|minutes?|seconds?|met(?:er|re)s?|kilomet(?:er|re)s?|miles?"
    r"|feet|inches|tonn?e?s?|kilograms?|pounds?|degrees|percent|per cent|people|km|cm|mm|kg|lat|dni|metrów"
    r"|kilometrów|osób|ludzi|procent)\b)?)(?![\w%])"
)
_REFERENCE = re.compile(r"\b(?i:section|chapter|figure|table|page|article|rozdział|abschnitt|kapitel|chapitre)\s$")
_ORDINAL = re.compile(r"\.\s")  # what follows the number of "2. Mai"
_DAYS = frozenset(
    [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
        "Montag",
        "Dienstag",
        "Mittwoch",
        "Donnerstag",
        "Freitag",
        "Samstag",
        "Sonnabend",
        "Sonntag",
    ]
)
_QUOTED = re.compile(r"[《「『“]([^《》「」『』“”]{2,20})[》」』”]")
_UNSPACED_NUMBER = re.compile(
    r"(?:\d[\d,.]*[万亿]?|[一二两三四五六七八九十百千万亿]{2,})多?"
    r"(?:%|平方公里|公里|公斤|厘米|毫米|[年个種种幅座位名次人天月日米里倍岁歳册卷条吨克度元])"
)
_CLAUSE = re.compile(r"[^\s，、；：。！？,;:“”「」『』《》（）…]{3,24}")
_UNCLEAR = re.compile(
    r"(?i:it|he|she|they|his|her|their|this|that|these|those|such|but|and|so|then|on|ona|oni|jego|jej|ich|to|ten|ta|te"
    r"|ale|więc)\b|[他她它这那但而]"
)
_DULL = re.compile(
    r"(?i:about|after|again|against|although|always|another|because|before|behind|between|cannot|could|during|either"
    r"|enough|every|himself|herself|however|itself|little|might|moment|neither|never|nothing|often|others?|perhaps"
    r"|rather|really|several|should|since|something|still|their|themselves|there|therefore|these|things?|think"
    r"|those|though|thought|through|together|towards|under|until|which|while|without|would|bardzo|dlatego|jednak"
    r"|jeszcze|każdy|kiedy|któr[aey]|nawet|przed|przez|również|tylko|wszystko|został[ao]?|\w+(?:ly|ing|ed)|.*['’\d].*)"
)
_STOPWORDS = {
    "en": frozenset({"the", "of", "and", "to", "that", "with", "were"}),
    "pl": frozenset({"i", "w", "się", "na", "jest", "z", "do", "był", "nie"}),
}


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
    language = _language(text)
    asked = set(map(key, known))

    def new(offers: Iterable[_Candidate]) -> list[_Candidate]:
        return [offer for offer in offers if key(offer.front) not in asked and (_BLANK in offer.front or not cloze)]

    candidates = sorted(
        new(_candidates(text, language, bare=cloze)), key=lambda candidate: (candidate.rank, candidate.start)
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
    chosen = [cards[start] for start in sorted(cards)] or new(_last_resort(text, language))[:limit]
    return [{"front": card.front, "back": card.back} for card in chosen]


def _candidates(text: str, language: str, *, bare: bool) -> Iterator[_Candidate]:
    words = Counter(re.findall(r"[^\W\d_]+", text))
    lower = frozenset(word for word in words if word.islower())
    cloze, entry, _ = _TEMPLATES[language]
    if bare:  # no words around the sentence
        cloze = "{}"
    for sentence in sentences(text):
        body = sentence.text.rstrip(" \t\r\n.!?…。！？؟۔।")
        unclear = 2 if _UNCLEAR.match(body) or sentence.text[-1] in "?!？！" else 0
        offers: list[tuple[int, str, str]] = []
        if sentence.is_entry and (match := _GLOSSARY.fullmatch(body)):
            offers.append((_ENTRY, entry.format(match["term"]), match["answer"]))
        if sentence.is_whole:
            offers += questions(body, language, lower)
        offers += (
            (
                rank + unclear,
                cloze.format(_gap(sentence, start, end, _CLOZE_MAX - len(cloze))),
                sentence.text[start:end],
            )
            for rank, start, end in _targets(sentence, words, lower)
        )
        for rank, front, back in offers:
            tidy = " ".join(re.sub(r"\s*\[\d+\]", "", front).split())
            answer = back.strip().rstrip(",;")
            if _fits(tidy, answer):
                yield _Candidate(rank, sentence.start, tidy, answer)


def _last_resort(text: str, language: str) -> Iterator[_Candidate]:
    """One card on the text's beginning, for a text so repetitive that every cloze gives its answer away."""
    for stretch in re.split(_CONTROL, text):
        beginning = cut(stretch.strip(), 120)
        front = _TEMPLATES[language][2]
        if beginning and beginning.casefold() not in front.casefold():
            yield _Candidate(_PHRASE, 0, front, beginning)
            return


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


def _language(text: str) -> str:
    """``en``, ``pl``, ``zh``, or ``""`` for any other, whose cards hold no words but the text's own."""
    letters = sum(map(str.isalpha, text)) or 1
    if len(re.findall(r"[\u4e00-\u9fff]", text)) > 0.3 * letters:
        return "" if re.search(r"[\u3040-\u30ff]", text) else "zh"
    words = re.findall(r"[^\W\d_]+", text.lower())
    shares = {
        language: sum(word in stopwords for word in words) / (len(words) or 1)
        for language, stopwords in _STOPWORDS.items()
    }
    best = max(shares, key=lambda language: shares[language])
    if shares[best] < 0.05 or (best == "pl" and not re.search("[ąęłśżźćń]", text)):
        return ""
    return best


def _targets(sentence: Sentence, words: Counter[str], lower: frozenset[str]) -> Iterator[tuple[int, int, int]]:
    """``(rank, start, end)`` of the passages of a sentence that are worth a blank."""
    text = sentence.text
    if len(re.findall(f"[{_UNSPACED}]", text)) > len(text) / 3 or len(max(text.split(), key=len)) > 60:
        yield from _unspaced_targets(text)
        return
    tokens = list(re.finditer(r"\S+", text))
    if len(tokens) < 5:
        return
    for match in _NUMBER.finditer(text, 1):
        if not _REFERENCE.search(text[: match.start()]) and not _ORDINAL.match(text, match.end()):
            yield _NUMERIC, *match.span()
    spans = [_bare(token) for token in tokens]
    for start, end in _names(text, spans, words, lower):
        yield _NAMED, start, end
    significant = sorted(
        (span for span in spans[1:] if _significance(text[span[0] : span[1]], words) >= _SIGNIFICANT),
        key=lambda span: (-_significance(text[span[0] : span[1]], words), span),
    )
    for start, end in significant[:2]:
        yield _WORD, start, end


def _significance(word: str, words: Counter[str]) -> int:
    if len(word) < 5 or not word[0].isalpha() or _DULL.fullmatch(word):
        return 0
    return min(len(word), 12) + 2 * min(words[word], 4)


def _names(
    text: str, spans: list[tuple[int, int]], words: Counter[str], lower: frozenset[str]
) -> Iterator[tuple[int, int]]:
    """Runs of capitalised words; a sentence's first word only with another, or if it comes again."""
    run: list[tuple[int, int]] = []
    for index, (start, end) in enumerate([*spans, (len(text), len(text))]):
        word = text[start:end]
        capital = (
            len(word) > 2
            and word[0].isupper()
            and (index > 0 or words[word] > 1 or text[spans[1][0]].isupper())
            and word.lower() not in lower
            and word not in _DAYS
            and text[end : end + 2] != ". "  # a title or an initial
        )
        adjacent = bool(run) and text[run[-1][1] : start].isspace()
        if run and not (capital and adjacent):
            if len(run) <= 4:
                yield run[0][0], run[-1][1]
            run = []
        if capital:
            run.append((start, end))


def _bare(token: re.Match[str]) -> tuple[int, int]:
    """The span of a token without the punctuation and the possessive ending around it."""
    start, end = token.span()
    while start < end and unicodedata.category(token.string[start])[0] in "PS":
        start += 1
    while start < end and unicodedata.category(token.string[end - 1])[0] in "PS":
        end -= 1
    possessive = token.string[start:end].endswith(("'s", "’s"))
    return start, end - 2 * possessive


def _unspaced_targets(text: str) -> Iterator[tuple[int, int, int]]:
    for match in _QUOTED.finditer(text):
        yield _NUMERIC, *match.span(1)
    for match in _UNSPACED_NUMBER.finditer(text, 1):
        yield _NAMED, *match.span()
    clauses = list(_CLAUSE.finditer(text))
    if len(clauses) > 1:
        for match in reversed(clauses):
            yield _WORD, *match.span()
    elif len(text) >= 12:
        middle = len(text) // 2
        yield _PHRASE, middle, middle + 4


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
