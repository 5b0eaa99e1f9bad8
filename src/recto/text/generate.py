"""The one pipeline that every door calls: source text → prompt → completion → proposals."""

from collections import Counter
from dataclasses import dataclass
from time import monotonic

from recto.errors import UpstreamInvalidResponse
from recto.providers.openrouter import Completion, OpenRouter
from recto.text import prompt, proposals
from recto.text.proposals import Bounds, Proposal
from recto.text.source import SourceText


@dataclass(frozen=True, slots=True)
class Generation:
    """At least one proposal, and what it took: ``duration_ms`` is the wall time from prompt to proposals.

    ``drops`` counts the cards that the model wrote and Recto did not keep, by reason.
    """

    proposals: list[Proposal]
    drops: Counter[str]
    completion: Completion
    prompt_version: str
    duration_ms: int


def generate(provider: OpenRouter, source: SourceText, *, model: str, bounds: Bounds) -> Generation:
    """Ask ``model`` for flashcards and keep the good ones. Raises ``UpstreamError``; never returns an empty list."""
    started = monotonic()
    asked = prompt.build(source, bounds)
    completion = provider.complete(
        model=model, system=asked.system, user=asked.user, schema_name=asked.schema_name, schema=asked.schema
    )
    parsed = proposals.parse(completion.content, bounds)
    if not parsed.proposals:
        dropped = ", ".join(f"{count} {reason}" for reason, count in parsed.drops.items()) or "it held none"
        raise UpstreamInvalidResponse(
            f"no usable card (finish_reason {completion.finish_reason}): {dropped}", model=completion.model
        )
    return Generation(
        proposals=parsed.proposals,
        drops=parsed.drops,
        completion=completion,
        prompt_version=prompt.PROMPT_VERSION,
        duration_ms=round((monotonic() - started) * 1000),
    )
