from hashlib import sha256

import pytest

from recto.errors import InvalidRequest
from recto.text.source import SourceText, Topic


@pytest.mark.parametrize("length", [1000, 10_000])
def test_both_bounds_are_inside(length):
    assert SourceText("a" * length).length == length


@pytest.mark.parametrize("length", [0, 999, 10_001])
def test_a_length_out_of_bounds_is_refused_and_named(length):
    with pytest.raises(InvalidRequest, match=f"1000 to 10000 characters.*it has {length}\\."):
        SourceText("a" * length)


def test_white_space_at_both_ends_is_not_counted_nor_kept():
    padded = "\u2003\n\t " + "a" * 1000 + "\u00a0\u3000\n"
    assert SourceText(padded).text == "a" * 1000


def test_white_space_alone_is_refused():
    with pytest.raises(InvalidRequest, match="it has 0"):
        SourceText(" \n\u3000" * 2000)


def test_characters_are_code_points_not_utf_16_units():
    assert SourceText("😀" * 10_000).length == 10_000


@pytest.mark.parametrize("character", ["\x00", chr(0xD83D), chr(0xDE00)])
def test_what_postgres_cannot_hold_is_refused(character):
    with pytest.raises(InvalidRequest, match="NUL"):
        SourceText("a" * 1000 + character + "a")


def test_the_hash_is_that_of_the_trimmed_text_in_utf_8():
    assert SourceText("  " + "ż" * 1000 + "\n").hash == sha256(("ż" * 1000).encode()).hexdigest()


@pytest.mark.parametrize("length", [3, 200])
def test_both_bounds_of_a_topic_are_inside(length):
    assert Topic("a" * length).length == length


@pytest.mark.parametrize("length", [0, 2, 201])
def test_a_topics_length_out_of_bounds_is_refused_and_named(length):
    with pytest.raises(InvalidRequest, match=f"3 to 200 characters.*it has {length}\\."):
        Topic("a" * length)


def test_a_topic_is_trimmed_and_hashed_as_a_source_text_is():
    assert Topic("\u2003 Żabki\n").text == "Żabki"
    assert Topic(" Żabki ").hash == sha256("Żabki".encode()).hexdigest()


@pytest.mark.parametrize("character", ["\x00", "\n", "\t", "\x1b", "\x85", chr(0xD83D)])
def test_a_topic_is_one_line_of_visible_text(character):
    with pytest.raises(InvalidRequest, match="one line"):
        Topic(f"The French{character}Revolution")
