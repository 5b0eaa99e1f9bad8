"""Public sets in their own formats, in small files of our own."""

import json

import pytest

from recto.evaluation import EvaluationError
from recto.evaluation.public import Share, qgeval, squad

SEWERS = (
    " The Thames stank in the summer of 1858. Joseph Bazalgette built sewers of 132 kilometres below London. "
    "The pumping station at Crossness was opened by the Prince of Wales."
)
CHOLERA = (
    "Cholera killed ten thousand people in 1853. John Snow drew a map of the deaths around Broad Street. "
    "He had the handle of the pump taken off."
)
VOLCANO = (
    "Vesuvius buried Pompeii under ash and pumice. Pliny the Younger described the eruption in letters to Tacitus. "
    "The bodies were found as hollows in the hardened ash."
)


def asked(context, question, answer, **more):
    return {
        "id": "x",
        "question": question,
        "answers": [{"text": answer, "answer_start": context.index(answer)}],
        **more,
    }


def impossible(question, *plausible):
    answers = [{"text": answer, "answer_start": 0} for answer in plausible]
    return {"id": "x", "question": question, "answers": [], "is_impossible": True, "plausible_answers": answers}


def paragraph(context, *questions):
    return {"context": context, "qas": list(questions)}


LONDON = [
    paragraph(
        SEWERS,
        asked(SEWERS, "Who built the sewers below London?", "Joseph Bazalgette"),
        asked(SEWERS, "Who opened the pumping station at Crossness?", "the Prince of Wales"),
        impossible("Who paid for the cathedral?", "Joseph Bazalgette"),
        impossible("What did the bishop say?"),
    ),
    paragraph(CHOLERA, asked(CHOLERA, "Who drew a map of the deaths around Broad Street?", "John Snow")),
]
POMPEII = [paragraph(VOLCANO, asked(VOLCANO, "To whom did Pliny the Younger write letters?", "Tacitus"))]


@pytest.fixture
def written(tmp_path):
    def write(value):
        file = tmp_path / "set.json"
        file.write_text(value if isinstance(value, str) else json.dumps(value))
        return file

    return write


def squad_of(*articles):
    return {"version": "v2.0", "data": [{"title": "x", "paragraphs": paragraphs} for paragraphs in articles]}


def test_pairs_of_squad_are_placed_in_their_own_paragraph_and_flagged_in_others(written):
    assert squad(written(squad_of(LONDON, POMPEII))) == [
        Share("the place holds the answer", 4, 4),
        Share("flagged: good", 4, 0),
        Share("flagged: of the article's next paragraph", 3, 3),
        Share("flagged: of the next article", 4, 4),
        Share("flagged: no answer in the text, with a plausible one", 1, 1),
    ]


def test_a_place_that_does_not_hold_the_answer_is_counted(written):
    context = f"{SEWERS} Steam engines lifted the water. Nobody had seen a town like London."
    elsewhere = asked(context, "Below which city did Bazalgette build sewers of 132 kilometres?", "London")
    elsewhere["answers"][0]["answer_start"] = context.rindex("London")
    placed, *_ = squad(written(squad_of([paragraph(context, elsewhere)])))
    assert placed == Share("the place holds the answer", 1, 0)
    elsewhere["answers"].append({"text": "London", "answer_start": context.index("London")})
    placed, *_ = squad(written(squad_of([paragraph(context, elsewhere)])))
    assert placed == Share("the place holds the answer", 1, 1)


def test_version_1_of_squad_has_no_impossible_questions(written):
    placed, good = squad(written(squad_of(POMPEII)))
    assert (placed.cards, good.cards) == (1, 1)


def test_a_question_whose_answer_is_not_where_it_should_be_is_left_out(written):
    moved = asked(SEWERS, "Who built the sewers?", "Joseph Bazalgette")
    moved["answers"][0]["answer_start"] += 1
    with pytest.raises(EvaluationError, match="holds no question with an answer in its text"):
        squad(written(squad_of([paragraph(SEWERS, moved)])))


def instance(passage, answer, *judged):
    questions = [
        {"prediction": text, "source": "x", "fluency": 3.0, "answer_consistency": score} for text, score in judged
    ]
    return {"id": "x", "passage": passage, "reference": "x", "answer": answer, "questions": questions}


GOOD = "To whom did Pliny the Younger write letters about the eruption?"
BAD = "Which river did Napoleon cross with elephants?"


def test_what_people_and_grounded_say_of_qgevals_questions_is_compared(written):
    agreement = qgeval(written([instance(VOLCANO, "Tacitus", (GOOD, 3.0), (BAD, 1.3333), (BAD, 3.0))]))
    assert agreement.flagged == [
        Share("flagged: score 3", 2, 1),
        Share("flagged: score 2 and more", 0, 0),
        Share("flagged: score below 2", 1, 1),
    ]
    assert agreement.grounded_score == 3.0
    assert agreement.flagged_score == pytest.approx(2.16665)
    assert agreement.concordance == 0.75  # better than one of two, and as good as the other


def test_where_nothing_is_flagged_there_is_nothing_to_compare(written):
    agreement = qgeval(written([instance(VOLCANO, "Tacitus", (GOOD, 2.0))]))
    assert (agreement.grounded_score, agreement.flagged_score, agreement.concordance) == (2.0, None, None)


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (squad, "no JSON", "is no SQuAD file: Invalid JSON: expected ident at line 1 column 2"),
        (squad, [], "is no SQuAD file: "),
        (
            squad,
            {"data": [{"paragraphs": [{"qas": []}]}]},
            "is no SQuAD file: data.0.paragraphs.0.context: Field required",
        ),
        (squad, {"data": []}, "holds no question with an answer in its text"),
        (qgeval, {"data": []}, "is no QGEval file: "),
        (qgeval, [{"passage": VOLCANO}], "is no QGEval file: 0.answer: Field required"),
        (qgeval, [instance(VOLCANO, "Tacitus", (GOOD, 9))], "is no QGEval file: 0.questions.0.answer_consistency: "),
        (qgeval, [], "holds no judged question"),
    ],
)
def test_another_file_is_refused_in_a_line_without_its_text(written, read, value, message):
    with pytest.raises(EvaluationError) as caught:
        read(written(value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Vesuvius" not in str(caught.value)
