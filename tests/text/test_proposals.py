"""What a model wrote → clean flashcard proposals."""

import json

import pytest

from recto.text.proposals import Bounds, Proposal, comparable, parse

from .test_entries import BOOK, CARDS, FRUIT, POLAND, WATER

CLEAN = json.dumps({"flashcards": CARDS}, ensure_ascii=False)


def kept(content: str, bounds: Bounds | None = None) -> list[dict[str, str]]:
    proposals = parse(content, bounds or Bounds()).proposals
    return [{"front": proposal.front, "back": proposal.back} for proposal in proposals]


def dropped(content: str) -> dict[str, int]:
    return dict(parse(content).drops)


def card(front: object, back: object) -> str:
    return json.dumps([{"front": front, "back": back}])


def test_as_much_is_read_as_the_cards_asked_for_may_have() -> None:
    cards = [{"front": f"Question {n}?", "back": f"{n}{'x' * 9_990}"} for n in range(30)]
    assert kept(json.dumps(cards), Bounds(proposals=30, front=10_000, back=10_000)) == cards
    padded = " " * 200_000 + json.dumps([POLAND])
    assert kept(padded) == []
    assert kept(padded[100:]) == [POLAND]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param('[{"front": "Q?"}]', "not_text", id="no back"),
        pytest.param('[{"back": "A"}]', "not_text", id="no front"),
        pytest.param(card("Q?", None), "not_text", id="null"),
        pytest.param(card("Q?", 4), "not_text", id="number"),
        pytest.param(card("Q?", ["A"]), "not_text", id="list"),
        pytest.param(card({"text": "Q?"}, "A"), "not_text", id="object"),
        pytest.param('[{"term": "Q?"}]', "not_text", id="other keys"),
        pytest.param('["Q? A"]', "not_text", id="no object"),
        pytest.param(card("", "A"), "empty", id="empty"),
        pytest.param(card("Q?", " \n\t\u00a0\u3000"), "empty", id="blank"),
        pytest.param(card("Q?", "\u200b\ufeff"), "empty", id="invisible"),
        pytest.param(card("Q?", "A\x00B"), "control_character", id="NUL"),
        pytest.param(card("Q\x00?", "A"), "control_character", id="NUL in the front"),
        pytest.param(card("Q?", "A\x1b[0m"), "control_character", id="escape"),
        pytest.param(card("Q?", "A\x85B"), "control_character", id="C1"),
        pytest.param(card("Q?", "\x0c1/2"), "control_character", id="form feed at an end"),
        pytest.param(card("Q?", "A\r-B"), "control_character", id="lone carriage return"),
        pytest.param(card("Q?", "A\ud800B"), "control_character", id="lone surrogate, escaped"),
        pytest.param('[{"front": "Q?", "back": "A\udfffB"}]', "control_character", id="lone surrogate, raw"),
        pytest.param(card("Q" * 201, "A"), "too_long", id="front"),
        pytest.param(card("Q?", "A" * 501), "too_long", id="back"),
        pytest.param(card("Photosynthesis?", "photosynthesis"), "front_is_back", id="punctuation and case"),
        pytest.param(card("ＦＵＬＬ width", "full-width"), "front_is_back", id="width"),
        pytest.param(card("In which city, Paris, is the Louvre?", "Paris"), "leak", id="leak"),
        pytest.param(card("Who, born in Żelazowa Wola, wrote it?", "żelazowa  wola."), "leak", id="leak, folded"),
        pytest.param(card("法国的首都巴黎在哪条河上?", "巴黎"), "leak", id="leak, Chinese"),
        pytest.param(card("ما هي القاهرة عاصمة؟", "القاهرة"), "leak", id="leak, Arabic"),
    ],
)
def test_a_card_is_dropped_for_a_reason(content: str, reason: str) -> None:
    assert kept(content) == []
    assert dropped(content) == {reason: 1}


@pytest.mark.parametrize(
    ("front", "back"),
    [
        ("Is a whale a fish or a mammal?", "A mammal"),
        ("Czy Ziemia jest płaska, czy okrągła?", "okrągła"),
        ("Ist Wasser ein Element oder eine Verbindung?", "eine Verbindung"),
        ("¿La ballena es pez o mamífero?", "mamífero"),
        ("鲸鱼是鱼还是哺乳动物?", "哺乳动物"),
        ("Кит — рыба или млекопитающее?", "млекопитающее"),
        ("Which article stands before a consonant?", "a"),
        ("What is 4 divided by 1?", "4"),
        ("Which preposition begins the phrase in time?", "in"),
        ("人民的意思是什么?", "人"),
        ("What do Parisians call their river?", "Paris"),
        ("What is the plural of mouse?", "mice"),
        ("Was ist <b>HTML</b>?", "<script>alert(1)</script>"),
    ],
)
def test_an_answer_that_stands_in_the_question_by_right_is_kept(front: str, back: str) -> None:
    assert kept(card(front, back)) == [{"front": front, "back": back}]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("What is light?", "what  is LIGHT ?!"),
        ("What’s light?", "What's light?"),
        ("Straße?", "STRASSE"),
        ("Ｗhat is ﬁre?", "What is fire?"),
        ("Co to jest – światło?", "Co to jest światło"),
        ("光是什么？", "光是什么?"),
        ("???", "???"),
    ],
)
def test_a_repeated_front_is_dropped(first: str, second: str) -> None:
    content = json.dumps([{"front": first, "back": "one"}, {"front": second, "back": "two"}])
    assert kept(content) == [{"front": first, "back": "one"}]
    assert dropped(content) == {"duplicate": 1}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("???", "!!!"),
        ("---", "- -"),
        ("🍎", "🍐"),
        ("What is C?", "What is C#?"),
        ("6*2?", "6/2?"),
        ("What is -2 squared?", "What is 2 squared?"),
        ("What is x?", "What is y?"),
        ("की?", "का?"),
    ],
)
def test_fronts_that_differ_are_both_kept(first: str, second: str) -> None:
    cards = [{"front": first, "back": "one"}, {"front": second, "back": "two"}]
    assert kept(json.dumps(cards)) == cards


def test_the_front_of_a_dropped_card_may_return() -> None:
    content = json.dumps([{"front": "Q?", "back": ""}, {"front": "Q?", "back": "A"}])
    assert kept(content) == [{"front": "Q?", "back": "A"}]


def test_the_first_cards_are_kept_and_the_surplus_is_counted() -> None:
    cards = [{"front": f"Question {n}?", "back": f"Reply {n}"} for n in range(18)]
    assert kept(json.dumps(cards)) == cards[:15]
    assert dropped(json.dumps(cards)) == {"surplus": 3}
    assert kept(json.dumps(cards), Bounds(proposals=2)) == cards[:2]


def test_the_bounds_count_code_points_and_hold_exactly() -> None:
    cards = [{"front": "🎉" * 200, "back": "ż" * 500}]
    assert kept(json.dumps(cards)) == cards
    assert kept(json.dumps(cards), Bounds(front=199)) == []
    assert kept(json.dumps(cards), Bounds(back=499)) == []


def test_sides_are_trimmed_and_line_breaks_made_one_character() -> None:
    assert parse(card(" \n Q?\t", "one\r\ntwo \r\n")).proposals == [Proposal("Q?", "one\ntwo")]


def test_drops_are_counted_each_under_its_own_reason() -> None:
    cards = [POLAND, POLAND, {"front": "Q?"}, {"front": " ", "back": "A"}, {"front": "x", "back": "X"}, WATER]
    assert dropped(json.dumps(cards)[:-3]) == {
        "duplicate": 1,
        "not_text": 1,
        "empty": 1,
        "front_is_back": 1,
        "incomplete": 1,
    }


def test_a_known_front_is_dropped_however_it_is_written() -> None:
    parsed = parse(CLEAN, known=["jak nazywa się  stolica POLSKI", "水的化学式是什么？"])
    assert [proposal.front for proposal in parsed.proposals] == [BOOK["front"], FRUIT["front"]]
    assert parsed.drops == {"known": 2}


def test_known_cards_take_no_place_among_the_kept() -> None:
    parsed = parse(CLEAN, Bounds(proposals=3), known=[POLAND["front"]])
    assert len(parsed.proposals) == 3
    assert parsed.drops == {"known": 1}


@pytest.mark.parametrize(
    ("one", "other"),
    [("What is C?", "what  is “C”"), ("ﬁne", "FINE"), ("well-known", "well known"), ("Straße", "STRASSE")],
)
def test_texts_that_say_the_same_are_comparable(one: str, other: str) -> None:
    assert comparable(one) == comparable(other)


@pytest.mark.parametrize(("one", "other"), [("C", "C#"), ("-2", "2"), ("?", "!"), ("6*2", "6/2")])
def test_texts_that_say_different_things_are_not_comparable(one: str, other: str) -> None:
    assert comparable(one) != comparable(other)
