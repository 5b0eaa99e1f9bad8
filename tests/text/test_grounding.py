"""Where a card stands in a text, and whether the text supports it."""

import random
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recto.evaluation import spoiling
from recto.evaluation.labelled import LabelledText, texts
from recto.text.grounding import NOWHERE, Grounding, Index, ground_all

HALVES = pytest.mark.parametrize("half", ["tuned", "held out"])
INDICES = {text.name: Index(text.text) for text in texts()}


def flagged(half: str, spoil: Callable[[LabelledText], Iterator[tuple[str, str]]]) -> float:
    """The share of spoilt cards that are flagged as not grounded."""
    grounded = [
        INDICES[text.name].ground(*card).grounded for text in texts() if text.half == half for card in spoil(text)
    ]
    return grounded.count(False) / len(grounded)


@HALVES
def test_the_place_holds_the_answer(half: str) -> None:
    found = []
    for text in texts():
        for card in text.cards if text.half == half else ():
            place = INDICES[text.name].ground(card.front, card.back)
            assert place.start is not None
            assert place.end is not None
            found.append(place.start <= card.answer_start and card.answer_end <= place.end)
    assert found.count(True) >= 0.995 * len(found)


@HALVES
def test_few_good_cards_are_flagged(half: str) -> None:
    assert flagged(half, lambda text: iter([(card.front, card.back) for card in text.cards])) <= 0.05


@HALVES
def test_cards_of_another_text_are_flagged(half: str) -> None:
    assert flagged(half, lambda text: spoiling.foreign(text, texts())) >= 0.99


@HALVES
def test_changed_numbers_are_flagged(half: str) -> None:
    assert flagged(half, spoiling.changed) >= 0.92


@HALVES
def test_answers_of_other_cards_are_flagged(half: str) -> None:
    assert flagged(half, spoiling.swapped) >= 0.75


# One card, one text

ERIE = (
    "The Erie Canal was opened in 1825. It is 584 kilometres long and joins the Hudson to Lake Erie. "
    "Governor DeWitt Clinton had argued for it for years. His enemies called it Clinton’s Ditch. "
    "Eighty-three locks lifted the boats by 172 metres, and mules pulled them from a towpath."
)


@pytest.mark.parametrize(
    ("text", "front", "back", "quote"),
    [
        pytest.param(ERIE, "How long is the Erie Canal?", "584 km", "It is 584 kilometres long", id="numbers, units"),
        pytest.param(ERIE, "The boats were pulled by ____.", "mules", "Eighty-three locks", id="cloze"),
        pytest.param(ERIE, "Whose ditch was the canal called?", "Clinton's", "His enemies", id="apostrophes"),
        pytest.param(
            "ประเทศไทยมีเมืองหลวงคือกรุงเทพมหานคร แม่น้ำเจ้าพระยาไหลผ่านเมืองนี้\nเชียงใหม่อยู่ทางภาคเหนือ\nภูเก็ตเป็นเกาะที่ใหญ่ที่สุด",
            "เกาะใดใหญ่ที่สุด",
            "ภูเก็ต",
            "ภูเก็ตเป็นเกาะ",
            id="Thai",
        ),
        pytest.param(
            "القاهرة عاصمة مصر. نهر النيل أطول أنهار إفريقيا. بنى الملك خوفو الهرم الأكبر في الجيزة.",
            "من بنى الهرم الأكبر؟",
            "الملك خوفو",
            "بنى الملك خوفو",
            id="Arabic",
        ),
        pytest.param(
            "서울은 대한민국의 수도이다. 한강이 도시를 가로지른다. 세종대왕은 1443년에 한글을 만들었다.",
            "한글을 만든 사람은 누구인가?",
            "세종대왕",
            "세종대왕은",
            id="Korean",
        ),
        pytest.param(
            "ताज महल आगरा में है। इसे शाहजहाँ ने बनवाया था। गंगा भारत की सबसे लंबी नदी है।",
            "ताज महल किसने बनवाया?",
            "शाहजहाँ ने",
            "इसे शाहजहाँ",
            id="Hindi",
        ),
    ],
)
def test_a_card_stands_where_its_answer_does_and_is_supported(text: str, front: str, back: str, quote: str) -> None:
    place = Index(text).ground(front, back)
    assert quote in (place.quote or "")
    assert place.grounded


def test_an_answer_that_the_whole_text_is_about_is_supported_where_the_question_stands() -> None:
    facts = ["is deep", "is cold", "freezes late", "lies in a rift", "holds a fifth of fresh water", "has one outlet"]
    text = " ".join(f"Lake Baikal {fact}." for fact in facts)
    assert Index(text).ground("Which lake freezes late?", "Baikal").quote == "Lake Baikal freezes late."
    assert Index(text).ground("Which lake freezes late?", "Baikal").grounded
    assert not Index(text).ground("Which lake freezes late?", "Lake Ladoga").grounded


def test_a_question_may_count_in_words_what_the_text_lists() -> None:
    assert Index(ERIE).ground("Which two waters does the canal join?", "The Hudson and Lake Erie").grounded
    assert not Index(ERIE).ground("What was opened in 1852?", "The Erie Canal").grounded


@pytest.mark.parametrize(
    ("front", "back"),
    [
        ("How long is the Erie Canal?", "548 km"),
        ("How long is the Erie Canal?", "584 miles"),
        ("In which year was the Erie Canal opened?", "1852"),
        ("How many locks lifted the boats?", "Ninety-three"),
        ("Who argued for the Erie Canal?", "Thomas Jefferson"),
        ("What is the capital of Mongolia?", "Ulaanbaatar"),
    ],
)
def test_a_card_that_the_text_contradicts_or_knows_nothing_of_is_not_grounded(front: str, back: str) -> None:
    assert not Index(ERIE).ground(front, back).grounded


def test_two_sentences_are_quoted_where_question_and_answer_stand_in_neighbours() -> None:
    place = Index(ERIE).ground("By what name did the enemies of Governor DeWitt Clinton know the canal?", "Ditch")
    assert place.quote == ERIE[ERIE.index("Governor") : ERIE.index(" Eighty")]


def test_half_a_card_that_the_text_knows_has_a_place_without_support() -> None:
    place = Index(ERIE).ground("Which animals pulled the boats from a towpath?", "Oxen")
    assert "mules" in (place.quote or "")
    assert not place.grounded


@pytest.mark.parametrize(("front", "back"), [("Кто открыл галлий?", "Лекок"), ("", ""), ("____", "?!"), ("🎉", "\x00")])
def test_a_card_that_shares_nothing_with_the_text_has_no_place(front: str, back: str) -> None:
    assert Index(ERIE).ground(front, back) == NOWHERE


@pytest.mark.parametrize("text", ["", " ", "\r\n", "…", "🎉"])
def test_a_text_without_words_has_no_place_for_a_card(text: str) -> None:
    assert ground_all(text, [("What?", "That.")]) == [NOWHERE]


def test_cards_are_grounded_alike_in_any_order() -> None:
    text = texts()[0]
    cards = [(card.front, card.back) for card in text.cards]
    assert ground_all(text.text, cards) == ground_all(text.text, cards[::-1])[::-1]


# Hostile texts

PIECES = [
    "Cafe\u0301 costs 5 €. ",
    "👩‍🚀 flew to 🌍 in 1963.\r\n",
    "שלום עולם, 12 ימים. ",
    "\u202eمرحبا\u202c بالعالم؟ ",
    "Ｆｕｌｌ ｗｉｄｔｈ １２３。",
    "水的化学式是H₂O。",
    "x²³ ≠ 10²³; ﬁne. ",
    "no end ",
    "z. B. am 3. Mai ",
    "\r\n\r\n",
    "\ud800",
    "\x00",
    "İstanbul ẞ ŉ. ",
    "1 000 000,5 ",
    "九千亿",
    "____ ",
    "....",
    "'''’",
]
TEXT = st.one_of(st.lists(st.sampled_from(PIECES)).map("".join), st.text(st.characters(exclude_categories=())))
LONG = [
    "x" * 10_000,
    "水" * 10_000,
    "7" * 10_000,
    "7 " * 5_000,
    "九万" * 5_000,
    "a. B. " * 1_600,
    "." * 10_000,
    "word " * 2_000,
    "e\u0301" * 5_000,
    "10^" * 3_000,
    "1,234" * 2_000,
    "\r\n" * 5_000,
    "👩‍🚀" * 3_000,
]
NAMES = [text[:6].encode("unicode_escape").decode() for text in LONG]


def check(text: str, place: Grounding) -> None:
    if place.quote is None:
        assert place == NOWHERE
    else:
        assert place.start is not None
        assert place.end is not None
        assert 0 <= place.start < place.end <= len(text)
        assert text[place.start : place.end] == place.quote
        assert place.quote == place.quote.strip()


@given(TEXT, TEXT, TEXT, st.data())
@example("", "", "", None)
def test_a_quote_is_what_stands_between_its_offsets(text: str, front: str, back: str, data: Any) -> None:
    cards = [(front, back), ("", back), (front, "")]
    if data:
        start = data.draw(st.integers(0, len(text)))
        cards.append((text[:start], text[start : start + 50]))
    for place in ground_all(text, cards):
        check(text, place)


@pytest.mark.parametrize("text", LONG, ids=NAMES)
def test_a_long_text_of_one_kind_does_no_harm(text: str) -> None:
    for place in ground_all(text, [("What is 7?", text[:300]), (text[:200], text[-500:]), (text, text)]):
        check(text, place)


# Time


def steps(run: Callable[[], object]) -> int:
    """How many lines of the core run."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace if "/recto/text/" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def prose(characters: int) -> str:
    """Sentences of words that do not end: a longer text has more of them."""
    drawn = random.Random(5)
    text = ""
    while len(text) < characters:
        words = ["".join(drawn.choices("aeioulmnrst", k=drawn.randint(2, 9))) for _ in range(12)]
        text += f"{' '.join(words).capitalize()} {drawn.randint(1, 9999)}. "
    return text[:characters]


def repeated(text: str) -> Callable[[int], str]:
    return lambda characters: text[: characters // 4]


@pytest.mark.parametrize("kind", [prose, *map(repeated, LONG)], ids=["prose", *NAMES])
def test_a_text_four_times_as_long_takes_no_more_than_about_four_times_as_many_steps(
    kind: Callable[[int], str],
) -> None:
    short, long = kind(10_000), kind(40_000)
    card = ("Which tonal rumination is it, 7 or 水?", short[100:160])
    assert steps(lambda: ground_all(long, [card])) <= 5 * steps(lambda: ground_all(short, [card])) + 500
