"""Proposals taken from a text by rule: the questions of each language, and what holds for any text."""

import re
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recto.sandbox.extractive import propose

PADDING = {
    "en": "It is not the case that the rest of this was of any use to the reader.",
    "pl": "Nie jest to w ogóle ważne i nie było się z czego śmiać na co dzień.",
    "zh": "",
}


def key(text):
    return " ".join(re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).split())


def card_for(sentence, language):
    """The card that a sentence in front of some plain padding yields."""
    return propose(f"{sentence} {PADDING[language]}", 15)[0]


@pytest.mark.parametrize(
    ("language", "sentence", "front", "back"),
    [
        (
            "en",
            "Osmosis is the flow of water through a membrane.",
            "What is Osmosis?",
            "the flow of water through a membrane",
        ),
        (
            "en",
            "The steam engine is a machine that makes motion.",
            "What is the steam engine?",
            "a machine that makes motion",
        ),
        (
            "en",
            "Gregor Mendel (1822–1884) was an Austrian monk; he grew peas.",
            "Who was Gregor Mendel?",
            "an Austrian monk",
        ),
        ("en", "Boilers are closed vessels that hold water.", "What are Boilers?", "closed vessels that hold water"),
        ("en", "Pressure means force per unit of area.", "What does Pressure mean?", "force per unit of area"),
        ("en", "Entropy refers to the spread of energy.", "What does Entropy refer to?", "the spread of energy"),
        (
            "en",
            "The process by which plants make food is called photosynthesis.",
            "What is the process by which plants make food called?",
            "photosynthesis",
        ),
        (
            "en",
            "The Bastille was stormed on 14 July 1789 by a crowd.",
            "When was the Bastille stormed?",
            "14 July 1789",
        ),
        ("en", "In 1869, Mendeleev published his table.", "What happened in 1869?", "Mendeleev published his table"),
        ("en", "On July 4, 1776, Congress met again.", "What happened on July 4, 1776?", "Congress met again"),
        ("en", "The mill was closed because the river fell dry.", "Why was the mill closed?", "the river fell dry"),
        (
            "en",
            "Thomas Newcomen built the first practical engine.",
            "Who built the first practical engine?",
            "Thomas Newcomen",
        ),
        ("en", "The tower is about 330 metres tall.", "How tall is the tower?", "330 metres"),
        ("en", "A spider has eight legs and no wings.", "How many legs does a spider have?", "eight"),
        ("en", "“Where is the key?” asked Tobias.", "Who said this: “Where is the key?”", "Tobias"),
        ("en", "Water boils at 100 °C at sea level.", "Complete: Water boils at ____ at sea level.", "100 °C"),
        ("pl", "Mieszko I był pierwszym władcą Polski.", "Kim był Mieszko I?", "pierwszym władcą Polski"),
        (
            "en",
            "Inflation is a sustained rise in the general level of prices.",
            "What is Inflation?",
            "a sustained rise in the general level of prices",
        ),
        ("pl", "Rybosomy są miejscem syntezy białek.", "Czym są Rybosomy?", "miejscem syntezy białek"),
        ("pl", "Sejm to zgromadzenie posłów.", "Co to jest Sejm?", "zgromadzenie posłów"),
        ("pl", "W 966 roku książę przyjął chrzest.", "Co wydarzyło się w 966 roku?", "książę przyjął chrzest"),
        (
            "pl",
            "Akademia Krakowska została założona w 1364 roku.",
            "Kiedy została założona Akademia Krakowska?",
            "1364 roku",
        ),
        ("pl", "Wojsko odeszło, ponieważ brakowało żywności.", "Dlaczego? Wojsko odeszło.", "brakowało żywności"),
        ("zh", "1911年10月10日，武昌起义爆发。", "1911年10月10日发生了什么？", "武昌起义爆发"),
        ("zh", "叶绿体是进行光合作用的场所。", "填空：叶绿体是____。", "进行光合作用的场所"),
        ("zh", "由于水的比热容较大，气温变化小。", "为什么气温变化小？", "水的比热容较大"),
    ],
)
def test_a_sentence_becomes_a_question(language, sentence, front, back):
    card = card_for(sentence, language)
    assert card["front"].casefold() == front.casefold()
    assert card["back"] == back


@pytest.mark.parametrize(
    "sentence",
    [
        "It is a large house on the hill.",
        "When the king was a boy of ten, there were wolves.",
        "The mill was running all night.",
        "Paris is beautiful in the spring.",
        "His father was a farmer.",
    ],
)
def test_no_question_is_asked_about_a_pronoun_a_side_clause_or_a_mere_quality(sentence):
    fronts = [card["front"] for card in propose(f"{sentence} {PADDING['en']}", 15)]
    assert not [front for front in fronts if front.startswith(("What", "Who"))]


def test_list_items_become_questions_about_their_terms():
    items = "- Ribosome: builds proteins from amino acids\n- Nucleus – holds the DNA of the cell\n"
    text = f"Notes on the cell and the parts of it\n\n{items}"
    assert propose(text, 15)[-2:] == [
        {"front": "What does the text say about “Ribosome”?", "back": "builds proteins from amino acids"},
        {"front": "What does the text say about “Nucleus”?", "back": "holds the DNA of the cell"},
    ]


def test_a_capital_that_only_the_start_of_the_sentence_gives_is_taken_back():
    text = "Photosynthesis is the process that feeds plants. The leaves are where photosynthesis happens."
    assert propose(text, 15)[0]["front"] == "What is photosynthesis?"


def test_a_name_keeps_the_capital_that_its_first_word_has_lost_elsewhere():
    text = "New Zealand is a country of islands. A new law of the land is the work of the people."
    assert propose(text, 15)[0]["front"] == "What is New Zealand?"


def test_no_question_is_asked_for_what_something_is_not():
    assert not [
        card
        for card in propose("丝绸之路不是一条路，而是由许多绿洲和驿站组成的网络。", 15)
        if "不是____" in card["front"]
    ]


def test_abbreviations_and_initials_do_not_end_a_sentence():
    text = "Mrs. Pettigrew met Dr. J. Harrow near St. Albans in the autumn of 1847. The rain was of no use to them."
    assert propose(text, 1)[0]["front"] == "Complete: " + text.split(" The rain")[0].replace("1847", "____")


def test_a_hard_wrapped_paragraph_is_read_as_one():
    text = "The steam engine is a machine that turns the heat of\nburning fuel into motion, and it is of use."
    [card] = propose(text, 15)
    assert card["back"] == "a machine that turns the heat of\nburning fuel into motion"


def test_a_footnote_mark_is_neither_asked_for_nor_shown():
    text = "The toll is thought to be small,[2] although some historians of the city dispute that.[4]"
    [card] = propose(text, 15)
    assert "[" not in card["front"]
    assert card["back"] not in {"2", "4"}


def test_a_language_without_rules_gets_no_foreign_words():
    text = "Der Rhein ist etwa 1233 Kilometer lang und entspringt in den Schweizer Alpen."
    [card] = propose(text, 15)
    assert card == {"front": text.replace("1233", "____"), "back": "1233"}


def test_cards_are_spread_over_the_whole_text():
    text = " ".join(f"The river number {n} is a stream that village {n} drinks from." for n in range(10, 110))
    cards = propose(text, 10)
    tenths = [text.index(card["back"]) * 10 // len(text) for card in cards]
    assert tenths == list(range(10))


def test_the_number_of_cards_is_bounded():
    text = " ".join(f"The hill number {n} is a place that {n} people know." for n in range(50))
    assert [len(propose(text, limit)) for limit in (0, 1, 3, 15)] == [0, 1, 3, 15]


def test_a_text_of_nothing_gives_no_card():
    assert propose("", 15) == propose(" \n\t", 15) == []


def hold(text, cards):
    """What holds for the cards of any text."""
    fronts = [key(card["front"]) for card in cards]
    assert len(fronts) == len(set(fronts))
    for card in cards:
        assert card["back"] in text
        assert card["back"].strip()
        assert 0 < len(card["front"]) <= 200
        assert len(card["back"]) <= 500
        assert not re.search(rf"(?<!\w){re.escape(card['back'])}(?!\w)", card["front"])
        assert not re.search(r"[^\S\n\t ]|[\x00-\x08]", card["front"])
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)", card["back"])


@pytest.mark.parametrize(
    "text",
    [
        "a" * 10_000,
        "字" * 10_000,
        "😀" * 1000,
        "😀😃 " * 2000,
        "the " * 2500,
        "word and word\n" * 700,
        "." * 10_000,
        "____ " * 2000,
        "- \n" * 3000 + "x" * 1000,
        "نص بلا نهاية ولا فاصلة " * 200,
        "这是一段没有标点的文字" * 200,
        "ข้อความภาษาไทยไม่มีช่องว่างระหว่างคำ" * 60,
        "\u200b" * 1000,
        "How does the text begin? " * 60,
        "A: b\r\n" * 1200,
        "The mill\rwas built\r" * 60,
        "((((" * 1000 + "'" * 1000,
        "В 1869 году Менделеев открыл периодический закон химических элементов. " * 20,
    ],
)
def test_any_text_of_some_length_gives_at_least_one_card(text):
    cards = propose(text, 15)
    assert 1 <= len(cards) <= 15
    hold(text, cards)


def test_a_long_text_without_sentence_ends_is_not_cut_inside_words():
    words = [
        f"{syllable}{vowel}dorum" + "abcdefghij"[n % 10] + "klmnopqrst"[n // 10 % 10] + "uvwxyz"[n // 100 % 6]
        for n, (syllable, vowel) in enumerate(zip("bdfgklmnprst" * 100, "aeiou" * 240, strict=True))
    ]
    cards = propose(" ".join(words), 15)
    assert len(cards) == 15
    for card in cards:
        inside = re.sub(r"Complete: |[…_]+", " ", card["front"])
        assert set(inside.split()) <= set(words)


ALPHABET = st.characters(exclude_categories=("Cs", "Cc"))
PIECES = st.one_of(
    st.sampled_from(["The mill ", "Anna Nowak ", "is a ", "was ", "In 1869, ", "because ", "called ", "” said "]),
    st.sampled_from(["jest ", "to ", "W 1410 roku ", "光合作用是", "1911年", "سنة ", "12 ", "[3]", "'s ", "Mr. "]),
    st.sampled_from([". ", "! ", "\n", "\n\n- ", ": ", " – ", "“", "。", "，", "(", "\r\n", "\t", "…", "😀", "ß", "İ"]),
    st.text(ALPHABET, max_size=12),
)
MIXTURES = st.lists(PIECES, max_size=120).map("".join)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(text=st.text(ALPHABET, max_size=400) | MIXTURES, limit=st.integers(1, 20))
def test_cards_of_any_text_quote_it_and_keep_their_bounds(text, limit):
    cards = propose(text, limit)
    assert len(cards) <= limit
    assert cards == propose(text, limit)
    hold(text, cards)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(seed=st.text(ALPHABET, min_size=1, max_size=200).filter(str.strip), limit=st.integers(1, 15))
def test_a_thousand_characters_of_anything_give_a_card(seed, limit):
    text = seed * (1000 // len("".join(seed.split())) + 1)
    cards = propose(text, limit)
    assert cards
    hold(text, cards)


def collected(text, limit):
    """The batches of calls that each know the fronts of the ones before, up to the first empty one."""
    batches, known = [], []
    while batch := propose(text, limit, known):
        batches.append(batch)
        known += [f" {card['front'].upper()} " for card in batch]
    return batches


def test_calls_that_know_what_there_is_bring_new_cards_until_the_text_is_exhausted():
    text = " ".join(f"The river number {n} is a stream that village {n} drinks from." for n in range(10, 80))
    batches = collected(text, 15)
    cards = [card for batch in batches for card in batch]
    assert len(batches[0]) == 15
    assert len(cards) >= 70
    hold(text, cards)


def test_a_text_with_a_single_card_is_exhausted_by_it():
    assert [len(batch) for batch in collected("a" * 1000, 15)] == [1]


def test_known_fronts_of_other_texts_change_nothing():
    text = "Osmosis is the flow of water through a membrane. Boilers are closed vessels that hold water."
    assert propose(text, 15, ["What is Rome?"]) == propose(text, 15)
