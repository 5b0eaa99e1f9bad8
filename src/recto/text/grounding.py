"""Where in a text a card stands, and whether the text supports it. No model is asked.

A card is compared with the text's sentences by what they share: words, in other forms too, and numbers, however they
are written. What is rare in the text weighs more. How much of the question a sentence has is multiplied by how much of
the answer it has, so that one that has only one of them is no support. Numbers of the answer must stand there, and
count the same.

How good that is, and on which cards: docs/cards.md.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import log

from recto.text.sentences import sentences
from recto.text.words import counts, is_unspaced, parts, plain, runs, terms


@dataclass(frozen=True, slots=True)
class Grounding:
    """The best place for a card: ``text[start:end] == quote``, one sentence or two neighbours, in code points.

    ``quote``, ``start`` and ``end`` are None where card and text share nothing.
    ``grounded``: whether the text supports the card.
    """

    quote: str | None
    start: int | None
    end: int | None
    grounded: bool

    def moved(self, by: int) -> "Grounding":
        """Return the same place in a text of which this one begins at ``by``."""
        if self.start is None or self.end is None:
            return self
        return replace(self, start=self.start + by, end=self.end + by)


NOWHERE = Grounding(None, None, None, grounded=False)

# The lowest support, of hundredths, with which the tuned half of the labelled cards reaches every aim.
LEAST_SUPPORT = 0.07

_PAIR = 0.9  # of a share, where it takes two sentences
_OTHER_NUMBER = 0.05  # of the support, where a number of the answer does not stand, or one of the question nowhere
_DISTANT_NUMBER = 0.7  # where a number of the question stands in another place
_OTHER_UNIT = 0.2  # where the answer's number counts something else
_SMALL_NUMBER = 0.5  # where the answer is no more than one of two digits, which stands in many places
_CHANCE = 0.2  # how much of a word is in a sentence by chance
_COMMON = 0.1  # of the sentences; what more of them have, and more than three, is common
_STEM = 4  # letters that tell a unit; a shorter one is short for another
_LONG = 5  # letters; a shorter word weighs less than its rarity says

_Term = tuple[float, dict[int, float]]  # its weight; how much of it each sentence has that has any
_Place = tuple[int, int]  # the first sentence and the last


class Index:
    """A text, made ready for the grounding of any number of cards. ``text`` is trimmed, as ``SourceText.text`` is.

    Sets of sentences are integers here: bit *n* stands for sentence *n*.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._sentences = list(sentences(text))
        self._plain = [plain(sentence.text) for sentence in self._sentences]
        self._having = _index(self._plain)
        count = len(self._sentences)
        self._rarities = [log((count + 1) / (having + 0.5)) for having in range(count + 1)]
        self._rare = [rarity if having <= 3 + _COMMON * count else 0.0 for having, rarity in enumerate(self._rarities)]
        self._terms: dict[str, _Term] = {}

    def ground(self, front: str, back: str) -> Grounding:
        """Find the place of a card, whose front may be a cloze (``____`` for what is left out). Never raises."""
        plain_front, plain_back = plain(front), plain(back)
        asks, answers = terms(plain_front), terms(plain_back)
        question, answer = self._found(asks), self._found(answers)
        asked, answered = _shares(question), _shares(answer)
        bests = [max(shares, key=shares.__getitem__) for shares in (answered, asked) if shares]
        fits = {(number, number): share * asked[number] for number, share in answered.items() if number in asked}
        # Two neighbours are tried where question and answer do not have their best in the same sentence.
        for best in bests if len(set(bests)) > 1 else ():
            for first in range(max(0, best - 1), min(best + 1, len(self._sentences) - 1)):
                if fit := _share_of_pair(question, first) * _share_of_pair(answer, first):
                    fits[first, first + 1] = fit
        if not fits:
            return self._at((bests[0], bests[0]), grounded=False) if bests else NOWHERE
        # Not a small number in words: "Which three …?" may count what the text lists.
        numbers_asked = self._with_numbers(term for term in asks if len(term) > len("#3") or term[-1] in plain_front)
        numbers_answered = self._with_numbers(answers)
        if numbers_asked or numbers_answered:
            for place in fits:
                fits[place] *= _numbers_fit(place, numbers_asked, numbers_answered)
        place = max(fits, key=fits.__getitem__)
        # Beside the best that the text has for each side: a question with the answer to another has much of each
        # somewhere, and little of one of them here.
        support = fits[place] * min(1.0, fits[place] / (max(asked.values()) * max(answered.values())))
        if numbers_answered and self._counts_otherwise(plain_back, place):
            support *= _OTHER_UNIT
        if len(answers) == 1 and answers[0][0] == "#" and len(answers[0]) <= len("#12"):
            support *= _SMALL_NUMBER
        return self._at(place, grounded=support >= LEAST_SUPPORT)

    def _found(self, side: Sequence[str]) -> list[_Term]:
        """The terms of a side; what is common counts only where nothing of it that is rare stands in the text."""
        for term in side:
            if term not in self._terms:
                self._terms[term] = self._term(term, self._rare)
        found = [self._terms[term] for term in side]
        return found if any(alike for _, alike in found) else [self._term(term, self._rarities) for term in side]

    def _term(self, term: str, rarities: Sequence[float]) -> _Term:
        if is_unspaced(term):
            those = [number for number, sentence in enumerate(self._plain) if term in sentence]
        elif term[0] == "#":
            those = _each(self._having.get(term, 0))
        else:
            return self._word(term, rarities)
        rarity = rarities[len(those)]
        return rarity, dict.fromkeys(those, 1.0) if rarity else {}

    def _word(self, word: str, rarities: Sequence[float]) -> _Term:
        """A word, of which a sentence has as much as it has n-grams, in one word or in several."""
        found = [self._having.get(gram, 0) for gram in parts(word)]
        whole = 0.0
        shares: defaultdict[int, float] = defaultdict(float)
        for those in dict.fromkeys(found):  # most n-grams of a rare word stand in the same sentences
            if rarity := found.count(those) * rarities[those.bit_count()]:
                whole += rarity
                while those:
                    lowest = those & -those
                    shares[lowest.bit_length() - 1] += rarity
                    those ^= lowest
        chance = _CHANCE * whole
        alike = {number: (share - chance) / (whole - chance) for number, share in shares.items() if share > chance}
        return min(1.0, len(word) / _LONG) * whole / len(found), alike

    def _with_numbers(self, side: Iterable[str]) -> list[int]:
        """For each number of a side the sentences that have it."""
        return [self._having.get(term, 0) for term in side if term[0] == "#"]

    def _counts_otherwise(self, plain_back: str, place: _Place) -> bool:
        """Whether a number of the answer counts something else in that place: 18 weeks for 18 days."""
        ours = counts(plain_back)
        theirs = [count for number in {*place} for count in counts(self._plain[number])] if ours else []
        for number, unit in ours:
            units = [other for same, other in theirs if same == number]
            if units and not any(_is_like(unit, other) for other in units) and not _is_year(number, unit):
                return True
        return False

    def _at(self, place: _Place, *, grounded: bool) -> Grounding:
        first, last = self._sentences[place[0]], self._sentences[place[1]]
        end = last.start + len(last.text)
        return Grounding(self._text[first.start : end], first.start, end, grounded)


def ground_all(text: str, cards: Iterable[tuple[str, str]]) -> list[Grounding]:
    """Find the places of cards, each ``(front, back)``, in a trimmed text."""
    index = Index(text)
    return [index.ground(front, back) for front, back in cards]


def _index(sentences: Sequence[str]) -> dict[str, int]:
    """For each number, and each n-gram of a word, the sentences that have it."""
    of_runs: defaultdict[str, int] = defaultdict(int)
    for number, sentence in enumerate(sentences):
        bit = 1 << number
        for run in runs(sentence):
            of_runs[run] |= bit
    having: dict[str, int] = {}
    for run, those in of_runs.items():
        for part in parts(run):
            having[part] = having[part] | those if part in having else those
    return having


def _each(those: int) -> list[int]:
    numbers = []
    while those:
        lowest = those & -those
        numbers.append(lowest.bit_length() - 1)
        those ^= lowest
    return numbers


def _shares(side: Sequence[_Term]) -> dict[int, float]:
    """How much of a side each sentence has that has any."""
    shares: defaultdict[int, float] = defaultdict(float)
    for weight, alike in side:
        for number, share in alike.items():
            shares[number] += weight * share
    whole = sum(weight for weight, _ in side)
    return {number: share / whole for number, share in shares.items()}


def _share_of_pair(side: Sequence[_Term], first: int) -> float:
    share = sum(weight * max(alike.get(first, 0.0), alike.get(first + 1, 0.0)) for weight, alike in side)
    return _PAIR * share / sum(weight for weight, _ in side)


def _numbers_fit(place: _Place, asked: Sequence[int], answered: Sequence[int]) -> float:
    here = 1 << place[0] | 1 << place[1]
    fit = 1.0
    for those in answered:
        if not those & here:
            fit *= _OTHER_NUMBER
    for those in asked:
        if not those & here:
            fit *= _DISTANT_NUMBER if those else _OTHER_NUMBER
    return fit


def _is_like(unit: str, other: str) -> bool:
    """Whether two units may be one: ``liter`` and ``litern``, ``km`` and ``kilometres``."""
    shorter, longer = sorted((unit, other), key=len)
    if len(shorter) >= _STEM:
        return shorter[:_STEM] == longer[:_STEM]
    letters = iter(longer)
    return shorter[0] == longer[0] and all(letter in letters for letter in shorter)


def _is_year(number: str, unit: str) -> bool:
    """Whether a number counts nothing: what stands behind a year is any word."""
    return len(number) == len("#1848") and number[1:].isdecimal() and not is_unspaced(unit)
