"""Proposals made up about a topic."""

import json

import pytest

from recto.sandbox.invented import FACTS, propose
from recto.text.proposals import Bounds, parse


@pytest.mark.parametrize("topic", ["The Alps", "Ab", "字" * 200, "a word " * 28, "C or C#?"])
def test_every_card_about_a_topic_is_a_good_one(topic):
    cards = propose(topic, FACTS)
    parsed = parse(json.dumps({"flashcards": cards}), Bounds(proposals=FACTS))
    assert len(parsed.proposals) == FACTS >= 100
    assert not parsed.drops


def test_cards_that_are_known_are_left_out_until_there_are_no_more():
    known = []
    while batch := propose("The Alps", 40, known):
        assert len(batch) <= 40
        known += [f"{card['front'].upper()} " for card in batch]
    assert len(known) == len(set(known)) == FACTS


def test_the_same_topic_gets_the_same_cards():
    assert propose("The Alps", 3) == propose("The Alps", 3) == propose("The Alps", 9)[:3]
