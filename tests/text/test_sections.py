"""A long text is split into sections that together are all of it."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recto.text.sections import Section, shares, split

SENTENCE = "Plants turn light into sugar within their leaves. "
PARAGRAPH = SENTENCE * 12 + "\n\n"  # 602 characters


def texts(text):
    return [text.strip()[section.start : section.end] for section in split(text)]


def titles(text):
    return [section.title for section in split(text)]


def prose(length):
    return (SENTENCE * (length // len(SENTENCE) + 1))[:length].strip()


# White space in runs that a person would type; the pieces make headings, paragraphs, endless words and odd characters.
_PIECES = st.sampled_from(
    [
        "# A heading\n",
        "\n\n2.1 Numbered\n\n",
        "\n\nIN CAPITALS\n\n",
        "\r\n\r\n",
        "\n",
        " ",
        "```\n",
        prose(300) + " ",
        prose(4000) + "\n\n",
        "光合作用发生在叶绿体中。" * 90,
        "x" * 1500,
        "👩🏽‍🔬" * 40,
        "🇵🇱" * 60,
        "e\u0301\u0323" * 70,
        "각" * 50,
        "\ud83d\ude00" * 20,
    ]
)
LONG_TEXTS = st.lists(_PIECES, max_size=60).map("".join)


@given(LONG_TEXTS, st.sampled_from([1000, 4000, 10_000]))
@example("a" * 10_001, 1000)
@example("# a\n" * 5000, 1000)
@example(prose(9800) + "\n\n# Last\n\n" + prose(500), 1000)
def test_sections_cover_the_text_in_order_and_within_bounds(text, least):
    text, sections = text.strip(), split(text, least)
    covered = 0
    for section in sections:
        assert text[covered : section.start].strip() == ""
        content = text[section.start : section.end]
        assert content == content.strip() != ""
        assert section.length <= 10_000
        assert section.length >= min(1000, len(text))
        covered = section.end
    assert covered == len(text)


@given(st.text(st.sampled_from("a. \n\u0301#\ud83d\u200d"), max_size=300), st.integers(1, 150))
def test_whatever_is_sent_nothing_is_lost(text, times):
    text = (text * times).strip()
    covered = 0
    for section in split(text):
        assert text[covered : section.start].strip() == ""
        assert 0 < section.length <= 10_000
        covered = section.end
    assert covered == len(text)


def test_white_space_that_is_longer_than_a_section_is_between_sections():
    assert texts("a" * 600 + " " * 30_000 + "b" * 600) == ["a" * 600, "b" * 600]


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_no_text_has_no_section(text):
    assert split(text) == []


@pytest.mark.parametrize(
    "character",
    [
        "e\u0301\u0323",
        "👩🏽‍🔬",
        "🇵🇱",
        "🏴\U000e0067\U000e0062\U000e0065\U000e007f",
        "\u1100\u1161\u11a8",
        "\ud83d\ude00",
        "क्",
    ],
)
def test_no_cut_goes_through_a_character(character):
    for shift in range(len(character)):
        parts = texts("x" * shift + character * 9000)
        assert len(parts) > 1
        assert all(part.lstrip("x") == character * (len(part.lstrip("x")) // len(character)) for part in parts)


def test_white_space_before_a_heading_does_not_make_a_section_too_long():
    assert [len(text) for text in texts("a" * 9990 + "\n" * 100 + "# B\n" + "b" * 1000)] == [9990, 1004]


def test_a_text_that_fits_is_one_section():
    assert split(" " + prose(10_000) + "\n") == [Section(None, 0, len(prose(10_000)))]


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("## The Calvin cycle ##", "The Calvin cycle"),
        ("The Calvin cycle\n================", "The Calvin cycle"),
        ("The Calvin cycle\r\n---", "The Calvin cycle"),
        ("2.3 The Calvin cycle", "2.3 The Calvin cycle"),
        ("IV. The Calvin cycle", "IV. The Calvin cycle"),
        ("THE CALVIN CYCLE", "THE CALVIN CYCLE"),
        ("ЦИКЛ КАЛЬВИНА", "ЦИКЛ КАЛЬВИНА"),
        ("Chapter 12", "Chapter 12"),
        ("Rozdział IV: Cykl Calvina", "Rozdział IV: Cykl Calvina"),
        ("第三章 光合作用", "第三章 光合作用"),
    ],
)
def test_a_heading_begins_a_section(heading, title):
    text = f"{PARAGRAPH * 2}{heading}\n\n{PARAGRAPH * 2}"
    assert titles(text) == [None, title]
    assert texts(text)[1].startswith(heading)


@pytest.mark.parametrize(
    "line",
    [
        "#hashtag",
        "#",
        "# " + "long " * 30,
        "2 plants were grown, and both of them lived.",
        "1945 The war ended",
        "WARNING!",
        "OK",
        "1848",
        "```\n# a comment in code\n```",
    ],
)
def test_what_only_looks_like_a_heading_begins_none(line):
    assert titles(f"{PARAGRAPH * 2}{line}\n\n{PARAGRAPH * 2}") == [None]


def test_short_ones_go_together_under_the_highest_heading():
    text = f"## 1.1 Light\n{PARAGRAPH * 2}## 1.2 Air\nAir.\n# 2 Roots\nRoots.\n## 2.1 Water\n{PARAGRAPH * 2}"
    assert titles(text) == ["1.1 Light", "2 Roots"]
    assert texts(text)[1].startswith("## 1.2 Air")


def test_a_short_last_one_goes_with_the_one_before():
    assert titles(f"# Leaves\n{PARAGRAPH * 2}# Notes\nNone.") == ["Leaves"]
    sections = split(f"# Leaves\n{prose(9900)}\n# Notes\n{prose(900)}")
    assert [section.title for section in sections] == ["Leaves", "Leaves"]
    assert min(section.length for section in sections) > 4000


def test_with_a_higher_least_there_are_fewer_and_headings_still_begin_them():
    text = "".join(f"# Chapter {number}\n\n{prose(2900)}\n\n" for number in range(21))
    assert len(split(text)) == 21
    sections = split(text, 8000)
    assert [section.title for section in sections] == [f"Chapter {number}" for number in range(0, 21, 3)]
    assert len(split(text[:9000], 10_000)) == 1


def test_a_long_chapter_is_cut_between_paragraphs_into_like_parts():
    parts = texts("# Leaves\n\n" + PARAGRAPH * 40)
    assert all(part.endswith("leaves.") for part in parts)
    assert [part[:6] for part in parts[1:]] == ["Plants"] * (len(parts) - 1)
    assert [round(len(part), -3) for part in parts] == [8000] * 3


def test_a_long_paragraph_is_cut_between_sentences_and_a_long_sentence_between_words():
    assert all(part.endswith("leaves.") for part in texts(SENTENCE * 500))
    parts = texts("word " * 5000)
    assert all(part.startswith("word") and part.endswith("word") for part in parts)
    assert len(parts) == 3


def test_a_heading_reaches_over_the_parts_of_its_chapter():
    assert titles("# Leaves\n\n" + PARAGRAPH * 20) == ["Leaves"] * 2


def _of_lengths(*lengths):
    return [Section(None, 0, length) for length in lengths]


@pytest.mark.parametrize(
    ("lengths", "count", "given_"),
    [
        ((1000, 1000), 10, [5, 5]),
        ((9000, 3000, 1000), 13, [9, 3, 1]),
        ((5000, 3000, 2000), 4, [2, 1, 1]),
        ((10_000, 100, 100), 3, [1, 1, 1]),
        ((10_000, 100, 100), 20, [18, 1, 1]),
        ((1000, 1000, 1000), 4, [2, 1, 1]),
        ((1000,) * 9, 3, [0, 1, 0, 0, 1, 0, 0, 1, 0]),
        ((1000,) * 3, 0, [0, 0, 0]),
        ((), 5, []),
    ],
)
def test_cards_are_shared_out_by_length(lengths, count, given_):
    assert shares(_of_lengths(*lengths), count) == given_


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=60), st.integers(0, 200))
def test_no_card_is_lost_and_no_section_passed_over_that_can_have_one(lengths, count):
    given_ = shares(_of_lengths(*lengths), count)
    assert sum(given_) == count
    assert len(given_) == len(lengths)
    if count >= len(lengths):
        assert min(given_) >= 1
        for (length, cards), (other, others) in pairwise(sorted(zip(lengths, given_, strict=True))):
            assert cards <= others or (length == other and cards == others + 1)
    else:
        assert set(given_) <= {0, 1}
