"""Cards of twelve study texts, each of which was judged by hand: is it whole, understood alone and worth knowing?

`judged.json` has the texts and what is made of them; a card that was found lacking says so in ``weak``. When a rule
changes, run this file as a program, read the diff of `judged.json` as its judge, and say of new cards what is weak.
"""

import json
from pathlib import Path

import pytest

from recto.sandbox.extractive import propose

JUDGED = Path(__file__).with_name("judged.json")
TEXTS = json.loads(JUDGED.read_text())


def cards_of(entry):
    return propose("\n\n".join(entry["text"]), 15)


@pytest.mark.parametrize("entry", TEXTS, ids=[entry["name"] for entry in TEXTS])
def test_a_text_gives_the_cards_that_were_judged(entry):
    assert cards_of(entry) == [{"front": card["front"], "back": card["back"]} for card in entry["cards"]]


if __name__ == "__main__":
    for entry in TEXTS:
        judged = {(card["front"], card["back"]): card for card in entry["cards"]}
        entry["cards"] = [judged.get((card["front"], card["back"]), card) for card in cards_of(entry)]
    JUDGED.write_text(json.dumps(TEXTS, ensure_ascii=False, indent=1) + "\n")
