"""The one pipeline that every door calls: source text or topic → prompt → completion → proposals."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Required, TypedDict, Unpack

from recto.errors import UpstreamError, UpstreamInvalidResponse
from recto.providers.openrouter import Completion, Listener, OpenRouter
from recto.text import prompt, proposals
from recto.text.language import detect, differs
from recto.text.options import NO_OPTIONS, Options
from recto.text.prompt import PROMPT_VERSION
from recto.text.proposals import Bounds, ParsedProposals, Proposal
from recto.text.source import Material
from recto.text.stream import ProposalStream


@dataclass(frozen=True, slots=True)
class Generation:
    """Proposals, and what they took: ``duration_ms`` is the wall time from prompt to proposals.

    ``drops`` counts the cards that the model wrote and Recto did not keep, by reason: those of ``proposals.parse``, and
    ``other_language``. Of an answer with an audience ``failure`` is what ended it after its first proposal, and
    ``first_proposal_ms`` when that was there. ``count``: the cards that were asked for, if that was said.
    """

    proposals: list[Proposal]
    drops: Counter[str]
    completion: Completion
    prompt_version: str
    duration_ms: int
    failure: UpstreamError | None = None
    first_proposal_ms: int | None = None
    count: int | None = None

    @property
    def language(self) -> str | None:
        """The language that the cards are in, as its subtag; working it out loads a model the first time."""
        return detect(self.proposals)

    @property
    def incomplete(self) -> str | None:
        """Why there are not all the cards that there would have been; None if there are."""
        if self.count and len(self.proposals) >= self.count:
            return None
        if self.failure:
            return self.failure.code
        return _CUT_OFF.get(self.completion.finish_reason or "", MODEL_STOPPED if self.count else None)


MODEL_STOPPED = "model_stopped"
_OTHER_LANGUAGE = "other_language"
_CUT_OFF = {"length": "max_tokens", "content_filter": "content_filter"}

# So much of the deadline must be left to ask again.
_LEFT_TO_ASK_AGAIN = 0.4


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is shown proposals as they are written: called with each one, and asked whether nobody is there any more.

    Both are called from the thread that generates; ``on_proposal`` must not raise.
    """

    on_proposal: Callable[[Proposal], None]
    is_gone: Callable[[], bool]


class Asked(TypedDict, total=False):
    """What ``ask`` takes by name."""

    model: Required[str]
    bounds: Required[Bounds]
    prompt_version: str
    known: Sequence[str]
    options: Options
    audience: Audience | None


def ask(
    provider: OpenRouter,
    material: Material,
    *,
    model: str,
    bounds: Bounds,
    prompt_version: str = PROMPT_VERSION,
    known: Sequence[str] = (),
    options: Options = NO_OPTIONS,
    audience: Audience | None = None,
) -> Generation:
    """Ask ``model`` for flashcards and keep the good ones, which may be none.

    ``known`` are fronts that must not come again, the newest last. An ``audience`` is shown the proposals as they are
    written; a failure after the first one is the generation's. If cards come in another language than the options ask
    for, or fewer than they count, and there is time, the model is asked once more for each. Raises ``UpstreamError``,
    and ``InvalidRequest`` for an unknown ``prompt_version`` or options that it has no words for.
    """
    started = monotonic()
    asking = _Asking(provider, material, model, bounds, prompt_version, options, audience, started)
    if options.count is not None:
        asking.bounds = replace(bounds, proposals=options.count)
    generation = asking.once(known)
    # Cards that somebody has seen are not taken back.
    if options.language and not audience and differs(generation.language, options.language):
        generation = asking.in_that_language(generation, known)
    return asking.with_the_rest(generation, known)


@dataclass(slots=True)
class _Asking:
    """What all calls of one generation share."""

    provider: OpenRouter
    material: Material
    model: str
    bounds: Bounds
    prompt_version: str
    options: Options
    audience: Audience | None
    started: float

    def in_that_language(self, first: Generation, known: Sequence[str]) -> Generation:
        """Ask once more if there is time; of the two return the one that is in the language asked for."""
        second = self._once_more(first, known)
        if second is None:
            return first
        wanted = self.options.language or ""
        is_better = second.proposals and not differs(second.language, wanted)
        better, other = (second, first) if is_better else (first, second)
        dropped = Counter({_OTHER_LANGUAGE: len(other.proposals)})
        completion = replace(better.completion, calls=first.completion.calls + second.completion.calls)
        return replace(better, drops=first.drops + second.drops + dropped, completion=completion)

    def with_the_rest(self, first: Generation, known: Sequence[str]) -> Generation:
        """Ask for the cards that are missing if there is time."""
        missing = (self.options.count or 0) - len(first.proposals)
        if missing <= 0:
            return first
        self.bounds = replace(self.bounds, proposals=missing)
        rest = self._once_more(first, [*known, *(proposal.front for proposal in first.proposals)])
        if rest is None:
            return first
        return replace(
            rest,
            proposals=first.proposals + rest.proposals,
            drops=first.drops + rest.drops,
            completion=replace(rest.completion, calls=first.completion.calls + rest.completion.calls),
            first_proposal_ms=first.first_proposal_ms or rest.first_proposal_ms,
        )

    def _once_more(self, first: Generation, known: Sequence[str]) -> Generation | None:
        """Ask again; None if there is no time for it or nobody to hear it.

        What came first is good: a failure brings no cards, and its calls.
        """
        left_s = self.started + self.provider.timeout_s - monotonic()
        is_gone = self.audience is not None and self.audience.is_gone()
        if first.failure or is_gone or left_s < _LEFT_TO_ASK_AGAIN * self.provider.timeout_s:
            return None
        try:
            return self.once(known, within_s=left_s)
        except UpstreamError as error:
            completion = replace(first.completion, calls=error.calls)
            return replace(first, proposals=[], drops=Counter(), completion=completion)

    def once(self, known: Sequence[str], *, within_s: float | None = None) -> Generation:
        asked = prompt.build(self.material, self.bounds, version=self.prompt_version, known=known, options=self.options)
        cloze = self.options.style == "cloze"
        stream = ProposalStream(self.bounds, known, cloze=cloze) if self.audience else None
        shown = _Shown(stream, self.audience, self.started) if stream and self.audience else None
        failure = None
        try:
            completion = self.provider.complete(
                model=self.model,
                system=asked.system,
                user=asked.user,
                schema_name=asked.schema_name,
                schema=asked.schema,
                listener=Listener(shown.hear, shown.audience.is_gone) if shown else None,
                within_s=within_s,
            )
        except UpstreamError as error:
            if not (shown and shown.stream.proposals):
                raise
            failure = error
            completion = Completion(shown.stream.content, None, error.calls)
        parsed = shown.finish() if shown else proposals.parse(completion.content, self.bounds, known, cloze=cloze)
        return Generation(
            proposals=parsed.proposals,
            drops=parsed.drops,
            completion=completion,
            prompt_version=self.prompt_version,
            duration_ms=round((monotonic() - self.started) * 1000),
            failure=failure,
            first_proposal_ms=shown.first_ms if shown else None,
            count=self.options.count,
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


def generate(provider: OpenRouter, material: Material, **asked: Unpack[Asked]) -> Generation:
    """``ask``, where an answer without a proposal is a failure: raises ``UpstreamInvalidResponse`` for it."""
    generation = ask(provider, material, **asked)
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
