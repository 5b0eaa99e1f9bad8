"""``/generations`` and ``/generation-error-logs``: make proposals, and read back what they took."""

from typing import TypeVar

from flask import Blueprint, Response, g, request

from recto.api import contract
from recto.api.auth import require_user
from recto.api.context import respond, runtime
from recto.api.idempotency import idempotent
from recto.api.limits import limited
from recto.api.operation import operation
from recto.db import generations
from recto.errors import NotFound
from recto.jobs import synchronous
from recto.text.source import SourceText

Row = TypeVar("Row", generations.GenerationRow, generations.GenerationErrorLogRow)

blueprint = Blueprint("generations", __name__)
blueprint.before_request(require_user)


@blueprint.post("/generations")
@operation("createGeneration", body=contract.CreateGeneration, answers={200: contract.CreatedGeneration}, errors=(502,))
@idempotent
@limited
def create() -> Response:
    """Make flashcard proposals of a source text, and wait for them."""
    source = SourceText(contract.CreateGeneration.parse(request).source_text)
    g.outcome = {}
    made = synchronous.run(runtime(), g.user.id, source, g.outcome)
    proposals = made.generation.proposals
    return respond(
        contract.CreatedGeneration(
            generation_id=made.record_id,
            flashcards_proposals=[
                contract.FlashcardProposal(temp_id=f"temp-{number}", front=proposal.front, back=proposal.back)
                for number, proposal in enumerate(proposals, 1)
            ],
            generated_count=len(proposals),
        )
    )


@blueprint.get("/generations")
@operation("listGenerations", query=contract.PageQuery, answers={200: contract.GenerationPage})
def index() -> Response:
    """The caller's generations, newest first."""
    page = contract.PageQuery.parse(request)
    rows = generations.newest(runtime().pool, g.user.id, before=page.cursor, limit=page.limit + 1)
    shown, next_cursor = _cut(rows, page.limit)
    return respond(contract.GenerationPage.model_validate({"generations": shown, "next_cursor": next_cursor}))


@blueprint.get("/generations/<int:generation_id>")
@operation("getGeneration", answers={200: contract.Generation}, errors=(404,))
def show(generation_id: int) -> Response:
    """One of the caller's generations."""
    row = generations.find(runtime().pool, g.user.id, generation_id)
    if row is None:
        raise NotFound("There is no such generation.")
    return respond(contract.Generation.model_validate(row))


@blueprint.patch("/generations/<int:generation_id>")
@operation("reportAccepted", body=contract.ReportAccepted, answers={200: contract.Generation}, errors=(404, 409))
def report_accepted(generation_id: int) -> Response:
    """Report how many of a generation's proposals the learner accepted.

    A later report replaces an earlier one. Suggestions that are reviewed under `/ai` count by themselves.
    """
    report = contract.ReportAccepted.parse(request)
    row = generations.report_accepted(
        runtime().pool,
        g.user.id,
        generation_id,
        unedited=report.accepted_unedited_count,
        edited=report.accepted_edited_count,
    )
    return respond(contract.Generation.model_validate(row))


@blueprint.get("/generation-error-logs")
@operation("listGenerationErrorLogs", query=contract.PageQuery, answers={200: contract.GenerationErrorLogPage})
def error_logs() -> Response:
    """The caller's failed generations, newest first."""
    page = contract.PageQuery.parse(request)
    rows = generations.newest_errors(runtime().pool, g.user.id, before=page.cursor, limit=page.limit + 1)
    shown, next_cursor = _cut(rows, page.limit)
    return respond(
        contract.GenerationErrorLogPage.model_validate({"generation_error_logs": shown, "next_cursor": next_cursor})
    )


def _cut(rows: list[Row], limit: int) -> tuple[list[Row], str | None]:
    """Split off the row that was only read to learn whether there is a next page."""
    return rows[:limit], str(rows[limit - 1].id) if len(rows) > limit else None
