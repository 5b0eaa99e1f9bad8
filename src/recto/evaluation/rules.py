"""How good is each rule that drops a card, and the test whether the text supports it? Counted on the labelled cards."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from recto.evaluation import spoiling
from recto.evaluation.labelled import Card, Half, LabelledText, texts
from recto.evaluation.spoiling import Sides
from recto.evaluation.tables import Table, percent
from recto.text.grounding import Index
from recto.text.proposals import DEFAULT_BOUNDS, parse

_ORDER = (
    "incomplete",
    "not_text",
    "empty",
    "control_character",
    "too_long",
    "front_is_back",
    "leak",
    "known",
    "duplicate",
    "grounded",
)


class Case(NamedTuple):
    """A model's answer that ends with one card: a good one (``rule`` is None), or one that ``rule`` should flag.

    ``how`` it is spoilt; ``known``: the fronts that the learner has.
    """

    rule: str | None
    how: str
    answer: str
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of the spoilt cards that a rule is for: ``found`` of ``spoilt``.

    Of all that the rule flags of the whole set, good cards and cards spoilt in whatever way, ``flagged`` in number,
    ``rightly`` are spoilt. ``good_flagged``: the others.
    """

    rule: str
    how: str
    spoilt: int
    found: int
    flagged: int
    rightly: int

    @property
    def good_flagged(self) -> int:
        """How many good cards the rule flags."""
        return self.flagged - self.rightly


def figures() -> list[Figures]:
    """For each rule and each way to spoil a card for it, in the order in which a card is judged."""
    verdicts: Counter[tuple[str | None, str, str | None]] = Counter()
    for text in texts():
        index = Index(text.text)
        verdicts.update((case.rule, case.how, _verdict(case, index)) for case in _cases(text))
    kinds = dict.fromkeys((rule, how) for rule, how, _ in verdicts if rule)
    in_order = sorted(kinds, key=lambda kind: _ORDER.index(kind[0]))
    return [
        Figures(
            rule,
            how,
            sum(count for (*kind, _), count in verdicts.items() if kind == [rule, how]),
            verdicts[rule, how, rule],
            sum(count for (*_, verdict), count in verdicts.items() if verdict == rule),
            sum(count for (of, _, verdict), count in verdicts.items() if verdict == rule and of),
        )
        for rule, how in in_order
    ]


def good_cards() -> int:
    """How many good cards there are."""
    return sum(len(text.cards) for text in texts())


def grounding_of(half: Half) -> dict[str, float]:
    """Of a half of the texts the share of good cards whose place holds the answer, and what of each kind is flagged."""
    of_kind: defaultdict[str, list[bool]] = defaultdict(list)
    for text in texts():
        if text.half == half:
            index = Index(text.text)
            for card in text.cards:
                place = index.ground(card.front, card.back)
                of_kind["the place holds the answer"].append(
                    (place.start or 0) <= card.answer_start and card.answer_end <= (place.end or 0)
                )
                of_kind["flagged: good"].append(not place.grounded)
            for how, cards in _ungrounded(text).items():
                of_kind[f"flagged: {how}"] += [not index.ground(*card).grounded for card in cards]
    return {kind: sum(those) / len(those) for kind, those in of_kind.items()}


def grounding_table(shares: Mapping[Half, Mapping[str, float]]) -> Table:
    """Lay out what ``grounding_of`` counts of each half."""
    return Table(
        "Grounding, on the labelled cards",
        ("cards", *(f"{half} half" for half in shares)),
        [(kind, *(percent(of_half[kind]) for of_half in shares.values())) for kind in next(iter(shares.values()))],
    )


def rules_table(rows: Sequence[Figures]) -> Table:
    """Lay out ``figures``."""
    return Table(
        "Rules that drop a card, on good and spoilt ones",
        ("rule", "spoilt", "cards", "found", "recall", "rightly", "precision", "good"),
        [
            (
                *(f"`{row.rule}`", row.how, str(row.spoilt), str(row.found), percent(row.found / row.spoilt)),
                *(f"{row.rightly}/{row.flagged}", percent(row.rightly / row.flagged), str(row.good_flagged)),
            )
            for row in rows
        ],
    )


def _verdict(case: Case, index: Index) -> str | None:
    """The rule that flags a case's card."""
    parsed = parse(case.answer, known=case.known)
    if parsed.drops:
        return next(iter(parsed.drops))
    card = parsed.proposals[-1]
    return None if index.ground(card.front, card.back).grounded else "grounded"


def _cases(text: LabelledText) -> Iterator[Case]:
    for card in text.cards:
        yield Case(None, "", _answer(Sides(card.front, card.back)))
        yield from _malformed(text, card)
        yield from _repeated(card)
        if card.leak:
            yield Case("leak", "with a question that gives it away", _answer(Sides(card.leak, card.back)))
    for how, cards in _ungrounded(text).items():
        for sides in cards:
            yield Case("grounded", how, _answer(sides))


def _malformed(text: LabelledText, card: Card) -> Iterator[Case]:
    front, back = card.front, card.back
    whole = _answer(Sides(front, back))
    long = text.text[: DEFAULT_BOUNDS.back + 100]
    yield Case("incomplete", "cut off inside the answer", whole[: whole.rindex(json.dumps(back)) + len(back) // 2 + 1])
    yield Case("not_text", "without a back", json.dumps([{"front": front}]))
    yield Case("empty", "with a back of white space", _answer(Sides(front, " \n\u200b")))
    yield Case("control_character", "with a NUL behind the answer", _answer(Sides(front, f"{back}\x00")))
    yield Case("too_long", "with a passage for an answer", _answer(Sides(front, long)))
    yield Case("front_is_back", "with the question for an answer", _answer(Sides(front, front.rstrip("?？"))))


def _repeated(card: Card) -> Iterator[Case]:
    good = Sides(card.front, card.back)
    fronts = {"with the question in capitals and other punctuation": card.front.upper().rstrip("?？.") + " …?"}
    if card.again:
        fronts["with the question in other words"] = card.again
    for how, front in fronts.items():
        again = Sides(front, card.back)
        yield Case("duplicate", how, _answer(good, again))
        yield Case("known", how, _answer(again), (card.front,))


def _ungrounded(text: LabelledText) -> dict[str, Iterable[Sides]]:
    return {
        "of another text": spoiling.foreign(text, texts()),
        "with another number, unit or month": spoiling.changed(text),
        "with another card’s answer": spoiling.swapped(text),
        "invented, on the text’s subject": spoiling.invented(text),
    }


def _answer(*cards: Sides) -> str:
    return json.dumps({"flashcards": [card._asdict() for card in cards]})
