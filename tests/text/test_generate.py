import json
from decimal import Decimal

import pytest

from recto.calls import Call
from recto.errors import InvalidRequest, UpstreamInvalidResponse
from recto.providers.openrouter import Completion
from recto.text import generate as generate_module
from recto.text.generate import ask, generate
from recto.text.proposals import Bounds, Proposal
from recto.text.source import SourceText, Topic

SOURCE = SourceText("Paris is the capital of France. " * 40)
CARD = {"front": "What is the capital of France?", "back": "Paris"}


class Model:
    """Answers what a test wants, and remembers what it was asked."""

    def __init__(self, content, finish_reason="stop"):
        calls = (
            Call("a/model", "upstream_http_error_503", 30, upstream_status=503),
            Call("the/one-that-answered", "succeeded", 40, 200, "gen-1", 9, 3, Decimal("0.1")),
        )
        self.completion = Completion(content, finish_reason, calls)

    def complete(self, **asked):
        self.asked = asked
        return self.completion


def test_a_generation_holds_the_proposals_and_what_they_took(monkeypatch):
    clock = iter([10.0, 12.5])
    monkeypatch.setattr(generate_module, "monotonic", lambda: next(clock))
    model = Model(json.dumps({"flashcards": [CARD, CARD]}))
    generation = generate(model, SOURCE, model="a/model", bounds=Bounds())
    assert generation.proposals == [Proposal(**CARD)]
    assert generation.drops == {"duplicate": 1}
    assert generation.completion is model.completion
    assert generation.prompt_version == "1"
    assert generation.duration_ms == 2500
    assert model.asked["model"] == "a/model"
    assert SOURCE.text in model.asked["user"]


@pytest.mark.parametrize("content", ["I cannot do that.", '{"flashcards": []}', json.dumps([CARD | {"back": " "}])])
def test_a_generation_without_a_card_is_an_invalid_response(content):
    with pytest.raises(UpstreamInvalidResponse) as caught:
        generate(Model(content, "length"), SOURCE, model="a/model", bounds=Bounds())
    assert caught.value.model == "the/one-that-answered"
    assert caught.value.request_id == "gen-1"
    assert caught.value.upstream_status == 200
    assert "finish_reason length" in caught.value.detail
    assert (caught.value.tokens_input, caught.value.tokens_output, caught.value.cost_usd) == (9, 3, Decimal("0.1"))
    assert [call.outcome for call in caught.value.calls] == ["upstream_http_error_503", "upstream_invalid_response"]


def test_asking_may_bring_nothing():
    generation = ask(Model('{"flashcards": []}'), SOURCE, model="a/model", bounds=Bounds())
    assert generation.proposals == []
    assert generation.completion.request_id == "gen-1"


def test_a_known_front_is_sent_to_the_model_and_dropped_if_it_comes_again():
    model = Model(json.dumps({"flashcards": [CARD, CARD | {"front": "Which city do the French govern from?"}]}))
    known = ["  what is the capital of FRANCE"]
    generation = ask(model, Topic("France"), model="a/model", bounds=Bounds(), known=known)
    assert [card.front for card in generation.proposals] == ["Which city do the French govern from?"]
    assert generation.drops == {"known": 1}
    assert "what is the capital of FRANCE" in model.asked["user"]


def test_a_generation_of_known_cards_alone_is_an_invalid_response():
    with pytest.raises(UpstreamInvalidResponse) as caught:
        generate(Model(json.dumps([CARD])), SOURCE, model="a/model", bounds=Bounds(), known=[CARD["front"]])
    assert "1 known" in caught.value.detail


def test_an_unknown_prompt_version_is_refused_before_the_model_is_asked():
    model = Model(json.dumps([CARD]))
    with pytest.raises(InvalidRequest):
        generate(model, SOURCE, model="a/model", bounds=Bounds(), prompt_version="0")
    assert not hasattr(model, "asked")
