"""How many whole cards are read from answers in each form in which models spoil them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recto.evaluation.labelled import texts
from recto.evaluation.spoiling import Sides
from recto.evaluation.tables import Table, percent
from recto.sandbox.forms import CUT, WHOLE, Cards
from recto.text.proposals import parse

# Cards whose sides hold what JSON, Markdown and LaTeX give a meaning to.
AWKWARD: Cards = [
    {"front": "Jak nazywa się stolica Polski?", "back": "Warszawa"},
    {
        "front": "What is $\\frac{a}{b}$, with \\nu and \\times?",
        "back": "A ratio: $\\text{a} \\ne \\beta$\nand {x} too",
    },
    {"front": "水的化学式是什么? 🎉", "back": 'He said "H₂O", then {"a": "b"}, [{"c": 1}] and }]}'},
    {"front": "من كتب ألف ليلة وليلة؟", "back": "```json\n{'q': 'x'}\n``` '} 🎉\\"},
    {"front": "What is f', the slope?", "back": "$\\frac{f'}{g'}$, it's so"},
    {"front": "Who said “I came, I saw”?", "back": 'Caesar: "veni, vidi"'},
    {"front": "How is an empty list written in Python?", "back": "[], or list()"},
    {"front": 'How long is 5"?', "back": "127 mm\n\tor so"},
]

_CARDS_AN_ANSWER = 12


@dataclass(frozen=True, slots=True)
class Count:
    """``read``: of the ``whole`` cards in the answers those that were read as written. ``wrong``: others that were."""

    whole: int
    read: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """What is read from answers in a form that hold the labelled cards, and from one that holds the awkward ones."""

    form: str
    labelled: Count
    awkward: Count


def recoveries() -> list[Recovery]:
    """For each form what is read of cards in it."""
    answers = [
        [Sides(card.front, card.back)._asdict() for card in text.cards[start : start + _CARDS_AN_ANSWER]]
        for text in texts()
        for start in range(0, len(text.cards), _CARDS_AN_ANSWER)
    ]
    return [
        Recovery(form, _count(write, answers, lost), _count(write, [AWKWARD], lost))
        for forms, lost in ((WHOLE, 0), (CUT, 1))
        for form, write in forms.items()
    ]


def recovery_table(rows: Sequence[Recovery]) -> Table:
    """Lay out ``recoveries``."""
    return Table(
        "Whole cards read from answers, by the answer's form",
        ("form", "cards", "read", "share", "wrong", "awkward", "read", "share", "wrong"),
        [
            (
                row.form,
                *(
                    cell
                    for count in (row.labelled, row.awkward)
                    for cell in (
                        *(str(count.whole), str(count.read)),
                        *(percent(count.read / count.whole), str(count.wrong)),
                    )
                ),
            )
            for row in rows
        ],
    )


def _count(write: Callable[[Cards], str], answers: Sequence[Cards], lost: int) -> Count:
    """``lost``: how many cards, the last ones of each answer, do not stand whole in it."""
    whole = read = wrong = 0
    for cards in answers:
        written = {(card["front"], card["back"]) for card in cards[: len(cards) - lost]}
        found = {(proposal.front, proposal.back) for proposal in parse(write(cards)).proposals}
        whole += len(written)
        read += len(written & found)
        wrong += len(found - written)
    return Count(whole, read, wrong)
