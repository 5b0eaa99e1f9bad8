"""What a model may cost, read from OpenRouter's list of its endpoints."""

from decimal import Decimal

import pytest

from recto.providers import deadline
from recto.providers.openrouter import OpenRouter
from recto.providers.openrouter_prices import Endpoint, endpoints

BOUNDED = {
    "supported_parameters": ["max_tokens", "temperature"],
    "max_completion_tokens": 8192,
    "context_length": 131072,
}


def listing(*served):
    return {"data": {"id": "some/model", "endpoints": list(served)}}


def served(**pricing):
    return {"pricing": {"prompt": "0.000001", "completion": "0.000004", **pricing}, **BOUNDED}


def test_prices_are_those_of_each_endpoint():
    dear = served(prompt="0.000002", request="0.01", image="9", discount=0)
    assert endpoints(listing(served(), dear)) == [
        Endpoint(Decimal("0.000001"), Decimal("0.000004")),
        Endpoint(Decimal("0.000002"), Decimal("0.000004"), Decimal("0.01")),
    ]


@pytest.mark.parametrize(
    ("pricing", "read", "written"),
    [
        ({"input_cache_write": "0.00000125", "input_cache_read": "0.1"}, "0.00000125", "0.000004"),
        ({"internal_reasoning": "0.000007"}, "0.000001", "0.000007"),
        ({"overrides": [{"utc_start": 16, "prompt": "0.000003", "completion": "0.000001"}]}, "0.000003", "0.000004"),
        ({"internal_reasoning": None, "overrides": None}, "0.000001", "0.000004"),
    ],
)
def test_of_prices_that_may_hold_the_highest_counts(pricing, read, written):
    (endpoint,) = endpoints(listing(served(**pricing)))
    assert (endpoint.usd_per_token_read, endpoint.usd_per_token_written) == (Decimal(read), Decimal(written))


@pytest.mark.parametrize(
    ("bounds", "most_written"),
    [
        ({}, None),
        ({"supported_parameters": ["temperature"]}, 8192),
        ({"supported_parameters": None, "max_completion_tokens": None}, 131072),
    ],
)
def test_an_endpoint_that_does_not_keep_to_max_tokens_has_a_bound_of_its_own(bounds, most_written):
    (endpoint,) = endpoints(listing(served() | bounds))
    assert endpoint.most_written == most_written
    written = 100 if most_written is None else most_written
    assert endpoint.most_usd(1000, 100) == Decimal("0.001") + written * Decimal("0.000004")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": None},
        {"data": {"endpoints": {}}},
        listing(),
        listing(served(), 7),
        listing(served(), {"pricing": {"prompt": "1"}}),
        listing(served(prompt="-1")),
        listing(served(request="NaN")),
        listing(served(completion="a lot")),
        listing(
            served(), served() | {"supported_parameters": 5, "max_completion_tokens": None, "context_length": None}
        ),
    ],
)
def test_where_one_price_or_bound_is_not_told_none_is_known(answer):
    assert endpoints(answer) == []


def client(base_url):
    return OpenRouter(deadline.session(), base_url=base_url, api_key="key", timeout_ms=2000, max_tokens=100)


def test_the_sandbox_lists_what_it_plays(sandbox):
    asked = client(sandbox.base_url)
    for model in ("openai/gpt-4o-mini", "meta/llama:free", "sandbox/fenced", "sandbox/extractive"):
        assert asked.endpoints(model) == [Endpoint(Decimal(0), Decimal(0))]
    assert asked.endpoints("sandbox/nope") == []


def test_a_provider_that_cannot_be_asked_tells_no_price():
    assert client("http://127.0.0.1:9").endpoints("some/model") == []
