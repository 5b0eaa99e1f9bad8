"""Run one attempt of a job: inputs → pipeline → results, or why it failed."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
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
from recto.db.suggestions import NewSuggestion
from recto.errors import RectoError, Unavailable, UpstreamError
from recto.jobs.outcomes import Failed, HandedBack, NotOwned, Outcome, Retried, Succeeded
from recto.runtime import WorkerRuntime
from recto.text.generate import MODEL_STOPPED, Generation, ask, generate, unusable
from recto.text.grounding import Grounding, Index
from recto.text.options import Options
from recto.text.proposals import Proposal, comparable
from recto.text.source import SourceText, Topic

T = TypeVar("T")

# What the provider asks for is waited for, within reason.
_LONGEST_RETRY_AFTER_S = 120.0

# The longest card allowed takes about this many tokens, at four characters a token and with its JSON.
_CHARACTERS_A_TOKEN = 4
_TOKENS_AROUND_A_CARD = 12

# A model that brings nothing new this many times in a row has no more to say.
_BATCHES_WITHOUT_NEWS = 2


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
        generation = generate(self._runtime.openrouter, **self._inputs(), bounds=self._runtime.bounds)
        self.facts = telemetry.generated(generation, models=self._runtime.settings.configured_models)
        batch = self._add(generation, enough=1, incomplete=generation.incomplete)
        return Succeeded(batch.results) if batch and batch.results else NotOwned()

    def deck(self) -> Outcome:
        """Ask batch by batch; each is committed before the next, so that what there is survives any failure."""
        pool, attempt, inputs = self._runtime.pool, self._attempt, self._inputs()
        assert attempt.deck_id is not None  # noqa: S101  a deck's job has one
        wanted = attempt.payload["count"]
        stored = suggestions.count(pool, attempt.user_id, attempt.job_id)
        known = [*attempt.payload["banlist"], *suggestions.fronts_of_deck(pool, attempt.user_id, attempt.deck_id)]
        without_news = 0
        while True:
            if self._call > 1 and not attempts.begin_call(pool, attempt, self._call):
                return NotOwned()
            bounds = replace(self._runtime.bounds, proposals=min(wanted - stored, _batch_size(self._runtime)))
            generation = ask(self._runtime.openrouter, **inputs, bounds=bounds, known=known)
            last = without_news + (not generation.proposals) >= _BATCHES_WITHOUT_NEWS
            if last and not stored:
                raise unusable(generation)
            self.facts = telemetry.generated(generation, models=self._runtime.settings.configured_models)
            incomplete = MODEL_STOPPED if last else None
            batch = self._add(generation, enough=stored if last else wanted, incomplete=incomplete)
            if batch is None:
                return NotOwned()
            if batch.results:
                return Succeeded(batch.results)
            without_news = 0 if batch.stored > stored else without_news + 1
            stored = batch.stored
            known += [card.front for card in generation.proposals]
            if self._stopping():
                return HandedBack() if attempts.hand_back(pool, attempt) else NotOwned()

    def fail(self, error: Exception) -> Outcome:
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

    def _add(self, generation: Generation, *, enough: int, incomplete: str | None) -> attempts.Batch | None:
        cards = [
            NewSuggestion(card.front, card.back, _front_hash(card.front), self._ground(card))
            for card in generation.proposals
        ]
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
                on_success=self._on_success,
            )
        )

    @cached_property
    def _index(self) -> Index | None:
        material = self._inputs()["material"]
        return Index(material.text) if isinstance(material, SourceText) else None

    def _ground(self, card: Proposal) -> Grounding | None:
        return self._index.ground(card.front, card.back) if self._index else None

    def _commit(self, write: Callable[[], T]) -> T:
        try:
            return self._runtime.commits.write(write, figures=self._figures())
        except Delayed:
            raise Unavailable("The database is away. The result is kept and is stored as soon as it is back.") from None

    def _figures(self) -> dict[str, object]:
        attempt = self._attempt
        return {"job_id": str(attempt.job_id), "attempt": attempt.number, "user_id": str(attempt.user_id)} | self.facts

    def _inputs(self) -> dict[str, Any]:
        payload = self._attempt.payload
        material = SourceText(payload["source_text"]) if "source_text" in payload else Topic(payload["topic"])
        count = payload.get("count") if self._attempt.kind != "deck" else None  # a deck counts over its batches
        options = Options(count, payload.get("language"), payload.get("focus"), payload.get("style", "question"))
        return {
            "material": material,
            "model": payload["model"],
            "prompt_version": payload["prompt_version"],
            "options": options,
        }


def _batch_size(runtime: WorkerRuntime) -> int:
    """Return how many cards of the greatest length fit one completion, but no more than a generation may have."""
    longest = (runtime.bounds.front + runtime.bounds.back) // _CHARACTERS_A_TOKEN + _TOKENS_AROUND_A_CARD
    return max(1, min(runtime.bounds.proposals, runtime.settings.openrouter_max_tokens // longest))


def _front_hash(front: str) -> str:
    return sha256(comparable(front).encode()).hexdigest()


def pause_s(attempts_left: int, error: UpstreamError | None, backoff_s: float) -> float:
    """Return the seconds until the next attempt: exponential with full jitter, and not before the provider wants it."""
    begun = MAX_ATTEMPTS - attempts_left
    jittered = random.uniform(0, backoff_s * 2 ** (begun - 1))  # noqa: S311  spreads load
    asked_for_s = (error and error.retry_after_s) or 0.0
    return max(jittered, min(asked_for_s, _LONGEST_RETRY_AFTER_S))
