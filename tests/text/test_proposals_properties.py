"""What holds for whatever a model writes."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recto.evaluation.recovery import AWKWARD
from recto.sandbox.forms import WHOLE
from recto.text.proposals import Bounds, parse

CARDS = AWKWARD[:5]
DOCUMENTS = {
    form: WHOLE[form](CARDS)
    for form in (
        "as asked for",
        "escaped to ASCII",
        "indented",
        "fenced",
        "fenced in prose",
        "a bare array",
        "metadata last",
        "one object a line",
        "more keys",
    )
} | {"single backslashes": WHOLE["single backslashes"](CARDS[:2])}
# Only cards whose braces balance: in broken JSON braces alone say where a card ends.
BROKEN = {
    "trailing commas": json.dumps(CARDS[:2] + CARDS[4:]).replace('"}', '",}').replace("]", ",]"),
    "a Python literal": str({"flashcards": CARDS[:2] + CARDS[4:]}),
    "keys without quotes": json.dumps(CARDS[:2] + CARDS[4:]).replace('"front"', "front").replace('"back"', "back"),
    "raw line breaks": json.dumps(CARDS).replace("\\n", "\n"),
    "raw line breaks, fenced": f"```\n{json.dumps(CARDS)}\n```".replace("\\n", "\n"),
    "unescaped quotes": '[{"front": "What is "x" here?", "back": "he "said" it"}, {"front": "C", "back": "D"}]',
    "smart quotes": "{“flashcards”: [{“front”: “A?”, “back”: “$\\frac{b}{c}$”}, {“front”: “C?”, “back”: “it’s d”}]}",
    "a lone surrogate": json.dumps([{"front": "\ud800", "back": "x"}, *CARDS]),
}


@pytest.mark.parametrize("content", [*DOCUMENTS.values(), *BROKEN.values()], ids=[*DOCUMENTS, *BROKEN])
def test_a_text_cut_anywhere_keeps_a_prefix_of_the_cards(content: str) -> None:
    whole = parse(content).proposals
    assert len(whole) >= 2
    most = 0
    for end in range(len(content) + 1):
        cut = parse(content[:end]).proposals
        assert cut == whole[: len(cut)], content[:end]
        most = max(most, len(cut))
    assert most == len(whole)


@pytest.mark.parametrize("content", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_cut_loses_no_card_that_was_closed_before_it(content: str) -> None:
    for number, card in enumerate(parse(content).proposals, start=1):
        back = re.search(re.escape(json.dumps(card.back)[1:-1]), content)
        if back:
            closed = content.index("}", back.end()) + 1
            assert len(parse(content[:closed]).proposals) == number


FRAGMENTS = [
    '{"front":',
    '"back":',
    "[",
    "]",
    "{",
    "}",
    '"',
    "'",
    ",",
    ":",
    "\\",
    "\\n",
    "\\u",
    "\\ud800",
    "\n",
    "```json",
    "“",
    "”",
]
FRAGMENTS += [
    "$",
    "\\frac",
    "\\nu",
    "null",
    "1e999",
    "🎉",
    "\x00",
    "\ud800",
    '{"front": "Q?", "back": "A"}',
    "{'q': 'x', 'a': 'y',}",
]


@given(st.one_of(st.text(st.characters(exclude_categories=())), st.lists(st.sampled_from(FRAGMENTS)).map("".join)))
@example("[" * 100_000)
@example('{"a":' * 20_000)
@example('[{"front": ' * 5_000)
@example('{"' * 50_000)
@example('[{"front":"A","back":"' + '["' * 50_000 + '"}]')
@example(r"\nu " * 50_000)
@example("9" * 5_000)
@example('[{"front": "Q", "back": ' + "9" * 5_000 + "}, x")
def test_nothing_that_a_model_writes_raises(content: str) -> None:
    bounds = Bounds(proposals=3, front=20, back=30)
    parsed = parse(content, bounds)
    assert len(parsed.proposals) <= bounds.proposals
    assert len({proposal.front for proposal in parsed.proposals}) == len(parsed.proposals)
    for proposal in parsed.proposals:
        for side, most in ((proposal.front, bounds.front), (proposal.back, bounds.back)):
            assert 1 <= len(side) <= most
            assert side == side.strip()
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", side)
    assert all(count > 0 for count in parsed.drops.values())


# A line break or a tab before a Latin letter may be read as the LaTeX command that the two spell in JSON.
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")) | st.sampled_from("\\\"{}[],:'$`"), max_size=40)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6), st.booleans(), st.data())
def test_good_cards_come_back_verbatim_and_a_cut_keeps_a_prefix(
    texts: list[tuple[str, str]], ensure_ascii: bool, data: st.DataObject
) -> None:
    cards = [{"front": f"Q{n} {front} ?", "back": f"R{n} {back} ."} for n, (front, back) in enumerate(texts)]
    content = json.dumps({"flashcards": cards}, ensure_ascii=ensure_ascii)
    whole = parse(content).proposals
    assert [{"front": proposal.front, "back": proposal.back} for proposal in whole] == cards
    cut = parse(content[: data.draw(st.integers(0, len(content)))]).proposals
    assert cut == whole[: len(cut)]


def letters(text: str) -> str:
    return re.sub(r"\W", "", text)


# Whatever stands in them, these texts say exactly where a side ends.
SIDE = st.lists(
    st.sampled_from(
        ["it's", '"q"', "“q”", "“q”,", "{x}", "$\\frac{a}{b}$", "'}", '"}', "}]}", "{", "- 5}", "a,", "水", "\n"]
    )
)


@given(st.lists(st.tuples(SIDE, SIDE), min_size=2, max_size=3), st.data())
def test_broken_json_that_is_cut_never_gives_a_half_card(
    words: list[tuple[list[str], list[str]]], data: st.DataObject
) -> None:
    cards = [
        {"front": " ".join([f"Q{n}?", *front]).strip(), "back": " ".join([f"R{n}", *back]).strip()}
        for n, (front, back) in enumerate(words)
    ]
    sides = [(json.dumps(card["front"]), json.dumps(card["back"])) for card in cards]
    content = data.draw(
        st.sampled_from(
            [
                str({"flashcards": cards}),
                "[" + ", ".join(f'{{"front": {front}, "back": {back},}}' for front, back in sides) + "]",
                "[" + ", ".join(f"{{front: {front}, back: {back}}}" for front, back in sides) + "]",
                "[" + " ".join(f'{{"front": {front}, "back": {back}}}' for front, back in sides) + "]",
                WHOLE["smart quotes"](cards),
            ]
        )
    )
    cut = content[: data.draw(st.integers(0, len(content)))]
    for proposal in parse(cut).proposals:
        whole = letters(cards[int(proposal.front[1])]["back"])
        assert len(letters(proposal.back)) >= len(whole), cut
