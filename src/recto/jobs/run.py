"""Run one attempt of a job: inputs → pipeline → results, or a diagnosis."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from time import monotonic, sleep
from typing import Any, Literal, TypeVar

import psycopg
from psycopg_pool import PoolTimeout

from recto import telemetry
from recto.db import attempts, suggestions
from recto.db.attempts import Diagnosis, Pair
from recto.db.jobs import MAX_ATTEMPTS, Attempt
from recto.errors import RectoError, UpstreamError
from recto.runtime import WorkerRuntime
from recto.text.generate import Generation, ask, generate, unusable
from recto.text.proposals import Proposal, comparable
from recto.text.source import SourceText, Topic

T = TypeVar("T")

# Between two attempts: up to 2 s, then up to 4 s; what the provider asks for is waited for, within reason.
_BACKOFF_S = 2.0
_LONGEST_RETRY_AFTER_S = 120.0

# A completion is paid for: a database that is just restarting shall not cost it.
_COMMIT_PATIENCE_S = 30.0
_COMMIT_PAUSE_S = 0.5

# The longest card allowed takes about this many tokens, at four characters a token and with its JSON.
_CHARACTERS_A_TOKEN = 4
_TOKENS_AROUND_A_CARD = 12

# A model that brings nothing new this many times in a row has no more to say.
_BARREN_BATCHES = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. ``error`` is set when it failed, whether it is retried or was the last.

    ``lost``: its job was canceled or taken over in the meantime; the results are dropped, the costs kept.
    ``generation_id`` is the key in ``generations`` of one that succeeded; ``facts`` are for the log line.
    """

    name: Literal["succeeded", "failed", "retried", "handed_back", "lost"]
    facts: dict[str, object]
    error: RectoError | None = None
    generation: Generation | None = None
    generation_id: int | None = None


def run(runtime: WorkerRuntime, attempt: Attempt, *, stopping: Callable[[], bool] = lambda: False) -> Outcome:
    """Run the attempt to its end and commit what came of it.

    A failure that may pass is queued again while attempts are left. A deck is handed back between two batches when
    ``stopping()``. Raises ``psycopg.Error`` if nothing could be committed.
    """
    started = monotonic()
    try:
        outcome = _deck(runtime, attempt, stopping) if attempt.kind == "deck" else _single(runtime, attempt)
    except (psycopg.Error, PoolTimeout):
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, the job must not hang
        outcome = _fail(runtime, attempt, error, duration_ms=round((monotonic() - started) * 1000))
    telemetry.attempt_ended(attempt.kind, outcome.name)
    return outcome


def _single(runtime: WorkerRuntime, attempt: Attempt) -> Outcome:
    generation = generate(runtime.openrouter, **_inputs(attempt), bounds=runtime.bounds)
    return _succeed(runtime, attempt, generation, telemetry.generated(generation))


def _succeed(runtime: WorkerRuntime, attempt: Attempt, generation: Generation, facts: dict[str, object]) -> Outcome:
    row = _committed(lambda: attempts.succeed(runtime.pool, attempt, _pairs(generation), generation))
    return Outcome("lost" if row is None else "succeeded", facts, generation=generation, generation_id=row)


def _deck(runtime: WorkerRuntime, attempt: Attempt, stopping: Callable[[], bool]) -> Outcome:
    """Ask batch by batch; each is committed before the next, so that what there is survives any failure."""
    assert attempt.deck_id is not None  # noqa: S101  a deck's job has one
    pool, inputs = runtime.pool, _inputs(attempt)
    missing = attempt.payload["count"] - suggestions.count_of_generation(pool, attempt.user_id, attempt.job_id)
    begun = missing < attempt.payload["count"]
    known = [*attempt.payload["banlist"], *suggestions.fronts_of_deck(pool, attempt.user_id, attempt.deck_id)]
    barren = 0
    while True:
        bounds = replace(runtime.bounds, proposals=min(missing, _batch_size(runtime)))
        generation = ask(runtime.openrouter, **inputs, bounds=bounds, known=known)
        facts = telemetry.generated(generation)
        pairs = _pairs(generation)
        missing -= len(pairs)
        known += [pair.front for pair in pairs]
        begun = begun or bool(pairs)
        barren = 0 if pairs else barren + 1
        if barren >= _BARREN_BATCHES and not begun:
            raise unusable(generation)
        if missing <= 0 or barren >= _BARREN_BATCHES:
            return _succeed(runtime, attempt, generation, facts)
        if not _committed(lambda: attempts.add_pairs(pool, attempt, pairs, generation)):  # noqa: B023  called at once
            return Outcome("lost", facts)
        if stopping():
            return Outcome("handed_back" if attempts.hand_back(pool, attempt) else "lost", facts)


def _batch_size(runtime: WorkerRuntime) -> int:
    """Return how many cards of the greatest length fit one completion, but no more than a generation may have."""
    longest = (runtime.bounds.front + runtime.bounds.back) // _CHARACTERS_A_TOKEN + _TOKENS_AROUND_A_CARD
    return max(1, min(runtime.bounds.proposals, runtime.settings.openrouter_max_tokens // longest))


def _inputs(attempt: Attempt) -> dict[str, Any]:
    payload = attempt.payload
    material = SourceText(payload["source_text"]) if "source_text" in payload else Topic(payload["topic"])
    return {"material": material, "model": payload["model"], "prompt_version": payload["prompt_version"]}


def _pairs(generation: Generation) -> list[Pair]:
    return [Pair(card.front, card.back, _front_hash(card)) for card in generation.proposals]


def _front_hash(card: Proposal) -> str:
    return sha256(comparable(card.front).encode()).hexdigest()


def _committed(write: Callable[[], T]) -> T:
    """Write, patiently while the database is away."""
    give_up = monotonic() + _COMMIT_PATIENCE_S
    while True:
        try:
            return write()
        except (psycopg.OperationalError, PoolTimeout):
            if monotonic() > give_up:
                raise
            sleep(_COMMIT_PAUSE_S)


def _fail(runtime: WorkerRuntime, attempt: Attempt, error: Exception, *, duration_ms: int) -> Outcome:
    model = attempt.payload["model"]
    known = error if isinstance(error, UpstreamError) else None
    facts: dict[str, object] = {}
    if known:
        facts = telemetry.upstream_failed(known, model=model, seconds=duration_ms / 1000)
        diagnosis = Diagnosis(
            code=known.code,
            message=known.message,
            log_code=known.log_code,
            detail=known.detail,
            model=known.model or model,
            upstream_status=known.upstream_status,
            request_id=known.request_id,
            duration_ms=duration_ms,
            tokens_input=known.tokens_input,
            tokens_output=known.tokens_output,
            cost_usd=known.cost_usd,
        )
    else:
        telemetry.log_failure(error)
        diagnosis = Diagnosis(
            code=RectoError.code,
            message=RectoError().message,
            log_code=RectoError.code,
            detail=f"unforeseen {type(error).__qualname__}",
            model=model,
            duration_ms=duration_ms,
        )
    may_retry = attempt.attempts_left > 0 and (known is None or known.retryable)
    retry_in_s = _backoff_s(attempt, known) if may_retry else None
    if not _committed(lambda: attempts.fail(runtime.pool, attempt, diagnosis, retry_in_s=retry_in_s)):
        return Outcome("lost", facts)
    return Outcome("failed" if retry_in_s is None else "retried", facts, error=known or RectoError())


def _backoff_s(attempt: Attempt, error: UpstreamError | None) -> float:
    """Exponential with full jitter, but not before the provider wants to be asked again."""
    begun = MAX_ATTEMPTS - attempt.attempts_left
    jittered = random.uniform(0, _BACKOFF_S * 2 ** (begun - 1))  # noqa: S311  spreads load
    asked_for_s = (error and error.retry_after_s) or 0.0
    return max(jittered, min(asked_for_s, _LONGEST_RETRY_AFTER_S))
