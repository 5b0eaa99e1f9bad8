"""What a model wrote → clean flashcard proposals."""

import json

import pytest

from recto.sandbox.forms import CUT, WHOLE
from recto.text import proposals
from recto.text.proposals import Bounds, Proposal, comparable, parse

POLAND = {"front": "Jak nazywa się stolica Polski?", "back": "Warszawa"}
WATER = {"front": "水的化学式是什么?", "back": "H₂O"}
BOOK = {"front": "من كتب ألف ليلة وليلة؟", "back": "مؤلفون مجهولون"}
FRUIT = {"front": "Which fruit is 🍎?", "back": "An apple 🎉"}
CARDS = [POLAND, WATER, BOOK, FRUIT]
CLEAN = json.dumps({"flashcards": CARDS}, ensure_ascii=False)


def kept(content: str, bounds: Bounds | None = None) -> list[dict[str, str]]:
    proposals = parse(content, bounds or Bounds()).proposals
    return [{"front": proposal.front, "back": proposal.back} for proposal in proposals]


def dropped(content: str) -> dict[str, int]:
    return dict(parse(content).drops)


def card(front: object, back: object) -> str:
    return json.dumps([{"front": front, "back": back}])


@pytest.mark.parametrize("form", WHOLE)
def test_every_form_gives_the_same_cards(form: str) -> None:
    content = WHOLE[form](CARDS)
    assert kept(content) == CARDS
    assert not parse(content).drops


@pytest.mark.parametrize("form", CUT)
def test_of_every_form_that_is_cut_all_but_the_last_card_are_read(form: str) -> None:
    assert kept(CUT[form](CARDS)) == CARDS[:-1]


def test_a_single_card_object_is_one_card() -> None:
    assert kept(json.dumps(POLAND)) == [POLAND]


def test_a_string_that_holds_a_fence_or_json_stays_whole() -> None:
    code = {"front": "How is a list of objects written?", "back": '```json\n[{"a": 1}, {"b": "c"}]\n```'}
    assert kept(f"```json\n{json.dumps([code, POLAND])}\n```") == [code, POLAND]


def test_raw_line_breaks_and_tabs_inside_a_string_are_read() -> None:
    assert kept('{"flashcards": [{"front": "Name two.", "back": "one\n\ttwo"}]} Done.') == [
        {"front": "Name two.", "back": "one\n\ttwo"}
    ]


def test_a_raw_line_break_beside_a_single_quote_is_read() -> None:
    assert kept('{"flashcards": [{"front": "How long?", "back": "5\\"\nor so"}]}') == [
        {"front": "How long?", "back": '5"\nor so'}
    ]


def test_unescaped_quotes_inside_a_side_are_read() -> None:
    assert kept('[{"front": "What is "x" here?", "back": "he "said" it"}]') == [
        {"front": 'What is "x" here?', "back": 'he "said" it'}
    ]


@pytest.mark.parametrize(
    "back",
    ['{"a": "b", "c": 1}', 'say "a", "b": c', 'half one", half two', 'x # y" "z'],
)
def test_a_side_that_repair_would_end_too_early_is_dropped(back: str) -> None:
    content = f'[{{"front": "What does it say?", "back": "{back}"}}]'
    assert kept(content) == []
    assert parse(content).drops["incomplete"] == 1


def test_sides_between_smart_quotes_may_hold_commas_and_quotes() -> None:
    assert kept("[{“front”: “How old was he, and why?”, “back”: “36, of “fever””}]") == [
        {"front": "How old was he, and why?", "back": "36, of “fever”"}
    ]
    half = "[{“front”: “Who said what?”, “back”: “He said “a ship” }"
    assert kept(half) == []
    assert dropped(half) == {"incomplete": 1}


def test_an_escaped_apostrophe_is_an_apostrophe() -> None:
    assert kept(r'[{"front": "Why not?", "back": "They don\'t fly."}]') == [
        {"front": "Why not?", "back": "They don't fly."}
    ]


def test_one_broken_card_does_not_touch_the_others() -> None:
    broken = '{"front": "Broken?", "back": "half one", half two"}'
    content = f"[{json.dumps(POLAND)}, {broken}, {json.dumps(WATER)}]"
    assert kept(content) == [POLAND, WATER]
    assert dropped(content) == {"incomplete": 1}


@pytest.mark.parametrize(
    "content",
    ["", "   ", "I cannot help with that.", "{}[", "[]", '{"flashcards": []}', '{"flashcards": [', "```json\n"],
)
def test_where_there_are_no_cards_none_are_counted_as_kept(content: str) -> None:
    assert kept(content) == []


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
    assert kept(content) == [POLAND, WATER]
    assert parse(content).drops["incomplete"] == incomplete


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
    assert kept(content) == [{"front": "A?", "back": "B"}]
    assert dropped(content) == {"incomplete": 1}


def test_a_half_first_card_leaves_nothing() -> None:
    content = '{"flashcards": [{"front": "What floats?", "back": "Ice, because it'
    assert kept(content) == []
    assert dropped(content) == {"incomplete": 1}


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

    decoder = proposals._JSON
    monkeypatch.setattr(proposals, "_JSON", Counting())
    content = json.dumps(POLAND) + '{"q": 1, "b": [' * 100_000
    assert kept(content) == [POLAND]
    assert 0 < Counting.characters < len(content)


def test_of_very_many_cards_only_the_first_are_looked_at() -> None:
    parsed = parse("\n".join(f'{{"q":"Q{n}?","a":"x"}}' for n in range(1100)))
    assert (len(parsed.proposals), dict(parsed.drops)) == (15, {"surplus": 985})


@pytest.mark.parametrize(("length", "cards"), [(1900, 1), (2100, 0)])
def test_a_broken_card_is_repaired_up_to_a_length(length: int, cards: int) -> None:
    content = f"{{'q': 'Q?', 'a': '{'x' * length}',}}"
    assert len(kept(content, Bounds(back=5000))) == cards


def test_a_broken_answer_is_read_up_to_a_length() -> None:
    card = "{'q': 'Q?', 'a': '" + "x" * 978 + "',}"
    assert len(card) == 1000 - 1
    parsed = parse("\n".join([card] * 50))
    assert len(parsed.proposals) + parsed.drops.total() == 32


def test_of_very_many_broken_cards_only_the_first_are_repaired() -> None:
    parsed = parse("".join(f"{{'q':'Q{n}?','a':'x'}}" for n in range(1100)))
    assert len(parsed.proposals) + parsed.drops["surplus"] == 1000


def test_as_much_is_read_as_the_cards_asked_for_may_have() -> None:
    cards = [{"front": f"Question {n}?", "back": f"{n}{'x' * 9_990}"} for n in range(30)]
    assert kept(json.dumps(cards), Bounds(proposals=30, front=10_000, back=10_000)) == cards
    padded = " " * 200_000 + json.dumps([POLAND])
    assert kept(padded) == []
    assert kept(padded[100:]) == [POLAND]


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
    assert kept(json.dumps(cards)) == cards
    assert kept(json.dumps(cards).replace("\\\\", "\\")) == cards


def test_latex_survives_in_broken_and_in_cut_json() -> None:
    assert kept(r"[{'front': 'Half?', 'back': '$\frac{1}{2}$'},]") == [{"front": "Half?", "back": r"$\frac{1}{2}$"}]
    assert kept(r'[{"front": "Half?", "back": "$\frac{1}{2}$"}, {"front": "$\ti') == [
        {"front": "Half?", "back": r"$\frac{1}{2}$"}
    ]


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
    assert kept(json.dumps(cards)) == cards
    assert kept(json.dumps(cards, ensure_ascii=False)) == cards


# Drops


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param('[{"front": "Q?"}]', "not_text", id="no back"),
        pytest.param('[{"back": "A"}]', "not_text", id="no front"),
        pytest.param(card("Q?", None), "not_text", id="null"),
        pytest.param(card("Q?", 4), "not_text", id="number"),
        pytest.param(card("Q?", ["A"]), "not_text", id="list"),
        pytest.param(card({"text": "Q?"}, "A"), "not_text", id="object"),
        pytest.param('[{"term": "Q?"}]', "not_text", id="other keys"),
        pytest.param('["Q? A"]', "not_text", id="no object"),
        pytest.param(card("", "A"), "empty", id="empty"),
        pytest.param(card("Q?", " \n\t\u00a0\u3000"), "empty", id="blank"),
        pytest.param(card("Q?", "\u200b\ufeff"), "empty", id="invisible"),
        pytest.param(card("Q?", "A\x00B"), "control_character", id="NUL"),
        pytest.param(card("Q\x00?", "A"), "control_character", id="NUL in the front"),
        pytest.param(card("Q?", "A\x1b[0m"), "control_character", id="escape"),
        pytest.param(card("Q?", "A\x85B"), "control_character", id="C1"),
        pytest.param(card("Q?", "\x0c1/2"), "control_character", id="form feed at an end"),
        pytest.param(card("Q?", "A\r-B"), "control_character", id="lone carriage return"),
        pytest.param(card("Q?", "A\ud800B"), "control_character", id="lone surrogate, escaped"),
        pytest.param('[{"front": "Q?", "back": "A\udfffB"}]', "control_character", id="lone surrogate, raw"),
        pytest.param(card("Q" * 201, "A"), "too_long", id="front"),
        pytest.param(card("Q?", "A" * 501), "too_long", id="back"),
        pytest.param(card("Photosynthesis?", "photosynthesis"), "front_is_back", id="punctuation and case"),
        pytest.param(card("ＦＵＬＬ width", "full-width"), "front_is_back", id="width"),
        pytest.param(card("In which city, Paris, is the Louvre?", "Paris"), "leak", id="leak"),
        pytest.param(card("Who, born in Żelazowa Wola, wrote it?", "żelazowa  wola."), "leak", id="leak, folded"),
        pytest.param(card("法国的首都巴黎在哪条河上?", "巴黎"), "leak", id="leak, Chinese"),
        pytest.param(card("ما هي القاهرة عاصمة؟", "القاهرة"), "leak", id="leak, Arabic"),
    ],
)
def test_a_card_is_dropped_for_a_reason(content: str, reason: str) -> None:
    assert kept(content) == []
    assert dropped(content) == {reason: 1}


@pytest.mark.parametrize(
    ("front", "back"),
    [
        ("Is a whale a fish or a mammal?", "A mammal"),
        ("Czy Ziemia jest płaska, czy okrągła?", "okrągła"),
        ("Ist Wasser ein Element oder eine Verbindung?", "eine Verbindung"),
        ("¿La ballena es pez o mamífero?", "mamífero"),
        ("鲸鱼是鱼还是哺乳动物?", "哺乳动物"),
        ("Кит — рыба или млекопитающее?", "млекопитающее"),
        ("Which article stands before a consonant?", "a"),
        ("What is 4 divided by 1?", "4"),
        ("Which preposition begins the phrase in time?", "in"),
        ("人民的意思是什么?", "人"),
        ("What do Parisians call their river?", "Paris"),
        ("What is the plural of mouse?", "mice"),
        ("Was ist <b>HTML</b>?", "<script>alert(1)</script>"),
    ],
)
def test_an_answer_that_stands_in_the_question_by_right_is_kept(front: str, back: str) -> None:
    assert kept(card(front, back)) == [{"front": front, "back": back}]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("What is light?", "what  is LIGHT ?!"),
        ("What’s light?", "What's light?"),
        ("Straße?", "STRASSE"),
        ("Ｗhat is ﬁre?", "What is fire?"),
        ("Co to jest – światło?", "Co to jest światło"),
        ("光是什么？", "光是什么?"),
        ("???", "???"),
    ],
)
def test_a_repeated_front_is_dropped(first: str, second: str) -> None:
    content = json.dumps([{"front": first, "back": "one"}, {"front": second, "back": "two"}])
    assert kept(content) == [{"front": first, "back": "one"}]
    assert dropped(content) == {"duplicate": 1}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("???", "!!!"),
        ("---", "- -"),
        ("🍎", "🍐"),
        ("What is C?", "What is C#?"),
        ("6*2?", "6/2?"),
        ("What is -2 squared?", "What is 2 squared?"),
        ("What is x?", "What is y?"),
        ("की?", "का?"),
    ],
)
def test_fronts_that_differ_are_both_kept(first: str, second: str) -> None:
    cards = [{"front": first, "back": "one"}, {"front": second, "back": "two"}]
    assert kept(json.dumps(cards)) == cards


def test_the_front_of_a_dropped_card_may_return() -> None:
    content = json.dumps([{"front": "Q?", "back": ""}, {"front": "Q?", "back": "A"}])
    assert kept(content) == [{"front": "Q?", "back": "A"}]


def test_the_first_cards_are_kept_and_the_surplus_is_counted() -> None:
    cards = [{"front": f"Question {n}?", "back": f"Reply {n}"} for n in range(18)]
    assert kept(json.dumps(cards)) == cards[:15]
    assert dropped(json.dumps(cards)) == {"surplus": 3}
    assert kept(json.dumps(cards), Bounds(proposals=2)) == cards[:2]


def test_the_bounds_count_code_points_and_hold_exactly() -> None:
    cards = [{"front": "🎉" * 200, "back": "ż" * 500}]
    assert kept(json.dumps(cards)) == cards
    assert kept(json.dumps(cards), Bounds(front=199)) == []
    assert kept(json.dumps(cards), Bounds(back=499)) == []


def test_sides_are_trimmed_and_line_breaks_made_one_character() -> None:
    assert parse(card(" \n Q?\t", "one\r\ntwo \r\n")).proposals == [Proposal("Q?", "one\ntwo")]


def test_drops_are_counted_each_under_its_own_reason() -> None:
    cards = [POLAND, POLAND, {"front": "Q?"}, {"front": " ", "back": "A"}, {"front": "x", "back": "X"}, WATER]
    assert dropped(json.dumps(cards)[:-3]) == {
        "duplicate": 1,
        "not_text": 1,
        "empty": 1,
        "front_is_back": 1,
        "incomplete": 1,
    }


def test_a_known_front_is_dropped_however_it_is_written() -> None:
    parsed = parse(CLEAN, known=["jak nazywa się  stolica POLSKI", "水的化学式是什么？"])
    assert [proposal.front for proposal in parsed.proposals] == [BOOK["front"], FRUIT["front"]]
    assert parsed.drops == {"known": 2}


def test_known_cards_take_no_place_among_the_kept() -> None:
    parsed = parse(CLEAN, Bounds(proposals=3), known=[POLAND["front"]])
    assert len(parsed.proposals) == 3
    assert parsed.drops == {"known": 1}


@pytest.mark.parametrize(
    ("one", "other"),
    [("What is C?", "what  is “C”"), ("ﬁne", "FINE"), ("well-known", "well known"), ("Straße", "STRASSE")],
)
def test_texts_that_say_the_same_are_comparable(one: str, other: str) -> None:
    assert comparable(one) == comparable(other)


@pytest.mark.parametrize(("one", "other"), [("C", "C#"), ("-2", "2"), ("?", "!"), ("6*2", "6/2")])
def test_texts_that_say_different_things_are_not_comparable(one: str, other: str) -> None:
    assert comparable(one) != comparable(other)
