"""Models asked about the same texts, through the pipeline of every door, streamed, within a budget.

Text after text every model is asked, so that all have been asked the same when the money ends. Before each question the
most that its calls may cost is set aside: all bytes of the longest prompt as tokens, and every token that may be
written, at the highest price of the endpoints that serve the model. Afterwards that becomes what the provider says that
the calls took. Where it does not say, all of it stays spent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from time import monotonic

from pydantic_core import to_json

from recto.calls import Call
from recto.errors import UpstreamError
from recto.providers.openrouter import OpenRouter
from recto.providers.openrouter_prices import Endpoint
from recto.text import prompt
from recto.text.generate import Audience, Generation, ask, unusable
from recto.text.grounding import Index
from recto.text.language import detect_in, differs
from recto.text.options import Options
from recto.text.proposals import Bounds, Proposal
from recto.text.source import SourceText

SUCCEEDED = "succeeded"
# Why a model was not asked.
OVER_BUDGET = "over_budget"
PRICE_UNKNOWN = "price_unknown"
NOT_ASKED = frozenset({OVER_BUDGET, PRICE_UNKNOWN})


@dataclass(frozen=True, slots=True)
class Run:
    """What came of asking one model about one text.

    ``outcome``: ``SUCCEEDED``, the ``log_code`` of the ``UpstreamError`` that ended it, or one of ``NOT_ASKED``. Of the
    cards ``written``, ``unread`` were not whole or no cards, ``leaks`` and ``duplicates`` were dropped for that, and
    ``kept`` are proposals, ``grounded`` of them supported by the text. ``keeps_language``: whether they are in the
    text's; None if that cannot be told. ``first_ms``, ``last_ms``: from the question to the first and the last of them.
    ``cost_usd``: what the provider says of its calls; of ``untold`` calls it says nothing.
    """

    model: str
    text: str
    outcome: str
    written: int = 0
    unread: int = 0
    leaks: int = 0
    duplicates: int = 0
    kept: int = 0
    grounded: int = 0
    keeps_language: bool | None = None
    first_ms: int | None = None
    last_ms: int | None = None
    cost_usd: Decimal = Decimal()
    untold: int = 0


def compare(
    provider: OpenRouter,
    models: Sequence[str],
    sources: Mapping[str, SourceText],
    *,
    bounds: Bounds,
    options: Options,
    max_tokens: int,
    budget_usd: Decimal,
    usd_per_million: Decimal | None = None,
) -> Iterator[Run]:
    """Ask each model about each text, named, and yield what came of it, and also whom there was no money to ask.

    ``provider`` asks for ``max_tokens`` and does not retry by itself. ``usd_per_million``: the price of a million
    tokens, read or written, of models for which the provider lists none; without it they are not asked.
    """
    unlisted = [] if usd_per_million is None else [Endpoint(usd_per_million / 10**6, usd_per_million / 10**6)]
    endpoints = {model: provider.endpoints(model) or unlisted for model in models}
    left_usd = budget_usd
    for name, source in sources.items():
        tokens_read = _most_tokens_read(source, bounds, options)
        for model in models:
            call_usd = max((one.most_usd(tokens_read, max_tokens) for one in endpoints[model]), default=None)
            if call_usd is None:
                yield Run(model, name, PRICE_UNKNOWN)
            elif call_usd * _most_calls(options) > left_usd:
                yield Run(model, name, OVER_BUDGET)
            else:
                run, calls = _ask(provider, model, name, source, bounds, options)
                costs = [_cost_usd(provider, call) for call in calls]
                told = [cost for cost in costs if cost is not None]
                left_usd -= sum(call_usd if cost is None else cost for cost in costs)
                yield replace(run, cost_usd=sum(told, Decimal()), untold=len(costs) - len(told))


def _most_calls(options: Options) -> int:
    """How many calls of one generation may be paid for: where cards are counted, a second one asks for the rest."""
    return 1 if options.count is None else 2


# What a provider may put around messages: roles, the schema in words.
_AROUND_THE_PROMPT = 500


def _most_tokens_read(source: SourceText, bounds: Bounds, options: Options) -> int:
    """More than any prompt has: a token holds a byte at least, and the call for the rest names the cards that came."""
    cards = options.count or bounds.proposals
    known = ["\U0001f600" * bounds.front] * (cards - 1) if options.count else []
    asked = prompt.build(source, replace(bounds, proposals=cards), known=known, options=options)
    return len(f"{asked.system}{asked.user}".encode()) + len(to_json(asked.schema)) + _AROUND_THE_PROMPT


def _ask(
    provider: OpenRouter, model: str, name: str, source: SourceText, bounds: Bounds, options: Options
) -> tuple[Run, tuple[Call, ...]]:
    shown_ms: list[int] = []
    started = monotonic()

    def on_proposal(_: Proposal) -> None:
        shown_ms.append(round((monotonic() - started) * 1000))

    audience = Audience(on_proposal, is_gone=lambda: False)
    try:
        generation = ask(provider, source, model=model, bounds=bounds, options=options, audience=audience)
    except UpstreamError as failure:
        return Run(model, name, failure.log_code), failure.calls
    run = replace(
        _judged(model, name, source, generation),
        first_ms=shown_ms[0] if shown_ms else None,
        last_ms=shown_ms[-1] if shown_ms else None,
    )
    return run, generation.completion.calls


def _judged(model: str, name: str, source: SourceText, generation: Generation) -> Run:
    kept, drops = generation.proposals, generation.drops
    failure = generation.failure or (None if kept else unusable(generation))
    index, language = Index(source.text), detect_in(source.text)
    return Run(
        model,
        name,
        failure.log_code if failure else SUCCEEDED,
        written=len(kept) + drops.total(),
        unread=drops["incomplete"] + drops["not_text"],
        leaks=drops["leak"],
        duplicates=drops["duplicate"] + drops["known"],
        kept=len(kept),
        grounded=sum(index.ground(card.front, card.back).grounded for card in kept),
        keeps_language=not differs(generation.language, language) if kept and language else None,
    )


_MAY_BE_PAID_FOR = 408  # a timeout, alone of the refusals


def _cost_usd(provider: OpenRouter, call: Call) -> Decimal | None:
    """What a call took; None if that is not told."""
    if call.cost_usd is not None:
        return call.cost_usd
    if call.upstream_status and 400 <= call.upstream_status < 500 and call.upstream_status != _MAY_BE_PAID_FOR:
        return Decimal()
    spent = provider.spent(call.request_id) if call.request_id else None
    return spent.cost_usd if spent else None
