"""The one pipeline that every door calls: source text or topic → prompt → completion → proposals."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from recto.errors import UpstreamError, UpstreamInvalidResponse
from recto.providers.openrouter import Completion, Listener, OpenRouter
from recto.text import prompt, proposals
from recto.text.prompt import PROMPT_VERSION
from recto.text.proposals import Bounds, ParsedProposals, Proposal
from recto.text.source import SourceText, Topic
from recto.text.stream import ProposalStream


@dataclass(frozen=True, slots=True)
class Generation:
    """Proposals, and what they took: ``duration_ms`` is the wall time from prompt to proposals.

    ``drops`` counts the cards that the model wrote and Recto did not keep, by reason. Of an answer with an audience
    ``failure`` is what ended it after its first proposal, and ``first_proposal_ms`` when that was there.
    """

    proposals: list[Proposal]
    drops: Counter[str]
    completion: Completion
    prompt_version: str
    duration_ms: int
    failure: UpstreamError | None = None
    first_proposal_ms: int | None = None

    @property
    def incomplete(self) -> str | None:
        """Why the model did not write all that it would have; None if it did."""
        if self.failure:
            return self.failure.code
        return _CUT_OFF.get(self.completion.finish_reason or "")


_CUT_OFF = {"length": "max_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is shown proposals as they are written: called with each one, and asked whether nobody is there any more.

    Both are called from the thread that generates; ``on_proposal`` must not raise.
    """

    on_proposal: Callable[[Proposal], None]
    is_gone: Callable[[], bool]


def ask(
    provider: OpenRouter,
    material: SourceText | Topic,
    *,
    model: str,
    bounds: Bounds,
    prompt_version: str = PROMPT_VERSION,
    known: Sequence[str] = (),
    audience: Audience | None = None,
) -> Generation:
    """Ask ``model`` for flashcards and keep the good ones, which may be none.

    ``known`` are fronts that must not come again, the newest last. An ``audience`` is shown the proposals as they are
    written; a failure after the first one is the generation's. Raises ``UpstreamError``, and ``InvalidRequest`` for an
    unknown ``prompt_version``.
    """
    started = monotonic()
    asked = prompt.build(material, bounds, version=prompt_version, known=known)
    shown = _Shown(ProposalStream(bounds, known), audience, started) if audience else None
    failure = None
    try:
        completion = provider.complete(
            model=model,
            system=asked.system,
            user=asked.user,
            schema_name=asked.schema_name,
            schema=asked.schema,
            listener=Listener(shown.hear, shown.audience.is_gone) if shown else None,
        )
    except UpstreamError as error:
        if not (shown and shown.stream.proposals):
            raise
        failure = error
        completion = Completion(shown.stream.content, None, error.calls)
    parsed = shown.finish() if shown else proposals.parse(completion.content, bounds, known)
    return Generation(
        proposals=parsed.proposals,
        drops=parsed.drops,
        completion=completion,
        prompt_version=prompt_version,
        duration_ms=round((monotonic() - started) * 1000),
        failure=failure,
        first_proposal_ms=shown.first_ms if shown else None,
    )


class _Shown:
    """What an audience has been shown of an answer."""

    def __init__(self, stream: ProposalStream, audience: Audience, started: float) -> None:
        self.stream = stream
        self.audience = audience
        self.first_ms: int | None = None
        self._started = started

    def hear(self, text: str) -> None:
        self._show(self.stream.feed(text))

    def finish(self) -> ParsedProposals:
        parsed = self.stream.finish()
        self._show(parsed.proposals[len(self.stream.proposals) :])
        return parsed

    def _show(self, shown: list[Proposal]) -> None:
        for proposal in shown:
            if self.first_ms is None:
                self.first_ms = round((monotonic() - self._started) * 1000)
            self.audience.on_proposal(proposal)


def generate(
    provider: OpenRouter,
    material: SourceText | Topic,
    *,
    model: str,
    bounds: Bounds,
    prompt_version: str = PROMPT_VERSION,
    known: Sequence[str] = (),
    audience: Audience | None = None,
) -> Generation:
    """``ask``, where an answer without a proposal is a failure: raises ``UpstreamInvalidResponse`` for it."""
    generation = ask(
        provider,
        material,
        model=model,
        bounds=bounds,
        prompt_version=prompt_version,
        known=known,
        audience=audience,
    )
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
