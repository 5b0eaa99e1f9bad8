"""An answer read while it is written brings the cards that it brings in one piece, each as soon as it is whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recto.text.proposals import Bounds, Proposal, parse
from recto.text.stream import ProposalStream

BOUNDS = Bounds()
CARDS = [
    {"front": "What is \\frac{a}{b}?", "back": 'A "fraction": {a} over [b]'},
    {"front": "Куда течёт Волга?", "back": "В Каспийское море 🌊"},
    {"front": "A tab\tor a line\nbreak", "back": "white \\ space"},
]
ANSWERS = [
    json.dumps({"flashcards": CARDS}),
    json.dumps(CARDS, ensure_ascii=False, indent=2),
    f"Here are {{some}} cards [3]:\n```json\n{json.dumps({'cards': CARDS})}\n```\nEnjoy!",
    "\n".join(json.dumps(card) for card in CARDS),
    r'{"flashcards": [{"front": "What is $\nu$ in $\frac{c}{\lambda}$?", "back": "\(\theta\)"}]}',
]


def stream(pieces, bounds=BOUNDS, known=()):
    reading = ProposalStream(bounds, known)
    early = [proposal for piece in pieces for proposal in reading.feed(piece)]
    return early, reading.finish()


@pytest.mark.parametrize("answer", ANSWERS)
def test_each_card_is_there_with_its_last_character(answer):
    whole = parse(answer).proposals
    reading, ends = ProposalStream(BOUNDS), []
    for position, character in enumerate(answer):
        for proposal in reading.feed(character):
            ends.append(position)
            assert proposal == whole[len(ends) - 1]
    assert [answer[end] for end in ends] == ["}"] * len(whole)
    assert reading.finish() == parse(answer)


@given(st.sampled_from(ANSWERS), st.data())
def test_where_an_answer_is_torn_changes_nothing(answer, data):
    pieces = []
    while answer[sum(map(len, pieces)) :]:
        rest = answer[sum(map(len, pieces)) :]
        pieces.append(rest[: data.draw(st.integers(1, len(rest)))])
    early, result = stream(pieces)
    assert early == result.proposals
    assert result == parse(answer)


@given(st.text(st.sampled_from('{}[]",:\\ frontback\n'), max_size=80), st.integers(1, 5))
def test_whatever_is_sent_nothing_is_raised_and_what_was_given_stays(text, size):
    answer = f"[{json.dumps(CARDS[0])}, {text}"
    early, result = stream([answer[start : start + size] for start in range(0, len(answer), size)])
    assert result.proposals[: len(early)] == early
    fronts = [proposal.front for proposal in result.proposals]
    assert len(fronts) == len(set(fronts))


@given(st.sampled_from(ANSWERS), st.data())
def test_of_a_spoilt_answer_no_card_is_lost(answer, data):
    position = data.draw(st.integers(0, len(answer) - 1))
    spoilt = (
        answer[:position]
        + data.draw(st.sampled_from(["", '"', "\\", "}", "{", "]", ",", "x"]))
        + answer[position + 1 :]
    )
    _, result = stream(spoilt[start : start + 7] for start in range(0, len(spoilt), 7))
    assert {proposal.front for proposal in parse(spoilt).proposals} <= {proposal.front for proposal in result.proposals}


def test_a_card_that_was_cut_never_comes():
    answer = json.dumps({"flashcards": CARDS})
    for end in range(len(answer)):
        early, result = stream([answer[:end]])
        assert all(vars_of(proposal) in CARDS for proposal in early + result.proposals)


def vars_of(proposal):
    return {"front": proposal.front, "back": proposal.back}


def test_the_rules_hold_while_it_is_written():
    answer = json.dumps([*CARDS, CARDS[0], {"front": "known", "back": "x"}, {"front": "new", "back": "y"}])
    early, result = stream([answer], Bounds(proposals=3), known=["Known?"])
    assert len(early) == 3
    assert result.drops == {"duplicate": 1, "known": 1, "surplus": 1}


def test_an_object_within_a_card_is_no_card():
    card = {"front": "a?", "back": "b", "more": {"front": "c?", "back": "d"}}
    early, result = stream([json.dumps([card])])
    assert early == []
    assert result.proposals == [Proposal("a?", "b")]


def test_what_does_not_end_is_not_kept_to_be_looked_at_again():
    reading = ProposalStream(BOUNDS)
    for _ in range(1000):
        reading.feed('[{"front": "' + 90 * "x")
    assert len(reading._text) < 10_000
