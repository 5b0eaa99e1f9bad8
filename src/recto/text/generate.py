"""The one pipeline that every door calls: source text or topic → prompt → completion → proposals."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic

from recto.errors import UpstreamInvalidResponse
from recto.providers.openrouter import Completion, OpenRouter
from recto.text import prompt, proposals
from recto.text.prompt import PROMPT_VERSION
from recto.text.proposals import Bounds, Proposal
from recto.text.source import SourceText, Topic


@dataclass(frozen=True, slots=True)
class Generation:
    """Proposals, and what they took: ``duration_ms`` is the wall time from prompt to proposals.

    ``drops`` counts the cards that the model wrote and Recto did not keep, by reason.
    """

    proposals: list[Proposal]
    drops: Counter[str]
    completion: Completion
    prompt_version: str
    duration_ms: int


def ask(
    provider: OpenRouter,
    material: SourceText | Topic,
    *,
    model: str,
    bounds: Bounds,
    prompt_version: str = PROMPT_VERSION,
    known: Sequence[str] = (),
) -> Generation:
    """Ask ``model`` for flashcards and keep the good ones, which may be none.

    ``known`` are fronts that must not come again, the newest last. Raises ``UpstreamError``, and ``InvalidRequest``
    for an unknown ``prompt_version``.
    """
    started = monotonic()
    asked = prompt.build(material, bounds, version=prompt_version, known=known)
    completion = provider.complete(
        model=model, system=asked.system, user=asked.user, schema_name=asked.schema_name, schema=asked.schema
    )
    parsed = proposals.parse(completion.content, bounds, known)
    return Generation(
        proposals=parsed.proposals,
        drops=parsed.drops,
        completion=completion,
        prompt_version=prompt_version,
        duration_ms=round((monotonic() - started) * 1000),
    )


def generate(
    provider: OpenRouter,
    material: SourceText | Topic,
    *,
    model: str,
    bounds: Bounds,
    prompt_version: str = PROMPT_VERSION,
    known: Sequence[str] = (),
) -> Generation:
    """``ask``, where an answer without a proposal is a failure: raises ``UpstreamInvalidResponse`` for it."""
    generation = ask(provider, material, model=model, bounds=bounds, prompt_version=prompt_version, known=known)
    if not generation.proposals:
        raise unusable(generation)
    return generation


def unusable(generation: Generation) -> UpstreamInvalidResponse:
    """Return the failure that a generation without a proposal is."""
    completion = generation.completion
    dropped = ", ".join(f"{count} {reason}" for reason, count in generation.drops.items()) or "it held none"
    *earlier, last = completion.calls
    return UpstreamInvalidResponse(
        f"no usable card (finish_reason {completion.finish_reason}): {dropped}",
        model=completion.model,
        upstream_status=last.upstream_status,
        calls=(*earlier, replace(last, outcome=UpstreamInvalidResponse.log_code)),
    )
