"""What a model may cost: OpenRouter's list of the endpoints that serve it, each with prices of its own.

https://openrouter.ai/docs/api-reference/endpoints/list-endpoints
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

# A token that is written to a cache, or that the model thinks and does not say, may have a price of its own.
_READ = ("prompt", "input_cache_write")
_WRITTEN = ("completion", "internal_reasoning")
_CALL = ("request",)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server of a model: US dollars a token read, a token written, a call.

    ``most_written``: the tokens that it may write whatever bound a call sets; None where it keeps to that.
    """

    usd_per_token_read: Decimal
    usd_per_token_written: Decimal
    usd_per_call: Decimal = Decimal()
    most_written: int | None = None

    def most_usd(self, tokens_read: int, max_tokens: int) -> Decimal:
        """Return the most that a call may cost that sends so many tokens and asks for no more than ``max_tokens``."""
        written = max_tokens if self.most_written is None else self.most_written
        return self.usd_per_call + tokens_read * self.usd_per_token_read + written * self.usd_per_token_written


def endpoints(answer: dict[str, Any]) -> list[Endpoint]:
    """Read the endpoints of a model; none if any has a price or a bound that is not told."""
    match answer:
        case {"data": {"endpoints": list(listed)}}:
            with suppress(ValueError):
                return [_endpoint(one) for one in listed]
    return []


def _endpoint(one: Any) -> Endpoint:
    match one:
        case {"pricing": {"prompt": str(), "completion": str()} as pricing}:
            overrides = pricing.get("overrides")  # for some hours of the day, or for long prompts
            prices = [pricing, *(overrides if isinstance(overrides, list) else ())]
            parameters = one.get("supported_parameters")
            keeps_to_bound = isinstance(parameters, list) and "max_tokens" in parameters
            most = None if keeps_to_bound else one.get("max_completion_tokens") or one.get("context_length")
            if keeps_to_bound or isinstance(most, int):
                return Endpoint(_highest(prices, _READ), _highest(prices, _WRITTEN), _highest(prices, _CALL), most)
    raise ValueError


def _highest(prices: Iterable[Any], names: tuple[str, ...]) -> Decimal:
    """The highest of the prices that go by these names. Raises ``ValueError`` if one of them is no price."""
    told = [some[name] for some in prices if isinstance(some, dict) for name in names if some.get(name) is not None]
    try:
        amounts = [Decimal(str(price)) for price in told]
    except InvalidOperation:
        raise ValueError from None
    if not all(amount.is_finite() and amount >= 0 for amount in amounts):
        raise ValueError
    return max(amounts, default=Decimal())
