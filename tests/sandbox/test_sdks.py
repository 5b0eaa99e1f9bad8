"""The sandbox as the official clients of OpenAI, 3.57, and of OpenRouter, 1.3, read it."""

import json

import openai
import openrouter
import pytest
from openrouter.errors import NotFoundResponseError, TooManyRequestsResponseError

from recto.sandbox.faults import FAULTS
from recto.sandbox.server import start

TEXT = "The steam engine is a machine that turns heat into motion. François Arago was a physicist."
MESSAGES = [{"role": "user", "content": TEXT}]


@pytest.fixture(scope="module")
def sandbox():
    with start(chunks_per_second=0, usd_per_token=0.001) as server:
        yield server


@pytest.fixture
def of_openai(sandbox):
    with openai.OpenAI(api_key="key", base_url=sandbox.base_url, max_retries=0) as client:
        yield client.chat.completions.create


@pytest.fixture
def of_openrouter(sandbox):
    with openrouter.OpenRouter(api_key="key", server_url=sandbox.base_url) as client:
        yield client


STREAMS = [
    "some/model",
    *(f"sandbox/{name}" for name in ("torn-chunks", "role-only", "usage-alone", "comments", "crlf")),
]


def check(chunks, answer):
    """A stream's chunks say the same as the answer."""
    content = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert content == answer.choices[0].message.content
    assert json.loads(content)["flashcards"]
    assert {chunk.model for chunk in chunks} == {answer.model}
    [usage] = [chunk.usage for chunk in chunks if chunk.usage]
    assert (usage.total_tokens, usage.cost) == (answer.usage.total_tokens, answer.usage.cost)


@pytest.mark.parametrize("model", STREAMS)
def test_openais_client_reads_answers_and_streams(of_openai, model):
    answer = of_openai(model=model, messages=MESSAGES)
    with of_openai(model=model, messages=MESSAGES, stream=True) as stream:
        check(list(stream), answer)


def test_openais_client_reads_errors(of_openai):
    with pytest.raises(openai.RateLimitError):
        of_openai(model="sandbox/http-429", messages=MESSAGES, stream=True)
    with (
        of_openai(model="sandbox/error-after-cards", messages=MESSAGES, stream=True) as stream,
        pytest.raises(openai.APIError, match="Provider disconnected"),
    ):
        list(stream)


@pytest.mark.parametrize("model", STREAMS)
def test_openrouters_client_reads_answers_and_streams(of_openrouter, model):
    answer = of_openrouter.chat.send(model=model, messages=MESSAGES)
    with of_openrouter.chat.send(model=model, messages=MESSAGES, stream=True) as stream:
        check(list(stream), answer)


def test_openrouters_client_reads_errors(of_openrouter):
    with pytest.raises(TooManyRequestsResponseError):
        of_openrouter.chat.send(model="sandbox/http-429", messages=MESSAGES, stream=True)
    with of_openrouter.chat.send(model="sandbox/error-after-cards", messages=MESSAGES, stream=True) as stream:
        assert list(stream)[-1].error.code == 502


def test_openrouters_client_reads_what_is_remembered(of_openrouter):
    answer = of_openrouter.chat.send(model="some/model", messages=MESSAGES)
    told = of_openrouter.generations.get_generation(id=answer.id).data
    assert (told.total_cost, told.model, told.cancelled) == (answer.usage.cost, "some/model", False)
    with pytest.raises(NotFoundResponseError):
        of_openrouter.generations.get_generation(id="gen-of-nobody")


def test_openrouters_client_reads_which_models_there_are(of_openrouter):
    page = of_openrouter.models.list()
    models = {model.id: model for model in page.result.data}
    assert page.next() is None
    assert list(models) == ["sandbox/extractive", *(f"sandbox/{name}" for name in FAULTS)]
    model = models["sandbox/extractive"]
    assert float(model.pricing.prompt) == float(model.pricing.completion) == 0.001
    assert {"max_tokens", "response_format"} <= set(model.supported_parameters)
    assert model.context_length == model.top_provider.context_length > 0
    assert models["sandbox/http-429"].description == FAULTS["http-429"].description


def test_openrouters_client_reads_a_models_endpoints(of_openrouter):
    [endpoint] = of_openrouter.endpoints.list(author="some", slug="model").data.endpoints
    assert (endpoint.model_id, float(endpoint.pricing.completion)) == ("some/model", 0.001)


@pytest.mark.filterwarnings("ignore:.*DEPRECATED:DeprecationWarning")  # the key's rate limit is, and has to be there
def test_openrouters_client_reads_what_the_key_and_the_account_have_spent(of_openrouter):
    def spent():
        key, account = of_openrouter.api_keys.get_current_key_metadata().data, of_openrouter.credits.get_credits().data
        assert (key.limit, key.limit_remaining, key.usage_daily) == (None, None, key.usage)
        assert account.total_usage == key.usage < account.total_credits
        return key.usage

    before = spent()
    cost = of_openrouter.chat.send(model="some/model", messages=MESSAGES).usage.cost
    assert spent() - before == pytest.approx(cost)
    assert cost > 0


def test_openrouters_client_is_obeyed_in_how_long_an_answer_may_be(of_openrouter):
    answer = of_openrouter.chat.send(model="some/model", messages=MESSAGES, max_tokens=9)
    assert (answer.model, answer.choices[0].finish_reason, answer.usage.completion_tokens) == (
        "some/model",
        "length",
        9,
    )
    assert len(answer.choices[0].message.content) == 9 * 4
    with of_openrouter.chat.send(model="some/model", messages=MESSAGES, max_tokens=9, stream=True) as stream:
        assert [choice.finish_reason for chunk in stream for choice in chunk.choices][-1] == "length"
