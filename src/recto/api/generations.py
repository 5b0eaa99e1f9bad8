"""``/generations`` and ``/generation-error-logs``: make proposals, and read back what they took."""

from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from itertools import count
from typing import ParamSpec, TypeVar

from flask import Blueprint, Response, g, request

from recto import telemetry
from recto.api import contract, event_streams
from recto.api.auth import require_user
from recto.api.context import respond, runtime
from recto.api.idempotency import answer_keeper_of_stream, idempotent
from recto.api.limits import limited
from recto.api.operation import operation
from recto.db import generations
from recto.errors import NotFound, RectoError, ReviewedHere, UpstreamError
from recto.jobs import synchronous
from recto.text.generate import Audience
from recto.text.grounding import Grounding, Index
from recto.text.options import Options
from recto.text.proposals import Proposal
from recto.text.source import SourceText

P = ParamSpec("P")

Row = TypeVar("Row", generations.GenerationRow, generations.GenerationErrorLogRow)

blueprint = Blueprint("generations", __name__)
blueprint.before_request(require_user)


def in_the_form_asked_for(view: Callable[P, Response]) -> Callable[P, Response]:
    """Turn the JSON of a stored answer into events if the request asks for those."""

    @wraps(view)
    def answered(*args: P.args, **kwargs: P.kwargs) -> Response:
        response = view(*args, **kwargs)
        if response.status_code != 200 or not response.is_json or not event_streams.are_wanted():
            return response
        created = contract.CreatedGeneration.model_validate_json(response.get_data())
        events = [event_streams.event("proposal", proposal) for proposal in created.flashcards_proposals]
        events.append(event_streams.event("done", _done(created)))
        replayed = {name: response.headers[name] for name in ("Idempotent-Replayed",) if name in response.headers}
        return event_streams.respond(iter(events), **replayed)

    return answered


@blueprint.post("/generations")
@operation(
    "createGeneration",
    body=contract.CreateGeneration,
    answers={200: contract.CreatedGeneration},
    errors=(UpstreamError,),
    events="`proposal` with each of `flashcards_proposals` as soon as it is written; then `done` with `generation_id`, "
    "`generated_count`, `dropped` and `incomplete`.",
)
@in_the_form_asked_for
@idempotent
@limited
def create() -> Response:
    """Make flashcard proposals of a source text, and wait for them.

    With `Accept: text/event-stream` each proposal comes as soon as it is written. Until the first one failures are
    ordinary answers; after it the cards stay, and `done` says why there are no more.
    """
    asked = contract.CreateGeneration.parse(request)
    source = SourceText(asked.source_text)
    options = asked.options(count=asked.count, most=runtime().bounds.proposals)
    index = Index(source.text) if "grounding" in asked.include else None
    g.outcome = {}
    if event_streams.are_wanted():
        return _streamed(source, options, index)
    return respond(_created(synchronous.run(runtime(), g.user.id, source, g.outcome, options=options, index=index)))


def _streamed(source: SourceText, options: Options, index: Index | None) -> Response:
    held, user_id, facts, request_id = runtime(), g.user.id, g.outcome, g.request_id
    keep_answer = answer_keeper_of_stream()

    def generate(emit: event_streams.Emit, is_gone: Callable[[], bool]) -> None:
        shown: list[contract.FlashcardProposal] = []

        def show(proposal: Proposal) -> None:
            place = index.ground(proposal.front, proposal.back) if index else None
            shown.append(_proposal(len(shown) + 1, proposal, place))
            emit("proposal", shown[-1])

        try:
            audience = Audience(show, is_gone)
            made = synchronous.run(held, user_id, source, facts, options=options, audience=audience, index=index)
            created = _created(made)
            if keep_answer:
                keep_answer(created.model_dump_json().encode())
            done = _done(created)
        except Exception as error:
            if not shown:
                raise
            telemetry.log_failure(error)
            done = contract.GenerationDone(
                generation_id=None, generated_count=len(shown), dropped={}, incomplete=RectoError.code, language=None
            )
        emit("done", done)
        telemetry.log.info("generation_streamed", request_id=request_id, user_id=str(user_id), **facts)

    events = event_streams.run(generate, finish=keep_answer is not None)
    g.is_answer_kept = True
    return event_streams.respond(events)


def _created(made: synchronous.Generated) -> contract.CreatedGeneration:
    generation = made.generation
    proposals = list(map(_proposal, count(1), generation.proposals, made.groundings))
    return contract.CreatedGeneration(
        generation_id=made.record_id,
        flashcards_proposals=proposals,
        generated_count=len(proposals),
        dropped=dict(generation.drops),
        incomplete=generation.incomplete,
        language=made.language,
    )


def _proposal(number: int, proposal: Proposal, place: Grounding | None) -> contract.FlashcardProposal:
    written = {"temp_id": f"temp-{number}", "front": proposal.front, "back": proposal.back}
    if place is None:
        return contract.FlashcardProposal(**written)
    return contract.GroundedProposal(**written, **asdict(place))


def _done(created: contract.CreatedGeneration) -> contract.GenerationDone:
    return contract.GenerationDone.model_validate(created, from_attributes=True)


@blueprint.get("/generations")
@operation("listGenerations", query=contract.PageQuery, answers={200: contract.GenerationPage})
def index() -> Response:
    """The caller's generations, newest first.

    What each took: model, tokens, dollars, time; no texts.
    """
    page = contract.PageQuery.parse(request)
    rows = generations.newest(runtime().pool, g.user.id, before=page.cursor, limit=page.limit + 1)
    shown, next_cursor = _cut(rows, page.limit)
    return respond(contract.GenerationPage.model_validate({"generations": shown, "next_cursor": next_cursor}))


@blueprint.get("/generations/<int:generation_id>")
@operation("getGeneration", answers={200: contract.Generation}, errors=(NotFound,))
def show(generation_id: int) -> Response:
    """One of the caller's generations.

    What it took, and how many of its proposals were accepted.
    """
    row = generations.find(runtime().pool, g.user.id, generation_id)
    if row is None:
        raise NotFound("There is no such generation.")
    return respond(contract.Generation.model_validate(row))


@blueprint.patch("/generations/<int:generation_id>")
@operation(
    "reportAccepted", body=contract.ReportAccepted, answers={200: contract.Generation}, errors=(NotFound, ReviewedHere)
)
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
    """The caller's failed generations, newest first.

    Each with the provider's failure; no texts.
    """
    page = contract.PageQuery.parse(request)
    rows = generations.newest_errors(runtime().pool, g.user.id, before=page.cursor, limit=page.limit + 1)
    shown, next_cursor = _cut(rows, page.limit)
    return respond(
        contract.GenerationErrorLogPage.model_validate({"generation_error_logs": shown, "next_cursor": next_cursor})
    )


def _cut(rows: list[Row], limit: int) -> tuple[list[Row], str | None]:
    """Split off the row that was only read to learn whether there is a next page."""
    return rows[:limit], str(rows[limit - 1].id) if len(rows) > limit else None
