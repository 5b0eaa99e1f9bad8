"""``/generations`` and ``/generation-error-logs``: make proposals, and read back what they took."""

from dataclasses import replace
from time import perf_counter
from typing import TypeVar

from flask import Blueprint, Response, g, request

from recto import telemetry
from recto.api import contract
from recto.api.auth import require_user
from recto.api.context import respond, runtime
from recto.api.idempotency import idempotent
from recto.api.limits import limited
from recto.api.new_job import lease_s
from recto.db import generations, starts
from recto.db.jobs import Attempt
from recto.db.starts import NewJob
from recto.errors import NotFound, RectoError, UpstreamError
from recto.jobs.run import run
from recto.text.generate import Generation, generate
from recto.text.prompt import PROMPT_VERSION
from recto.text.source import SourceText

Row = TypeVar("Row", generations.GenerationRow, generations.GenerationErrorLogRow)

blueprint = Blueprint("generations", __name__)
blueprint.before_request(require_user)


@blueprint.post("/generations")
@idempotent
@limited
def create() -> Response:
    """Answer 200 with proposals and a record in ``generations``, or 502 with one in ``generation_error_logs``."""
    held = runtime()
    source = SourceText(contract.CreateGeneration.parse(request).source_text)
    if (quota := held.settings.quota_generations_per_month) is not None:
        return _run_counted(source, quota)
    model = held.settings.openrouter_model
    started = perf_counter()
    try:
        generation = generate(held.openrouter, source, model=model, bounds=held.bounds)
    except UpstreamError as error:
        g.outcome = telemetry.upstream_failed(error, model=model, seconds=perf_counter() - started)
        generations.record_error(held.pool, g.user.id, source, error, model=model)
        raise
    g.outcome = telemetry.generated(generation)
    generation_id = generations.record(held.pool, g.user.id, source, generation)
    return _created(generation_id, generation)


def _run_counted(source: SourceText, quota: int) -> Response:
    """The same, counted against a quota: a job stands for the generation while it is in flight, without its text."""
    held = runtime()
    payload = {"model": held.settings.openrouter_model, "prompt_version": PROMPT_VERSION}
    new = NewJob("synchronous", payload, source.hash, source.length)
    attempt = starts.begin(held.pool, g.user.id, new, quota=quota, lease_s=lease_s())
    assert isinstance(attempt, Attempt)  # noqa: S101  it has no idempotency key of its own
    outcome = run(held, replace(attempt, payload=payload | {"source_text": source.text}))
    g.outcome = outcome.facts
    if outcome.generation is None or outcome.generation_id is None:
        raise outcome.error or RectoError
    return _created(outcome.generation_id, outcome.generation)


def _created(generation_id: int, generation: Generation) -> Response:
    return respond(
        contract.CreatedGeneration(
            generation_id=generation_id,
            flashcards_proposals=[
                contract.FlashcardProposal(temp_id=f"temp-{number}", front=proposal.front, back=proposal.back)
                for number, proposal in enumerate(generation.proposals, 1)
            ],
            generated_count=len(generation.proposals),
        )
    )


@blueprint.get("/generations")
def index() -> Response:
    """Answer with the caller's generations, newest first."""
    page = contract.PageQuery.parse(request)
    rows = generations.newest(runtime().pool, g.user.id, before=page.cursor, limit=page.limit + 1)
    shown, next_cursor = _cut(rows, page.limit)
    return respond(contract.GenerationPage.model_validate({"generations": shown, "next_cursor": next_cursor}))


@blueprint.get("/generations/<int:generation_id>")
def show(generation_id: int) -> Response:
    """Answer with one generation of the caller's; 404 for anybody else's."""
    row = generations.find(runtime().pool, g.user.id, generation_id)
    if row is None:
        raise NotFound("There is no such generation.")
    return respond(contract.Generation.model_validate(row))


@blueprint.get("/generation-error-logs")
def error_logs() -> Response:
    """Answer with the caller's failed generations, newest first."""
    page = contract.PageQuery.parse(request)
    rows = generations.newest_errors(runtime().pool, g.user.id, before=page.cursor, limit=page.limit + 1)
    shown, next_cursor = _cut(rows, page.limit)
    return respond(
        contract.GenerationErrorLogPage.model_validate({"generation_error_logs": shown, "next_cursor": next_cursor})
    )


def _cut(rows: list[Row], limit: int) -> tuple[list[Row], str | None]:
    """Split off the row that was only read to learn whether there is a next page."""
    return rows[:limit], str(rows[limit - 1].id) if len(rows) > limit else None
