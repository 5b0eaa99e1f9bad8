import json
from decimal import Decimal

import pytest

from recto.calls import Call
from recto.errors import InvalidRequest, UpstreamInvalidResponse, UpstreamTimeout
from recto.providers.openrouter import Completion
from recto.text import generate as generate_module
from recto.text.generate import Audience, ask, generate
from recto.text.options import Options
from recto.text.proposals import Bounds, Proposal
from recto.text.source import SourceText, Topic

SOURCE = SourceText("Paris is the capital of France. " * 40)
CARD = {"front": "What is the capital of France?", "back": "Paris"}


class Model:
    """Answers what a test wants, and remembers what it was asked."""

    timeout_s = 30.0

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
    assert generation.prompt_version == "2"
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


class Models:
    """Answers what a test wants, one completion after the other; an exception is raised."""

    timeout_s = 30.0

    def __init__(self, *answers):
        self._answers = iter(answers)
        self.asked = []

    def complete(self, **asked):
        self.asked.append(asked)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        if asked["listener"]:
            asked["listener"].hear(answer)
        return Completion(answer, "stop", (Call("a/model", "succeeded", 10, 200, "gen-1", 9, 3, Decimal("0.1")),))


def cards(*fronts):
    return json.dumps([{"front": front, "back": f"answer to {number}"} for number, front in enumerate(fronts)])


def ask_for(count, *answers, **more):
    model = Models(*answers)
    return ask(model, SOURCE, model="a/model", bounds=Bounds(), options=Options(count=count), **more), model


def test_the_cards_that_are_missing_are_asked_for_once_more_and_both_calls_count():
    generation, model = ask_for(3, cards("one?", "two?", "one?"), cards("three?"))
    assert [proposal.front for proposal in generation.proposals] == ["one?", "two?", "three?"]
    assert generation.completion.cost_usd == Decimal("0.2")
    assert generation.drops == {"duplicate": 1}
    assert generation.incomplete is None
    assert "exactly 1 flashcards" in model.asked[1]["system"]
    assert "one?\ntwo?" in model.asked[1]["user"]
    assert 0 < model.asked[1]["within_s"] < Models.timeout_s


def test_the_model_is_asked_once_more_and_not_again():
    generation, model = ask_for(5, cards("one?"), cards("two?"))
    assert len(model.asked) == 2
    assert (len(generation.proposals), generation.incomplete) == (2, "model_stopped")


@pytest.mark.parametrize("count", [None, 1, 2])
def test_without_a_count_or_a_missing_card_there_is_one_call(count):
    _, model = ask_for(count, cards("one?", "two?"))
    assert len(model.asked) == 1


def test_without_enough_of_the_deadline_there_is_one_call(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(generate_module, "monotonic", lambda: now[0])
    model = Models(cards("one?"), cards("two?"))
    complete = model.complete
    monkeypatch.setattr(model, "complete", lambda **asked: (now.__setitem__(0, now[0] + 18.1), complete(**asked))[1])
    generation = ask(model, SOURCE, model="a/model", bounds=Bounds(), options=Options(count=2))
    assert (len(model.asked), generation.incomplete) == (1, "model_stopped")


def test_a_second_call_that_fails_takes_nothing_away_and_is_paid_for():
    failed = UpstreamTimeout("late", calls=(Call("a/model", "upstream_timeout", 10, cost_usd=Decimal("0.3")),))
    generation, _ = ask_for(2, cards("one?"), failed)
    assert len(generation.proposals) == 1
    assert generation.completion.cost_usd == Decimal("0.4")
    assert generation.incomplete == "model_stopped"


def test_who_has_gone_is_not_asked_for():
    _, model = ask_for(2, cards("one?"), cards("two?"), audience=Audience(lambda _: None, lambda: True))
    assert len(model.asked) == 1


def test_an_audience_is_shown_the_rest_too():
    shown = []
    ask_for(2, cards("one?"), cards("two?"), audience=Audience(shown.append, lambda: False))
    assert [proposal.front for proposal in shown] == ["one?", "two?"]


def test_a_cloze_card_without_a_gap_is_dropped():
    answer = json.dumps([CARD, {"front": "France's capital is __.", "back": "Paris"}])
    generation = ask(Models(answer), SOURCE, model="m", bounds=Bounds(), options=Options(style="cloze"))
    assert generation.proposals == [Proposal("France's capital is ____.", "Paris")]
    assert generation.drops == {"no_gap": 1}


POLISH = json.dumps([{"front": "Gdzie leży Kraków?", "back": "Nad Wisłą, w południowej Polsce."}])
ENGLISH = json.dumps([{"front": "Where does Cracow lie?", "back": "On the Vistula, in the south of Poland."}])


def ask_in(language, *answers, **more):
    model = Models(*answers)
    options = Options(language=language)
    return ask(model, SOURCE, model="a/model", bounds=Bounds(), options=options, **more), model


@pytest.mark.parametrize("language", ["pl", "pl-PL", "PL"])
def test_cards_in_the_language_that_was_asked_for_are_kept(language):
    generation, model = ask_in(language, POLISH)
    assert (generation.language, len(model.asked)) == ("pl", 1)


def test_for_cards_in_another_language_the_model_is_asked_once_more():
    generation, model = ask_in("pl", ENGLISH, POLISH)
    assert (generation.language, len(model.asked)) == ("pl", 2)
    assert generation.drops == {"other_language": 1}
    assert len(generation.completion.calls) == 2


@pytest.mark.parametrize("second", [ENGLISH, "[]", UpstreamTimeout("late")])
def test_what_stays_in_another_language_is_kept_and_said(second):
    generation, model = ask_in("pl", ENGLISH, second)
    assert (generation.language, len(generation.proposals), len(model.asked)) == ("en", 1, 2)


def test_cards_that_were_seen_are_not_taken_back():
    generation, model = ask_in("pl", ENGLISH, POLISH, audience=Audience(lambda _: None, lambda: False))
    assert (generation.language, len(model.asked)) == ("en", 1)


def test_a_language_that_cannot_be_told_is_taken_on_trust():
    _, model = ask_in("tlh", ENGLISH)
    assert len(model.asked) == 1
