"""What a model wrote → the entries that should be cards."""

import json

import pytest

from recto.sandbox.forms import CUT, WHOLE
from recto.text import entries

POLAND = {"front": "Jak nazywa się stolica Polski?", "back": "Warszawa"}
WATER = {"front": "水的化学式是什么?", "back": "H₂O"}
BOOK = {"front": "من كتب ألف ليلة وليلة؟", "back": "مؤلفون مجهولون"}
FRUIT = {"front": "Which fruit is 🍎?", "back": "An apple 🎉"}
CARDS = [POLAND, WATER, BOOK, FRUIT]


def read(content: str) -> tuple[list[dict[str, object]], int]:
    """The cards that have both sides, and how many cards were not whole."""
    found, incomplete = entries.read(content)
    sides = [entries.sides(entry) for entry in found]
    return [{"front": front, "back": back} for front, back in sides if None not in (front, back)], incomplete


@pytest.mark.parametrize("form", WHOLE)
def test_every_form_gives_the_same_cards(form: str) -> None:
    content = WHOLE[form](CARDS)
    assert read(content) == (CARDS, 0)


@pytest.mark.parametrize("form", CUT)
def test_of_every_form_that_is_cut_all_but_the_last_card_are_read(form: str) -> None:
    cards, _ = read(CUT[form](CARDS))
    assert cards == CARDS[:-1]


def test_a_single_card_object_is_one_card() -> None:
    assert read(json.dumps(POLAND)) == ([POLAND], 0)


def test_a_string_that_holds_a_fence_or_json_stays_whole() -> None:
    code = {"front": "How is a list of objects written?", "back": '```json\n[{"a": 1}, {"b": "c"}]\n```'}
    assert read(f"```json\n{json.dumps([code, POLAND])}\n```") == ([code, POLAND], 0)


def test_raw_line_breaks_and_tabs_inside_a_string_are_read() -> None:
    card = {"front": "Name two.", "back": "one\n\ttwo"}
    assert read('{"flashcards": [{"front": "Name two.", "back": "one\n\ttwo"}]} Done.') == ([card], 0)


def test_a_raw_line_break_beside_a_single_quote_is_read() -> None:
    card = {"front": "How long?", "back": '5"\nor so'}
    assert read('{"flashcards": [{"front": "How long?", "back": "5\\"\nor so"}]}') == ([card], 0)


def test_unescaped_quotes_inside_a_side_are_read() -> None:
    card = {"front": 'What is "x" here?', "back": 'he "said" it'}
    assert read('[{"front": "What is "x" here?", "back": "he "said" it"}]') == ([card], 0)


@pytest.mark.parametrize(
    "back",
    ['{"a": "b", "c": 1}', 'say "a", "b": c', 'half one", half two', 'x # y" "z'],
)
def test_a_side_that_repair_would_end_too_early_is_dropped(back: str) -> None:
    content = f'[{{"front": "What does it say?", "back": "{back}"}}]'
    assert read(content) == ([], 1)


def test_sides_between_smart_quotes_may_hold_commas_and_quotes() -> None:
    card = {"front": "How old was he, and why?", "back": "36, of “fever”"}
    assert read("[{“front”: “How old was he, and why?”, “back”: “36, of “fever””}]") == ([card], 0)
    half = "[{“front”: “Who said what?”, “back”: “He said “a ship” }"
    assert read(half) == ([], 1)


def test_an_escaped_apostrophe_is_an_apostrophe() -> None:
    card = {"front": "Why not?", "back": "They don't fly."}
    assert read(r'[{"front": "Why not?", "back": "They don\'t fly."}]') == ([card], 0)


def test_one_broken_card_does_not_touch_the_others() -> None:
    broken = '{"front": "Broken?", "back": "half one", half two"}'
    content = f"[{json.dumps(POLAND)}, {broken}, {json.dumps(WATER)}]"
    assert read(content) == ([POLAND, WATER], 1)


@pytest.mark.parametrize(
    "content",
    ["", "   ", "I cannot help with that.", "{}[", "[]", '{"flashcards": []}', '{"flashcards": [', "```json\n"],
)
def test_where_there_are_no_cards_none_are_found(content: str) -> None:
    assert read(content) == ([], 0)


# Cut off


@pytest.mark.parametrize(
    ("tail", "incomplete"),
    [
        ('{"front": "C?", "back": "half an ans', 1),
        ('{"front": "C?", "back": "half an ans\n```', 1),
        ('{"front": "C?", "back": ', 1),
        ('{"front": "C?", "ba', 1),
        ('{"front": "C', 1),
        ("{", 1),
        ("", 0),
        ('{"front": "C?", "back": "he said "', 1),
        ('{"front": "C?", "back": "$\\\\frac{a}{b}', 1),
        ('{"front": "C?", "back": "$\\frac{f\'}{g\'}', 1),
        ('{"front": "C?", "back": "{"a": "b"}', 1),
        ("{'front': 'C?', 'back': 'half", 1),
        ("{'front': 'C?', 'back': '\\\\frac{f'}", 1),
        ("{“front”: “C?”, “back”: “half”", 1),
        ('{"front": "C?", "back": "D",', 1),
    ],
)
@pytest.mark.parametrize("wrapper", ['{"flashcards": [', "[", "```json\n[", 'Cards: {"cards":['])
def test_a_half_card_at_the_end_is_dropped_and_the_whole_ones_stay(wrapper: str, tail: str, incomplete: int) -> None:
    content = f"{wrapper}{json.dumps(POLAND)}, {json.dumps(WATER)}, {tail}"
    assert read(content) == ([POLAND, WATER], incomplete)


@pytest.mark.parametrize(
    "half",
    [
        '{"front": "C?", "back": "half an ans',
        '{"front": "C?", "back": "half}',
        '{"front": "C?", "back": "{half}',
        '{"front": "C?", "back": "a brace }',
        '{"front": "C?", "back": "a prime \'}',
        '{"front": "C?", "back": "ratio: 5}',
        '{"front": "C?", "back": "\\"half\\"}',
        '{"front": "C?", "back": "half"]}',
        "{'front': 'C?', 'back': \"it's }",
        "{“front”: “C?”, “back”: “half '}",
        "{“front”: “C?”, “back”: “half \\”}",
        '{"front": "C?", "back": "half "1"}}',
        '{"front": "C?", "/*"""1", "back": "half 1"}',
        '{q:"C?",a:' + "[" * 700 + "]" * 700 + "}",
    ],
)
def test_repair_never_makes_a_half_card_whole(half: str) -> None:
    content = '{"flashcards": [{"front": "A?", "back": "B",}, ' + half
    assert read(content) == ([{"front": "A?", "back": "B"}], 1)


def test_a_half_first_card_leaves_nothing() -> None:
    content = '{"flashcards": [{"front": "What floats?", "back": "Ice, because it'
    assert read(content) == ([], 1)


def test_cards_inside_cards_are_not_read_again_and_again(monkeypatch) -> None:
    class Counting:
        characters = 0

        def raw_decode(self, text: str, start: int) -> tuple[object, int]:
            try:
                value, end = decoder.raw_decode(text, start)
            except (ValueError, RecursionError) as error:
                Counting.characters += getattr(error, "pos", len(text)) - start
                raise
            Counting.characters += end - start
            return value, end

    decoder = entries._JSON
    monkeypatch.setattr(entries, "_JSON", Counting())
    content = json.dumps(POLAND) + '{"q": 1, "b": [' * 100_000
    cards, _ = read(content)
    assert cards == [POLAND]
    assert 0 < Counting.characters < 2 * len(content)


def test_of_very_many_cards_only_the_first_are_looked_at() -> None:
    cards, incomplete = read("\n".join(f'{{"q":"Q{n}?","a":"x"}}' for n in range(1100)))
    assert (len(cards), incomplete) == (1000, 0)


@pytest.mark.parametrize(("length", "cards", "incomplete"), [(1900, 1, 0), (2100, 0, 1)])
def test_a_broken_card_is_repaired_up_to_a_length(length: int, cards: int, incomplete: int) -> None:
    back = "x" * length
    content = f"{{'q': 'Q?', 'a': '{back}',}}"
    assert read(content) == ([{"front": "Q?", "back": back}] * cards, incomplete)


def test_a_broken_answer_is_read_up_to_a_length() -> None:
    card = "{'q': 'Q?', 'a': '" + "x" * 978 + "',}"
    assert len(card) == 1000 - 1
    cards, incomplete = read("\n".join([card] * 50))
    assert len(cards) + incomplete == 32


def test_of_very_many_broken_cards_only_the_first_are_repaired() -> None:
    cards, _ = read("".join(f"{{'q':'Q{n}?','a':'x'}}" for n in range(1100)))
    assert len(cards) == 1000


# LaTeX


@pytest.mark.parametrize(
    "side",
    [
        r"$\frac{1}{2}$",
        r"\frac{1}{2}",
        r"$a \times b$",
        r"$\alpha + \beta$",
        r"$\nu = 3$",
        r"$E = h\nu$",
        r"E = h\nu",
        r"$\text{if } x \ne y$",
        r"\(x \to y\)",
        r"$\left( x \right)$",
        r"$\nabla \cdot \theta$ and $\rho$, $\tan x$",
        r"\underline{x} \uparrow \upsilon",
        r"\begin{matrix} 1 \end{matrix}",
        r"\(x\) and \[y\]",
        r"$\{1, 2\}$",
        r"$\ni$ and $\neq$, $\neg a$",
        r"$\ubed x$",
    ],
)
def test_latex_survives_with_one_backslash_and_with_two(side: str) -> None:
    cards = [{"front": "Which formula?", "back": side}]
    assert read(json.dumps(cards)) == (cards, 0)
    assert read(json.dumps(cards).replace("\\\\", "\\")) == (cards, 0)


def test_latex_survives_in_broken_and_in_cut_json() -> None:
    card = {"front": "Half?", "back": r"$\frac{1}{2}$"}
    assert read(r"[{'front': 'Half?', 'back': '$\frac{1}{2}$'},]") == ([card], 0)
    assert read(r'[{"front": "Half?", "back": "$\frac{1}{2}$"}, {"front": "$\ti') == ([card], 1)


@pytest.mark.parametrize(
    "side",
    [
        "one\ntwo",
        "first\nnot second",
        "nu\nu nas\ni tak",
        "bianco\ne nero",
        "a) x\nb) y\ne) z\ni) w",
        "word\tan article",
        "list:\n\t- text\n\t- times",
        "costs\nothing",
        "line\n\nafter",
        "Zeile\nächste",
        "行\n下一行",
    ],
)
def test_line_breaks_and_tabs_stay_what_they_are(side: str) -> None:
    cards = [{"front": "Which lines?", "back": side}]
    assert read(json.dumps(cards)) == (cards, 0)
    assert read(json.dumps(cards, ensure_ascii=False)) == (cards, 0)
