"""Generate while the caller waits, and keep nothing but a record: what it took, or why it failed."""

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

from recto import telemetry
from recto.db import generations, starts
from recto.db.commit import Delayed
from recto.db.starts import Lease, NewJob
from recto.errors import UpstreamError
from recto.runtime import WorkerRuntime
from recto.text.generate import Audience, Generation, generate
from recto.text.grounding import Grounding, Index
from recto.text.options import NO_OPTIONS, Options
from recto.text.prompt import PROMPT_VERSION
from recto.text.source import SourceText


@dataclass(frozen=True, slots=True)
class Generated:
    """A generation and the id of its record; None if that is written later, because the database is away.

    ``groundings``: where each proposal stands in the text; None for each if that was not asked for. ``language``: that
    the cards are in; None if none was asked for.
    """

    record_id: int | None
    generation: Generation
    groundings: list[Grounding | None]
    language: str | None


def run(
    runtime: WorkerRuntime,
    user_id: UUID,
    source: SourceText,
    facts: dict[str, Any],
    *,
    options: Options = NO_OPTIONS,
    audience: Audience | None = None,
    index: Index | None = None,
) -> Generated:
    """Generate and leave one row in ``generations``, or one in ``generation_error_logs`` and raise ``UpstreamError``.

    Under a quota a place is reserved first, which the row turns into a debit or gives back: raises ``QuotaExceeded``.
    An ``audience`` is shown the proposals as they are written; an ``index`` of the text tells where they stand. If the
    database is away for longer than the process is patient, the row is written as soon as it is back. ``facts``
    receives what a log line says of it.
    """
    model, quota = runtime.settings.openrouter_model, runtime.settings.quota_generations_per_month
    models = runtime.settings.configured_models
    job_id, counted = uuid4(), quota is not None
    if quota is not None:
        new = NewJob("synchronous", {"model": model, "prompt_version": PROMPT_VERSION}, source.hash, source.length)
        lease = Lease(runtime.leases.holder, runtime.leases.lease_s)
        starts.reserve(runtime.pool, user_id, job_id, new, quota=quota, lease=lease)
    figures = {
        "job_id": str(job_id),
        "user_id": str(user_id),
        "source_text_hash": source.hash,
        "source_text_length": source.length,
    }
    with runtime.leases.renewed(job_id) if counted else nullcontext():
        started = perf_counter()
        try:
            generation = generate(
                runtime.openrouter, source, model=model, bounds=runtime.bounds, options=options, audience=audience
            )
        except UpstreamError as error:
            failed = error  # this name outlives the block
            seconds = perf_counter() - started
            facts |= telemetry.upstream_failed(error, model=model, models=models, seconds=seconds)
            with suppress(Delayed):
                runtime.commits.write(
                    lambda: generations.record_error(
                        runtime.pool,
                        user_id,
                        job_id,
                        source,
                        failed,
                        model=model,
                        prompt_version=PROMPT_VERSION,
                        counted=counted,
                    ),
                    figures=figures | facts,
                )
            raise
        facts |= telemetry.generated(generation, models=models)
        groundings = [index.ground(card.front, card.back) if index else None for card in generation.proposals]
        grounded_count = sum(place.grounded for place in groundings if place) if index else None
        language = generation.language if options.language else None
        record_id: int | None = None
        with suppress(Delayed):
            record_id = runtime.commits.write(
                lambda: runtime.records.record(
                    user_id,
                    job_id,
                    source,
                    generation,
                    counted=counted,
                    grounded_count=grounded_count,
                    language=language,
                ),
                figures=figures | facts,
            )
        return Generated(record_id, generation, groundings, language)
