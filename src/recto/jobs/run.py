"""Run one attempt of a job: inputs → pipeline → results, or why it failed."""

import random
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg import Connection

from recto import telemetry
from recto.db import attempts, suggestions
from recto.db.attempts import Results
from recto.db.claims import Attempt
from recto.db.commit import Delayed
from recto.db.failures import Failure
from recto.db.jobs import MAX_ATTEMPTS
from recto.errors import RectoError, Unavailable, UpstreamError
from recto.jobs.outcomes import Failed, HandedBack, NotOwned, Outcome, Retried, Succeeded
from recto.jobs.source import Source
from recto.runtime import WorkerRuntime
from recto.text.deck import Course, Part, ask_section, batch_size
from recto.text.generate import Generation, ask, generate, unusable
from recto.text.options import Options
from recto.text.proposals import Bounds
from recto.text.source import Material, Passage

T = TypeVar("T")

# What the provider asks for is waited for, within reason.
_LONGEST_RETRY_AFTER_S = 120.0


def run(
    runtime: WorkerRuntime,
    attempt: Attempt,
    *,
    stopping: Callable[[], bool] = lambda: False,
    on_success: Callable[[Connection, Results], None] | None = None,
) -> tuple[Outcome, dict[str, object]]:
    """Run the attempt to its end, commit what came of it, and return how it ended and what a log line says of it.

    A deck is handed back between two batches when ``stopping()``. ``on_success`` is part of the transaction that
    commits the results. Raises ``Unavailable`` if the database is away for longer than the process is patient: the
    results are then committed as soon as it is back.
    """
    running = _Run(runtime, attempt, stopping, on_success)
    with runtime.leases.renewed(attempt.job_id):
        try:
            outcome = running.deck() if attempt.kind == "deck" else running.single()
        except (psycopg.Error, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, the job must end
            outcome = running.fail(error)
    telemetry.attempt_ended(attempt.kind, outcome.name)
    return outcome, running.facts


class _Run:
    """An attempt, the number of its next call, and what a log line says of it so far."""

    def __init__(
        self,
        runtime: WorkerRuntime,
        attempt: Attempt,
        stopping: Callable[[], bool],
        on_success: Callable[[Connection, Results], None] | None,
    ) -> None:
        self.facts: dict[str, object] = {}
        self._runtime = runtime
        self._attempt = attempt
        self._stopping = stopping
        self._on_success = on_success
        self._call = 1
        self._started = monotonic()

    def single(self) -> Outcome:
        source = Source.whole(self._attempt.payload)
        generation = generate(self._runtime.openrouter, source.material, **self._asked(), bounds=self._runtime.bounds)
        self.facts = telemetry.generated(generation, models=self._runtime.settings.configured_models)
        batch = self._add(generation, source, enough=1, incomplete=generation.incomplete)
        return Succeeded(batch.results) if batch and batch.results else NotOwned()

    def deck(self) -> Outcome:
        """Ask batch by batch; each is committed before the next, so that what there is survives any failure."""
        pool, attempt = self._runtime.pool, self._attempt
        assert attempt.deck_id is not None  # noqa: S101  a deck's job has one
        course = Course(self._parts(), attempt.payload["count"])
        stored = sum(part.cards for part in course.parts)
        known = [*attempt.payload["banlist"], *suggestions.fronts_of_deck(pool, attempt.user_id, attempt.deck_id)]
        source = self._source(course)
        while True:
            if self._call > 1 and not attempts.begin_call(pool, attempt, self._call):
                return NotOwned()
            proposals = min(
                course.missing, batch_size(self._runtime.bounds, self._runtime.settings.openrouter_max_tokens)
            )
            bounds = replace(self._runtime.bounds, proposals=proposals)
            generation = self._batch(source.material, bounds, known)
            stopped = course.stops(generation)
            if stopped and course.is_last and not stored:
                raise generation.failure or unusable(generation)
            self.facts = telemetry.generated(generation, models=self._runtime.settings.configured_models)
            enough = stored if stopped else stored + course.missing
            batch = self._add(generation, source, enough=enough, incomplete=stopped)
            if batch is None:
                return NotOwned()
            if batch.results:
                return Succeeded(batch.results)
            if course.took(batch.stored - stored, stopped):
                source = self._source(course)
            stored = batch.stored
            known += [card.front for card in generation.proposals]
            if self._stopping():
                return HandedBack() if attempts.hand_back(pool, attempt) else NotOwned()

    def _batch(self, material: Material, bounds: Bounds, known: list[str]) -> Generation:
        if isinstance(material, Passage):
            return ask_section(self._runtime.openrouter, material, **self._asked(), bounds=bounds, known=known)
        return ask(self._runtime.openrouter, material, **self._asked(), bounds=bounds, known=known)

    def _parts(self) -> list[Part]:
        """The sections of a long text; else one section that is the whole text or topic."""
        attempt = self._attempt
        if attempt.sections:
            return [Part(**told) for told in attempt.sections]
        stored = suggestions.count(self._runtime.pool, attempt.user_id, attempt.job_id)
        return [Part(None, 0, attempt.source_text_length or 0, stored)]

    def _source(self, course: Course) -> Source:
        payload, number = self._attempt.payload, course.number
        if not self._attempt.sections:
            return Source.whole(payload)
        assert number is not None  # noqa: S101  the job ends with its last section
        return Source.part(payload, number, course.parts[number - 1])

    def fail(self, error: Exception) -> Outcome:
        """Commit why the attempt failed; another one follows if the failure may pass and attempts are left."""
        attempt, model = self._attempt, self._attempt.payload["model"]
        known = error if isinstance(error, UpstreamError) else None
        duration_ms = round((monotonic() - self._started) * 1000)
        if known:
            models = self._runtime.settings.configured_models
            self.facts = telemetry.upstream_failed(known, model=model, models=models, seconds=duration_ms / 1000)
            failure = Failure.of(known, model=model, duration_ms=duration_ms)
        else:
            telemetry.log_failure(error)
            failure = Failure(
                code=RectoError.code,
                message=RectoError().message,
                log_code=RectoError.code,
                detail=f"unforeseen {type(error).__qualname__}",
                model=model,
                duration_ms=duration_ms,
            )
        may_pass = known is None or known.retryable
        backoff_s = self._runtime.times.backoff_s
        job = self._commit(
            lambda: attempts.fail(
                self._runtime.pool,
                attempt,
                failure,
                known.calls if known else (),
                first_call=self._call,
                retry_in_s=(lambda attempts_left: pause_s(attempts_left, known, backoff_s)) if may_pass else None,
            )
        )
        if job is None:
            return NotOwned()
        reported = known or RectoError()
        return Failed(reported, job) if job.ended else Retried(reported)

    def _add(
        self, generation: Generation, source: Source, *, enough: int, incomplete: str | None
    ) -> attempts.Batch | None:
        """Commit a generation's calls and cards; the job succeeds once ``enough`` are stored. None: it is not owned."""
        cards = [source.suggestion(card) for card in generation.proposals]
        calls, first_call = generation.completion.calls, self._call
        self._call += len(calls)
        return self._commit(
            lambda: attempts.add_batch(
                self._runtime.pool,
                self._attempt,
                cards,
                calls,
                first_call=first_call,
                enough=enough,
                dropped=generation.drops,
                incomplete=incomplete,
                language=generation.language,
                quota=self._runtime.settings.quota_generations_per_month,
                section=source.number,
                on_success=self._on_success,
            )
        )

    def _commit(self, write: Callable[[], T]) -> T:
        try:
            return self._runtime.commits.write(write, figures=self._figures())
        except Delayed:
            raise Unavailable("The database is away. The result is kept and is stored as soon as it is back.") from None

    def _figures(self) -> dict[str, object]:
        attempt = self._attempt
        return {"job_id": str(attempt.job_id), "attempt": attempt.number, "user_id": str(attempt.user_id)} | self.facts

    def _asked(self) -> dict[str, Any]:
        """What each call asks for, but its material, its bounds and the fronts that are known."""
        payload = self._attempt.payload
        count = payload.get("count") if self._attempt.kind != "deck" else None  # a deck counts over its batches
        options = Options(count, payload.get("language"), payload.get("focus"), payload.get("style", "question"))
        return {"model": payload["model"], "prompt_version": payload["prompt_version"], "options": options}


def pause_s(attempts_left: int, error: UpstreamError | None, backoff_s: float) -> float:
    """Return the seconds until the next attempt: exponential with full jitter, and not before the provider wants it."""
    begun = MAX_ATTEMPTS - attempts_left
    jittered = random.uniform(0, backoff_s * 2 ** (begun - 1))  # noqa: S311  spreads load
    asked_for_s = (error and error.retry_after_s) or 0.0
    return max(jittered, min(asked_for_s, _LONGEST_RETRY_AFTER_S))
