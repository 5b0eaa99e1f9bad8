"""Which sentences get a gap, and where: a case or two for each rule; `test_judged.py` has whole texts."""

import pytest

from recto.sandbox.extractive import propose
from recto.sandbox.gaps import gaps, vocabulary
from recto.sandbox.languages import language_of, points_back
from recto.sandbox.whole import is_whole, parted


def answers(text, language="en"):
    """What a sentence may be asked for."""
    return [text[start:end] for _, start, end in gaps(text, vocabulary(text, language))]


@pytest.mark.parametrize(
    ("sentence", "asked"),
    [
        ("The fleet left the port of Cadiz in 1805 with 33 ships.", ["1805", "33", "Cadiz"]),
        ("The fort was besieged on 2 May 1808 by the French army.", ["2 May 1808", "French"]),
        ("The colonies declared on July 4, 1776, that all of them were free.", ["July 4, 1776"]),
        ("The work has more than 17 000 articles on every subject.", ["17 000"]),
        ("The priests praised King Ptolemy V. Epiphanes for lower taxes.", ["King Ptolemy V. Epiphanes"]),
        ("The law goes back to Friedrich Carl von Savigny and others.", ["Friedrich Carl von Savigny"]),
        ("Every one of the states looks to the United States for help.", ["United States"]),
        ("The epidemic of 1848–49 killed 14,137 people in the capital.", ["14,137 people"]),
        ("The reaction keeps the gas at 35 °C for an hour or so.", ["35 °C"]),
    ],
)
def test_dates_numbers_and_names_are_asked_for_as_a_whole(sentence, asked):
    assert answers(sentence) == asked


@pytest.mark.parametrize(
    "sentence",
    [
        "The treaty was signed on Monday by the ministers of the two states.",
        "The treaty was signed on 2 May by the ministers of the two states.",
        "The rest of Section 3 is about the cells of the plants.",
        "The buyer has to pay the price by § 433 Abs. 2 of the code.",
        "The energy of a body follows from E = mc^2 and is large.",
        "The mass is given by F = 12 a for a body at rest.",
        "The lookup takes $O(12 n)$ on average, and less at best.",
        "The pair lies in `table[120]` once it has been written.",
        "The effect was found again by others (Smith et al., 2010) in mice.",
        "The effect was found again by others [1961] in mice.",
        "The bucket is a tree in Java 8 and a list before.",
        "The need for vitamin B12 is small but not to be forgotten.",
        "The fort stood until they left, and nobody saw them again.",
    ],
)
def test_nothing_is_asked_that_is_no_fact_of_the_text(sentence):
    assert answers(sentence) == []


def test_a_term_is_asked_for_if_the_text_repeats_it():
    text = "The membrane of a cell lets water pass. Salt does not pass through the membrane at all."
    first, _ = parted(text, frozenset())
    assert [first.text[start:end] for _, start, end in gaps(first.text, vocabulary(text, "en"))] == ["membrane"]


def test_a_single_german_noun_is_asked_for_if_the_text_repeats_it():
    sentence = "Ein Vertrag bindet beide Seiten, und der Vertrag gilt ohne jede Form."
    assert answers(sentence, "de") == ["Vertrag", "Vertrag"]


@pytest.mark.parametrize(
    ("sentence", "asked"),
    [
        ("本居宣長はその本質を「もののあはれ」という言葉で説明した。", ["もののあはれ", "本居宣長"]),
        ("訳は2008年11月1日に刊行された。", ["2008年11月1日"]),
        ("違いは第3章で述べる。", []),
        ("齿轮有720个齿。", ["720个"]),
        ("白马寺建于公元68年。", ["公元68年"]),
    ],
)
def test_a_script_without_spaces_is_asked_for_quotes_numbers_and_terms(sentence, asked):
    assert answers(sentence) == asked


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "It was carved in the year 196 BC."),
        ("en", "After the surrender it went to London."),
        ("en", "In this case the court decides."),
        ("de", "Im Jahr 1906 wurde sie promoviert."),
        ("de", "Dieses Prinzip geht auf Savigny zurück."),
        ("fr", "Sur la Lune, elle est plus faible."),
        ("fr", "Leur existence découle des équations."),
        ("es", "Su libro se publicó en Londres."),
        ("es", "Nació en Zaragoza en 1852."),
        ("pl", "Urodził się w Warszawie."),
        ("pl", "W tym roku wybuchła wojna."),
        ("ja", "これは有名な話である。"),
        ("zh", "他当时在巴黎工作。"),
    ],
)
def test_a_sentence_that_points_back_is_known(language, sentence):
    assert points_back(sentence, language)


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "French soldiers found the stone while they repaired a fort."),
        ("en", "On the island ten people are left."),  # "on" and "ten" are pronouns in Polish
        ("de", "Im Sommer floh Meitner, weil ihr Pass ungültig war."),
        ("fr", "Le roi interdit les deux volumes."),
        ("es", "La enzima fija el dióxido de carbono."),
        ("pl", "Pszczoła miodna to owad."),
        ("zh", "光年是光在一年中走过的距离。"),
    ],
)
def test_a_sentence_that_stands_alone_is_known(language, sentence):
    assert not points_back(sentence, language)


@pytest.mark.parametrize(
    "sentence",
    [
        "The Rosetta Stone",
        "Who found the stone?",
        "the end of it.",
        "There are three (or four.",
        "On a Monday it rained.",
    ],
)
def test_what_is_no_whole_statement_is_left_out(sentence):
    assert not any(is_whole(part, "en") for part in parted(sentence, frozenset()))


def test_a_day_of_the_week_with_a_date_is_no_hindrance():
    [sentence] = parted("On Tuesday, 27 September 1822, Champollion read a letter.", frozenset())
    assert is_whole(sentence, "en")


@pytest.mark.parametrize(
    ("parts", "lower"),
    [
        (["The decree praises King Ptolemy V.", "The priests wrote it."], {"the"}),
        (["The decree praises King Ptolemy V. Epiphanes in three scripts."], {"the"}),
        (["Die Formel E. B. beschrieb das Verfahren als Erster."], {"die"}),
        (["Święto ustanowiono dopiero w 1919 r.", "Po wojnie go zakazano."], {"po"}),
    ],
)
def test_a_letter_ends_a_sentence_before_a_word_that_is_in_lower_case_elsewhere(parts, lower):
    assert [sentence.text for sentence in parted(" ".join(parts), frozenset(lower))] == parts


def test_where_nobody_can_tell_whether_a_letter_ends_a_sentence_neither_half_is_used():
    first, *_ = parted("W Sejmie przyjęto ją dopiero wiosną 1787 r. Projekt był tajny.", frozenset())
    assert not is_whole(first, "pl")


def test_a_king_s_number_before_what_may_be_his_name_makes_the_sentence_doubtful():
    first, _ = parted("The war was won by Ludwig XIV. Bourbon troops went home.", frozenset())
    assert not is_whole(first, "en")


@pytest.mark.parametrize(
    ("sentence", "card"),
    [
        (
            "Stanley Miller described that to the others in public [1961].",
            {"front": "Complete: ____ described that to the others in public.", "back": "Stanley Miller"},
        ),
        (
            "Osmosis is the flow of water through a membrane (Smith et al., 2010).",
            {"front": "What is Osmosis?", "back": "the flow of water through a membrane"},
        ),
        (
            "Hans Luhn of IBM proposed it to the others (vgl. Knuth, 1998, p. 547).",
            {"front": "Complete: ____ proposed it to the others.", "back": "Hans Luhn of IBM"},
        ),
    ],
)
def test_citations_are_left_out_of_cards(sentence, card):
    assert propose(sentence, 1) == [card]


def test_no_gap_is_made_at_what_stands_twice_in_the_sentence():
    assert "Rome" not in [card["back"] for card in propose("From Rome to Paris and back to Rome is a long way.", 15)]


def test_a_text_with_one_good_card_gets_no_poor_ones():
    text = (
        "It was late when it happened to them. Boilers are closed vessels that hold water. He was not there to see it."
    )
    assert [card["back"] for card in propose(text, 15)] == ["closed vessels that hold water"]


def test_a_sentence_that_is_too_long_for_a_front_gets_no_gap():
    long = "Late in 1805 the fleet left the port, " + "and the wind was good for a day, " * 6 + "so that it came home."
    text = f"{long} The harbour of Cadiz was full of ships."
    assert [card["back"] for card in propose(text, 15)] == ["Cadiz"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The king was of the house that ruled the land.", "en"),
        ("Der König war von dem Haus, das nicht mehr ist.", "de"),
        ("Le roi est de la maison qui est dans le pays.", "fr"),
        ("El rey es de la casa que está en el país.", "es"),
        ("Król był z rodu, który nie jest w kraju i się nie śmieje.", "pl"),
        ("光年是光在一年中走过的距离。", "zh"),
        ("これは日記に書かれた話である。", "ja"),
        ("Царь был из рода, который правил страной.", ""),
    ],
)
def test_the_language_of_a_text_is_known(text, language):
    assert language_of(text) == language
