"""``/generations`` and ``/generation-error-logs``: make proposals, and read back what they took."""

from time import perf_counter
from typing import TypeVar

from flask import Blueprint, Response, current_app, g, request
from pydantic import BaseModel

from recto import telemetry
from recto.api import contract
from recto.api.auth import require_user
from recto.api.limits import limited
from recto.db import generations
from recto.errors import NotFound, UpstreamError
from recto.runtime import Runtime
from recto.text.generate import generate
from recto.text.source import SourceText

Row = TypeVar("Row", generations.GenerationRow, generations.GenerationErrorLogRow)

blueprint = Blueprint("generations", __name__)
blueprint.before_request(require_user)


@blueprint.post("/generations")
@limited
def create() -> Response:
    """Answer 200 with proposals and a record in ``generations``, or 502 with one in ``generation_error_logs``."""
    runtime = _runtime()
    source = SourceText(contract.CreateGeneration.parse(request).source_text)
    model = runtime.settings.openrouter_model
    started = perf_counter()
    try:
        generation = generate(runtime.openrouter, source, model=model, bounds=runtime.bounds)
    except UpstreamError as error:
        g.outcome = telemetry.upstream_failed(error, model=model, seconds=perf_counter() - started)
        generations.record_error(runtime.pool, g.user.id, source, error, model=model)
        raise
    g.outcome = telemetry.generated(generation)
    generation_id = generations.record(runtime.pool, g.user.id, source, generation)
    return _json(
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
    rows = generations.newest(_runtime().pool, g.user.id, before=page.cursor, limit=page.limit + 1)
    shown, next_cursor = _cut(rows, page.limit)
    return _json(contract.GenerationPage.model_validate({"generations": shown, "next_cursor": next_cursor}))


@blueprint.get("/generations/<int:generation_id>")
def show(generation_id: int) -> Response:
    """Answer with one generation of the caller's; 404 for anybody else's."""
    row = generations.find(_runtime().pool, g.user.id, generation_id)
    if row is None:
        raise NotFound("There is no such generation.")
    return _json(contract.Generation.model_validate(row))


@blueprint.get("/generation-error-logs")
def error_logs() -> Response:
    """Answer with the caller's failed generations, newest first."""
    page = contract.PageQuery.parse(request)
    rows = generations.newest_errors(_runtime().pool, g.user.id, before=page.cursor, limit=page.limit + 1)
    shown, next_cursor = _cut(rows, page.limit)
    return _json(
        contract.GenerationErrorLogPage.model_validate({"generation_error_logs": shown, "next_cursor": next_cursor})
    )


def _cut(rows: list[Row], limit: int) -> tuple[list[Row], str | None]:
    """Split off the row that was only read to learn whether there is a next page."""
    return rows[:limit], str(rows[limit - 1].id) if len(rows) > limit else None


def _json(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), mimetype="application/json")


def _runtime() -> Runtime:
    runtime: Runtime = current_app.extensions["recto"]
    return runtime
