import json
from pathlib import Path

import pytest

from recto.text.markup import parts

CASES = json.loads((Path(__file__).parents[1] / "markup.json").read_text())  # the page's too


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text for text, _ in CASES])
def test_maths_and_code_are_told_from_money_and_text(text, expected):
    assert [list(part) for part in parts(text)] == expected
