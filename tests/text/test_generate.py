import json
from decimal import Decimal

import pytest

from recto.errors import UpstreamInvalidResponse
from recto.providers.openrouter import Completion
from recto.text.generate import generate
from recto.text.proposals import Bounds, Proposal
from recto.text.source import SourceText

SOURCE = SourceText("Paris is the capital of France. " * 40)
CARD = {"front": "What is the capital of France?", "back": "Paris"}


class Model:
    """Answers what a test wants, and remembers what it was asked."""

    def __init__(self, content, finish_reason="stop"):
        self.completion = Completion(content, "the/one-that-answered", finish_reason, 9, 3, Decimal("0.1"))

    def complete(self, **asked):
        self.asked = asked
        return self.completion


def test_a_generation_holds_the_proposals_and_what_they_took():
    model = Model(json.dumps({"flashcards": [CARD, CARD]}))
    generation = generate(model, SOURCE, model="a/model", bounds=Bounds())
    assert generation.proposals == [Proposal(**CARD)]
    assert generation.drops == {"duplicate": 1}
    assert generation.completion is model.completion
    assert generation.prompt_version == "1"
    assert generation.duration_ms >= 0
    assert model.asked["model"] == "a/model"
    assert SOURCE.text in model.asked["user"]


@pytest.mark.parametrize("content", ["I cannot do that.", '{"flashcards": []}', json.dumps([CARD | {"back": " "}])])
def test_a_generation_without_a_card_is_an_invalid_response(content):
    with pytest.raises(UpstreamInvalidResponse) as caught:
        generate(Model(content, "length"), SOURCE, model="a/model", bounds=Bounds())
    assert caught.value.model == "the/one-that-answered"
    assert "finish_reason length" in caught.value.detail
