"""A long text's deck, made in one process while somebody waits: the same sections and batches as a job's."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from time import monotonic

from recto.calls import Call
from recto.errors import UpstreamError
from recto.providers.openrouter import Completion, OpenRouter
from recto.text.deck import Course, Part, ask_section, plan
from recto.text.generate import Generation, unusable
from recto.text.options import Options
from recto.text.prompt import PROMPT_VERSION
from recto.text.proposals import Bounds, Proposal
from recto.text.source import Passage, SourceText


@dataclass(slots=True)
class Chapter:
    """What there is of a deck so far: ``proposals``, and the section of each by its place in ``parts``.

    ``failure`` is what ended it before its time.
    """

    count: int
    parts: list[Part]
    proposals: list[Proposal] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    calls: list[Call] = field(default_factory=list)
    failure: UpstreamError | None = None
    duration_ms: int = 0

    @property
    def generation(self) -> Generation:
        """All batches as one generation."""
        return Generation(
            proposals=self.proposals,
            drops=self.drops,
            completion=Completion("", None, tuple(self.calls)),
            prompt_version=PROMPT_VERSION,
            duration_ms=self.duration_ms,
            failure=self.failure,
            count=self.count,
        )


def write(
    provider: OpenRouter, source: SourceText, count: int, *, model: str, bounds: Bounds, options: Options, at_once: int
) -> Iterator[Chapter]:
    """Ask for ``count`` cards of the text, so many ``at_once``; yield what there is at first and after each batch.

    A failure of the provider ends it, with the cards that came before. Raises ``UpstreamError`` if none did, and
    ``InvalidRequest`` as ``ask`` does.
    """
    started = monotonic()
    course = Course(plan(source.text, count), count)
    chapter = Chapter(count, course.parts)
    yield chapter
    while number := course.number:
        part = course.parts[number - 1]
        try:
            generation = ask_section(
                provider,
                Passage(source.text[part.start : part.end]),
                model=model,
                bounds=replace(bounds, proposals=min(course.missing, at_once)),
                known=[proposal.front for proposal in chapter.proposals],
                options=replace(options, count=None),
            )
        except UpstreamError as error:
            if not chapter.proposals:
                raise
            chapter.calls += error.calls
            chapter.failure = error
        else:
            stopped = course.stops(generation)
            if stopped and course.is_last and not chapter.proposals:
                raise generation.failure or unusable(generation)
            course.took(len(generation.proposals), stopped)
            chapter.proposals += generation.proposals
            chapter.places += [number - 1] * len(generation.proposals)
            chapter.drops += generation.drops
            chapter.calls += generation.completion.calls
        chapter.duration_ms = round((monotonic() - started) * 1000)
        yield chapter
        if chapter.failure:
            return
