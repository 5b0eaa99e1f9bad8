"""``/ai/…``: generations in the background, and the review of what they brought."""

from contextlib import nullcontext
from hashlib import sha256
from threading import Event
from time import monotonic

from flask import Blueprint, Response, g, request, url_for

from recto.api.auth import require_user
from recto.api.context import parse_uuid, respond, runtime
from recto.api.idempotency import idempotent
from recto.api.job_contract import (
    AiGeneration,
    AiGenerationPage,
    AiGenerationQuery,
    ReviewSuggestion,
    ReviewSuggestions,
    StartedGeneration,
    StartGeneration,
    Suggestion,
    SuggestionList,
    SuggestionQuery,
    WaitQuery,
)
from recto.api.limits import limited
from recto.api.new_job import new_job
from recto.db import jobs, starts, suggestions
from recto.db.suggestions import Review

# A notification may be lost, with its connection or behind a transaction pooler.
_LOOK_EVERY_S = 5.0

blueprint = Blueprint("ai_generations", __name__, url_prefix="/ai")
blueprint.before_request(require_user)


@blueprint.post("/generations")
@idempotent
@limited
def start() -> Response:
    """Queue a generation and answer 202 with its id."""
    new = new_job("review", StartGeneration.parse(request))
    quota = runtime().settings.quota_generations_per_month
    job_id = starts.create(runtime().pool, g.user.id, new, quota=quota)
    location = url_for(".show", generation_id=job_id)
    return respond(StartedGeneration(generation_id=job_id), 202, Location=location)


@blueprint.get("/generations")
def index() -> Response:
    """Answer with the caller's generations, newest first."""
    query = AiGenerationQuery.parse(request)
    rows = jobs.newest(runtime().pool, g.user.id, status=query.status, before=query.before, limit=query.limit + 1)
    shown = rows[: query.limit]
    window = runtime().settings.retry_window
    return respond(
        AiGenerationPage(
            generations=[AiGeneration.of(row, retry_window=window) for row in shown],
            next_cursor=query.cursor_after(shown[-1]) if len(rows) > len(shown) else None,
        )
    )


@blueprint.get("/generations/<generation_id>")
def show(generation_id: str) -> Response:
    """Answer with one generation, at once or as soon as it has ended or changed."""
    job_id = parse_uuid(generation_id)
    wait_s = WaitQuery.parse(request).wait
    give_up = monotonic() + wait_s
    with runtime().changes.of(job_id) if wait_s else nullcontext(Event()) as changed:
        while True:
            changed.clear()
            row = jobs.find(runtime().pool, g.user.id, job_id)
            response = respond(AiGeneration.of(row, retry_window=runtime().settings.retry_window))
            response.set_etag(sha256(response.get_data()).hexdigest()[:32])
            left_s = give_up - monotonic()
            if row.ended or left_s <= 0 or (request.if_none_match and not _is_known(response)):
                response.make_conditional(request)
                return response
            changed.wait(min(left_s, _LOOK_EVERY_S))


def _is_known(response: Response) -> bool:
    tag, _ = response.get_etag()
    return tag is not None and request.if_none_match.contains_weak(tag)


@blueprint.delete("/generations/<generation_id>")
def cancel(generation_id: str) -> Response:
    """Cancel a generation that has not ended, and erase the text and the suggestions of any."""
    jobs.cancel(runtime().pool, g.user.id, parse_uuid(generation_id))
    return Response(status=204)


@blueprint.get("/generations/<generation_id>/suggestions")
def list_suggestions(generation_id: str) -> Response:
    """Answer with the suggestions of a generation, in order."""
    status = SuggestionQuery.parse(request).status
    rows = suggestions.of_generation(runtime().pool, g.user.id, parse_uuid(generation_id), status=status)
    return respond(SuggestionList.model_validate({"suggestions": rows}))


@blueprint.post("/generations/<generation_id>/suggestions/review")
def review_suggestions(generation_id: str) -> Response:
    """Note decisions on several suggestions, and answer with what the app shall save."""
    job_id = parse_uuid(generation_id)
    reviews = [Review(**review.model_dump()) for review in ReviewSuggestions.parse(request).reviews]
    rows = suggestions.review(runtime().pool, g.user.id, reviews, generation_id=job_id)
    return respond(SuggestionList.model_validate({"suggestions": rows}))


@blueprint.patch("/suggestions/<suggestion_id>")
def review_suggestion(suggestion_id: str) -> Response:
    """Note a decision on one suggestion, and answer with what the app shall save."""
    review = Review(id=parse_uuid(suggestion_id), **ReviewSuggestion.parse(request).model_dump())
    (row,) = suggestions.review(runtime().pool, g.user.id, [review])
    return respond(Suggestion.model_validate(row))
