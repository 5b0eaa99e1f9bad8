"""How good grounding is on public sets of questions and answers, read from the files in which they are published.

- SQuAD 1.1 and 2.0 (Rajpurkar et al., arXiv 1606.05250 and 1806.03822): https://rajpurkar.github.io/SQuAD-explorer
- QGEval (Fu et al., arXiv 2406.05707): ``data/instances.json`` of https://github.com/WeipingFu/QGEval
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from recto.evaluation import EvaluationError
from recto.evaluation.spoiling import Sides
from recto.evaluation.tables import Table, percent
from recto.text.grounding import Grounding, Index


@dataclass(frozen=True, slots=True)
class Share:
    """``found`` of ``cards``: which cards, and what is found of them."""

    what: str
    cards: int
    found: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How ``grounded`` agrees with people. Their scores go from 1 to 3.

    ``flagged``: the cards that are not grounded, by score. ``grounded_score``, ``flagged_score``: the mean score of the
    grounded cards and of the others, None where there are none. ``concordance``: of all pairs of a grounded card and
    another the share in which the grounded one has the higher score, equal ones counted half; 0.5 is chance.
    """

    flagged: list[Share]
    grounded_score: float | None
    flagged_score: float | None
    concordance: float | None


class _Span(BaseModel):
    text: Annotated[str, Field(min_length=1)]
    answer_start: Annotated[int, Field(ge=0)]


class _Question(BaseModel):
    question: str
    answers: list[_Span]
    is_impossible: bool = False
    plausible_answers: list[_Span] = []


class _Paragraph(BaseModel):
    context: str
    qas: list[_Question]

    def good(self) -> list[_Question]:
        """The questions with an answer that stands where it is said to stand."""
        return [
            question
            for question in self.qas
            if not question.is_impossible and any(map(self._is_there, question.answers))
        ]

    def _is_there(self, span: _Span) -> bool:
        return self.context.startswith(span.text, span.answer_start)

    def holds(self, place: Grounding, question: _Question) -> bool:
        """Whether a place in the trimmed context holds one of the answers."""
        if place.start is None or place.end is None:
            return False
        trimmed = len(self.context) - len(self.context.lstrip())
        start, end = place.start + trimmed, place.end + trimmed
        return any(
            start <= span.answer_start and span.answer_start + len(span.text) <= end
            for span in question.answers
            if self._is_there(span)
        )


class _Article(BaseModel):
    paragraphs: list[_Paragraph]


class _Squad(BaseModel):
    data: list[_Article]


class _Judged(BaseModel):
    prediction: str
    answer_consistency: Annotated[float, Field(ge=1, le=3)]


class _Instance(BaseModel):
    passage: str
    answer: str
    questions: list[_Judged]


_SQUAD = TypeAdapter(_Squad)
_QGEVAL = TypeAdapter(list[_Instance])

_PLACED = "the place holds the answer"
_GOOD = "flagged: good"
_NEIGHBOUR = "flagged: of the article's next paragraph"
_FOREIGN = "flagged: of the next article"
_IMPOSSIBLE = "flagged: no answer in the text, with a plausible one"


def squad(file: Path) -> list[Share]:
    """Ground the pairs of a SQuAD file in their own paragraphs and in others.

    Questions whose answer does not stand where the file says are left out. Raises ``EvaluationError`` for another file.
    """
    articles = [article.paragraphs for article in _read(file, _SQUAD, "SQuAD").data if article.paragraphs]
    verdicts = Counter(verdict for number in range(len(articles)) for verdict in _of_article(articles, number))
    if not verdicts[_PLACED, True] + verdicts[_PLACED, False]:
        raise EvaluationError(f"{file} holds no question with an answer in its text.")
    return [
        Share(what, cards, verdicts[what, True])
        for what in (_PLACED, _GOOD, _NEIGHBOUR, _FOREIGN, _IMPOSSIBLE)
        if (cards := verdicts[what, True] + verdicts[what, False])
    ]


def _of_article(articles: Sequence[Sequence[_Paragraph]], number: int) -> Iterator[tuple[str, bool]]:
    paragraphs, others = articles[number], articles[(number + 1) % len(articles)]
    for at, paragraph in enumerate(paragraphs):
        index = Index(paragraph.context.strip())
        for question in paragraph.good():
            place = index.ground(question.question, question.answers[0].text)
            yield _PLACED, paragraph.holds(place, question)
            yield _GOOD, not place.grounded
        if len(paragraphs) > 1:
            yield from _flagged(_NEIGHBOUR, index, _cards(paragraphs[(at + 1) % len(paragraphs)]))
        if len(articles) > 1:
            yield from _flagged(_FOREIGN, index, _cards(others[at % len(others)]))
        impossible = [question for question in paragraph.qas if question.is_impossible and question.plausible_answers]
        cards = [Sides(question.question, question.plausible_answers[0].text) for question in impossible]
        yield from _flagged(_IMPOSSIBLE, index, cards)


def _cards(paragraph: _Paragraph) -> list[Sides]:
    return [Sides(question.question, question.answers[0].text) for question in paragraph.good()]


def _flagged(what: str, index: Index, cards: Iterable[Sides]) -> Iterator[tuple[str, bool]]:
    return ((what, not index.ground(*card).grounded) for card in cards)


def squad_table(shares: Sequence[Share]) -> Table:
    """Lay out what ``squad`` counts."""
    return Table("SQuAD", ("pairs", "all", "found", "share"), _lines(shares))


# The mean of three people's scores, each 1, 2 or 3: all of them, most of them, fewer found answer and question agree.
_BANDS = (("score 3", 3.0), ("score 2 and more", 2.0), ("score below 2", 0.0))


def qgeval(file: Path) -> Agreement:
    """Compare ``grounded`` with the answer consistency of machine-written questions as people judged it.

    Raises ``EvaluationError`` for another file than QGEval's.
    """
    verdicts: list[tuple[float, bool]] = []
    for instance in _read(file, _QGEVAL, "QGEval"):
        index = Index(instance.passage.strip())
        verdicts += (
            (judged.answer_consistency, index.ground(judged.prediction, instance.answer).grounded)
            for judged in instance.questions
        )
    if not verdicts:
        raise EvaluationError(f"{file} holds no judged question.")
    grounded = [score for score, is_grounded in verdicts if is_grounded]
    flagged = [score for score, is_grounded in verdicts if not is_grounded]
    return Agreement(_by_band(verdicts), _mean(grounded), _mean(flagged), _concordance(grounded, flagged))


def _by_band(verdicts: Iterable[tuple[float, bool]]) -> list[Share]:
    found = Counter(
        (next(band for band, least in _BANDS if score >= least), is_grounded) for score, is_grounded in verdicts
    )
    return [Share(f"flagged: {band}", found[band, True] + found[band, False], found[band, False]) for band, _ in _BANDS]


def _mean(scores: Sequence[float]) -> float | None:
    return sum(scores) / len(scores) if scores else None


def _concordance(higher: Iterable[float], lower: Iterable[float]) -> float | None:
    ours, theirs = Counter(higher), Counter(lower)
    won = sum(
        count * other * (1.0 if score > against else 0.5 if score == against else 0.0)
        for score, count in ours.items()
        for against, other in theirs.items()
    )
    pairs = ours.total() * theirs.total()
    return won / pairs if pairs else None


def qgeval_tables(agreement: Agreement) -> list[Table]:
    """Lay out what ``qgeval`` finds."""
    figures = (agreement.grounded_score, agreement.flagged_score, agreement.concordance)
    return [
        Table(
            "QGEval, by people's score of answer consistency (1–3)",
            ("cards", "all", "found", "share"),
            _lines(agreement.flagged),
        ),
        Table(
            "Agreement of `grounded` with that score",
            ("mean score: grounded", "flagged", "the grounded one higher"),
            [["–" if figure is None else f"{figure:.2f}" for figure in figures]],
        ),
    ]


def _lines(shares: Iterable[Share]) -> list[list[str]]:
    return [
        [share.what, str(share.cards), str(share.found), percent(share.found / share.cards) if share.cards else "–"]
        for share in shares
    ]


def _read(file: Path, form: TypeAdapter[Any], name: str) -> Any:
    try:
        return form.validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise EvaluationError(f"{file} is no {name} file: {f'{place}: ' if place else ''}{first['msg']}") from None
