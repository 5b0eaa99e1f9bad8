"""The forms in which models write cards in place of the JSON that was asked for: any cards in each of them.

The sandbox's faults, `recto eval` and the tests of the parser write theirs with these.
"""

import json
import re
from collections.abc import Callable

from recto.sandbox.chat import content_of, to_json

Cards = list[dict[str, str]]

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\.")


def _renamed(front: str, back: str) -> Callable[[Cards], str]:
    return lambda cards: to_json({"questions": [{front: card["front"], back: card["back"]} for card in cards]})


def _sectioned(cards: Cards) -> str:
    middle = len(cards) // 2
    return to_json({"ch1": cards[:middle], "ch2": cards[middle:]})


def _unquoted_keys(change: Callable[[str], str]) -> Callable[[Cards], str]:
    return lambda cards: re.sub('"(front|back)": ', lambda key: f"{change(key[1])}: ", to_json(cards))


# All cards stand whole in these.
WHOLE: dict[str, Callable[[Cards], str]] = {
    "as asked for": content_of,
    "escaped to ASCII": lambda cards: json.dumps({"flashcards": cards}),
    "indented": lambda cards: json.dumps({"flashcards": cards}, indent=2),
    "fenced": lambda cards: f"```json\n{content_of(cards)}\n```",
    "a fence without a language": lambda cards: f"```\n{content_of(cards)}```",
    "a fence never closed": lambda cards: f"```json\n{content_of(cards)}\n",
    "prose before": lambda cards: f"Here are [4] cards, as {{asked}}:\n\n{content_of(cards)}",
    "prose after": lambda cards: f"{content_of(cards)}\n\nHope {{this}} helps [1]!",
    "fenced in prose": lambda cards: (
        f"Here are your flashcards:\n\n```json\n{content_of(cards)}\n```\n\nHappy studying, [1] and {{all}}!"
    ),
    "a bare array": to_json,
    "another wrapper": lambda cards: to_json({"cards": cards}),
    "a wrapper in a wrapper": lambda cards: to_json({"title": "x", "count": 4, "data": {"karty": cards}}),
    "sections": _sectioned,
    "wrappers in an array": lambda cards: to_json([{"flashcards": cards[:3]}, {"flashcards": cards[3:]}]),
    "metadata last": lambda cards: to_json({"cards": cards, "note": "that is all"}),
    "one object a line": lambda cards: "\n".join(map(to_json, cards)),
    "a fence a card": lambda cards: "\n".join(f"```json\n{to_json(card)}\n```" for card in cards),
    "question and answer": _renamed("question", "answer"),
    "Q and A": _renamed("Q", "A"),
    "more keys": lambda cards: to_json([{"id": 1, **card, "tags": ["x"]} for card in cards]),
    "trailing commas": lambda cards: "[" + ", ".join(f"{to_json(card)[:-1]},}}" for card in cards) + ",]",
    "no commas between cards": lambda cards: "[" + " ".join(map(to_json, cards)) + "]",
    "keys without quotes": _unquoted_keys(str),
    "keys in title case without quotes": _unquoted_keys(str.title),
    "single quotes": lambda cards: _STRING.sub(
        lambda string: "'" + string[1].replace("'", "\\'").replace('\\"', '"') + "'", to_json(cards)
    ),
    "smart quotes": lambda cards: _STRING.sub(r"“\1”", to_json(cards)),
    "a Python literal, fenced": lambda cards: (
        f"```json\n{ {'flashcards': [dict(card) for card in cards]} }\n```\nDone."
    ),
    "raw line breaks": lambda cards: _ESCAPE.sub(
        lambda escape: "\n" if escape[0] == "\\n" else escape[0], content_of(cards)
    ),
    "single backslashes": lambda cards: content_of(cards).replace("\\\\", "\\"),
    "quotes not escaped": lambda cards: content_of(cards).replace('\\"', '"'),
}

# The answer ends where its tokens do: all cards but the last one stand whole in these.
CUT: dict[str, Callable[[Cards], str]] = {
    "cut between two cards": lambda cards: f"{content_of(cards[:-1])[:-2]}, ",
    "cut inside the last question": lambda cards: _cut(cards, "front"),
    "cut inside the last answer": lambda cards: _cut(cards, "back"),
    "cut and fenced": lambda cards: f"```json\n{_cut(cards, 'back')}\n```",
    "cut, with trailing commas": lambda cards: _cut(cards, "back").replace('"}, {', '",}, {'),
}


def _cut(cards: Cards, side: str) -> str:
    """All cards but the last, and that one up to the middle of a side."""
    content = content_of(cards)
    begin = content.rindex(f'"{side}": "') + len(f'"{side}": "')
    written = to_json(cards[-1][side])[1:-1]
    return content[: begin + (len(written) + 1) // 2]
