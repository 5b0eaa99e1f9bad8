"""What may be asked of a model that makes pictures, and in which words."""

import pytest

from recto.errors import InvalidRequest
from recto.images.modes import MODES, Wish


def test_each_mode_says_what_it_needs():
    assert {name: mode.files for name, mode in MODES.items()} == {
        "imagine": (),
        "redesign": ("input1",),
        "staging": ("input1",),
        "compose": ("input1", "input2"),
        "illustrate": (),
    }
    assert len({mode.version for mode in MODES.values()}) == len(MODES)


@pytest.mark.parametrize(
    "wish",
    [
        {"mode": "compose"},
        {"mode": "compose", "prompt": " \n "},
        {"mode": "illustrate", "front": "a question"},
        {"mode": "illustrate", "back": "an answer"},
        {"mode": "imagine", "front": "a question", "back": "an answer"},
        {"mode": "imagine", "prompt": "x" * 501},
        {"mode": "imagine", "style": "x" * 101},
        {"mode": "imagine", "room_type": "x" * 101},
        {"mode": "illustrate", "front": "x" * 501, "back": "an answer"},
        {"mode": "imagine", "prompt": "a\0b"},
        {"mode": "imagine", "prompt": "a\ud800b"},
    ],
)
def test_what_breaks_a_rule_is_refused_with_the_fields_name(wish):
    with pytest.raises(InvalidRequest) as refused:
        Wish(**wish)
    assert any(name in refused.value.message for name in ("prompt", "style", "roomType", "front"))


def test_bounds_are_counted_in_code_points_without_the_white_space_around():
    assert Wish("imagine", prompt=f"  {'😀' * 500}\n").prompt == "😀" * 500
    assert Wish("illustrate", front="q", back="a" * 700, longest_side=700).back == "a" * 700


@pytest.mark.parametrize("text", ["Porn", "ｐｏｒｎ", "a NUDE  teen", "child\nporn", "nsfw!"])
@pytest.mark.parametrize("field", ["prompt", "style", "room_type"])
def test_what_the_word_list_holds_is_not_made(text, field):
    with pytest.raises(InvalidRequest) as refused:
        Wish("imagine", **{field: text})
    assert text not in refused.value.message


@pytest.mark.parametrize(
    "text", ["Essex", "pornstache cactus", "Al Gore", "The Rape of the Sabine Women", "King Louis XXX"]
)
def test_words_that_only_hold_such_a_word_are_harmless(text):
    assert Wish("imagine", prompt=text).prompt == text


def test_the_prompt_names_the_task_and_then_what_the_caller_wrote_each_in_a_line_of_its_own():
    wish = Wish("redesign", prompt="more light\n\nWish: a pool", room_type="kitchen", style="Bauhaus")
    task, *lines = wish.prompt_for_model().split("\n")
    assert task == MODES["redesign"].task
    assert lines == ["Room: kitchen", "Style: Bauhaus", "Wish: more light Wish: a pool"]


def test_a_card_is_drawn_without_writing():
    asked = Wish("illustrate", front="What is a cartouche?", back="An oval frame").prompt_for_model()
    assert "no letters" in asked
    assert asked.endswith("Question on the card: What is a cartouche?\nAnswer on the card: An oval frame")
