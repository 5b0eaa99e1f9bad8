"""A long text's sections are asked one after another until there are as many cards as were asked for."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recto.providers.openrouter import Completion
from recto.text.deck import COMPLETE, NOT_ASKED, Course, Part, coverage, plan, without_cards
from recto.text.generate import Generation
from recto.text.proposals import Proposal

SENTENCE = "Plants turn light into sugar within their leaves. "


def chapters(number, length):
    return "\n\n".join(f"# Chapter {n}\n\n{SENTENCE * (length // len(SENTENCE))}".strip() for n in range(number))


def batch(cards, finish_reason="stop"):
    proposals = [Proposal(f"front {n}", "back") for n in range(cards)]
    return Generation(proposals, Counter(), Completion("", finish_reason, ()), "2", 0)


def parts(*lengths, **more):
    return [Part(None, 0, length, **more) for length in lengths]


def walk(course, brings, at_once=15):
    """Ask until nobody is asked any more; return for how many cards each section was asked, by its number."""
    asked = []
    while number := course.number:
        wanted = min(course.missing, at_once)
        asked.append((number, wanted))
        generation = batch(min(wanted, brings(number)))
        course.took(len(generation.proposals), course.stops(generation))
    return asked


@pytest.mark.parametrize(("count", "sections"), [(200, 20), (100, 20), (50, 10), (20, 10), (5, 10)])
def test_a_heading_ends_a_section_where_there_is_text_for_four_cards(count, sections):
    assert len(plan(chapters(20, 3000), count)) == sections


def test_with_fewer_cards_than_sections_the_others_are_said():
    planned = plan(chapters(12, 8000), 4)
    assert Counter(part.outcome for part in planned) == {None: 4, NOT_ASKED: 8}
    said = [number for number, _, _ in without_cards(planned, None)]
    assert said == [number for number, part in enumerate(planned, 1) if part.outcome]


def test_each_section_is_asked_for_its_share_in_batches():
    course = Course(parts(9000, 3000, 9000), 42)
    assert walk(course, lambda number: 99) == [(1, 15), (1, 3), (2, 6), (3, 15), (3, 3)]
    assert [(part.cards, part.outcome) for part in course.parts] == [(18, COMPLETE), (6, COMPLETE), (18, COMPLETE)]


def test_what_a_section_does_not_bring_those_after_it_are_asked_for():
    course = Course(parts(5000, 5000, 5000), 15)
    assert walk(course, lambda number: 0 if number == 1 else 99) == [(1, 5), (1, 5), (2, 8), (3, 7)]
    assert [part.cards for part in course.parts] == [0, 8, 7]
    assert list(without_cards(course.parts, None)) == [(1, course.parts[0], "model_stopped")]
    assert coverage(course.parts) == pytest.approx(2 / 3)


def test_a_section_that_is_begun_is_asked_for_the_rest():
    begun = [Part(None, 0, 5000, 8, COMPLETE), Part(None, 5000, 9000, 3), Part(None, 9000, 13_000)]
    assert walk(Course(begun, 20), lambda number: 99) == [(2, 3), (3, 6)]


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("stop", "model_stopped"), ("length", "max_tokens"), ("content_filter",) * 2]
)
def test_the_last_answer_says_why_there_are_no_more(finish_reason, reason):
    course = Course(parts(5000), 5)
    assert course.stops(batch(0)) is None
    course.took(0, None)
    assert course.stops(batch(0, finish_reason)) == reason


def test_sections_that_still_could_be_asked_have_the_reason_of_the_end():
    begun = [Part("a", 0, 10, 1, COMPLETE), Part("b", 10, 20, 1), Part("c", 20, 30)]
    assert list(without_cards(begun, None)) == []
    assert list(without_cards(begun, "canceled")) == [(3, begun[2], "canceled")]


@given(st.lists(st.integers(1000, 10_000), min_size=1, max_size=30), st.integers(30, 200), st.data())
def test_no_more_cards_than_asked_for_and_all_if_the_sections_have_them(lengths, count, data):
    brings = [data.draw(st.integers(0, 20)) for _ in lengths]
    course = Course(parts(*lengths), count)
    walk(course, lambda number: brings[number - 1])
    cards = sum(part.cards for part in course.parts)
    assert cards <= count
    assert all(part.outcome for part in course.parts)
    assert all((part.outcome == COMPLETE) or brings[number] < 15 for number, part in enumerate(course.parts))
    if all(brings):  # each answer has a card until its section has its share
        assert cards == count
