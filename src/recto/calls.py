"""What calls to a provider took."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a provider: how it ended and what it took.

    ``model``: the one that answered, else the one that was asked. ``outcome``: ``succeeded``, or the ``log_code`` of
    the ``UpstreamError`` that it ended with. ``upstream_status``: the answer's HTTP status, or the code of an error
    inside a 200; None if no answer had begun. ``request_id``: the provider's name for the call. Tokens and dollars are
    the provider's own count. What it did not say is None.
    """

    model: str
    outcome: str
    duration_ms: int
    upstream_status: int | None = None
    request_id: str | None = None
    tokens_input: int | None = None
    tokens_output: int | None = None
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """What a call took, told after it."""

    tokens_input: int
    tokens_output: int
    cost_usd: Decimal


class MadeCalls:
    """The sums over ``calls``, which were made in this order.

    A sum is None where the provider gave no figure for any of the calls.
    """

    __slots__ = ()
    calls: tuple[Call, ...]

    @property
    def request_id(self) -> str | None:
        """The provider's name for the last call, under which it can be asked about it."""
        return self.calls[-1].request_id if self.calls else None

    @property
    def untold(self) -> list[str]:
        """The provider's names for the calls of which it has not said what they took."""
        return [call.request_id for call in self.calls if call.request_id and call.tokens_output is None]

    @property
    def tokens_input(self) -> int | None:
        """Tokens that the models read."""
        counts = [call.tokens_input for call in self.calls if call.tokens_input is not None]
        return sum(counts) if counts else None

    @property
    def tokens_output(self) -> int | None:
        """Tokens that the models wrote."""
        counts = [call.tokens_output for call in self.calls if call.tokens_output is not None]
        return sum(counts) if counts else None

    @property
    def cost_usd(self) -> Decimal | None:
        """US dollars."""
        costs = [call.cost_usd for call in self.calls if call.cost_usd is not None]
        return sum(costs, Decimal()) if costs else None
