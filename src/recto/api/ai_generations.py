"""``/ai/…``: generations in the background, and the review of what they brought."""

from contextlib import closing
from hashlib import sha256

from flask import Blueprint, Response, g, request, url_for

from recto.api import cursors, event_streams, job_events
from recto.api.auth import require_user
from recto.api.context import parse_uuid, respond, runtime
from recto.api.idempotency import idempotent
from recto.api.job_contract import (
    AiGeneration,
    AiGenerationPage,
    AiGenerationQuery,
    ListedGeneration,
    StartedGeneration,
    StartGeneration,
    WaitQuery,
)
from recto.api.limits import limited
from recto.api.new_job import new_job
from recto.api.operation import operation
from recto.api.review_contract import ReviewSuggestion, ReviewSuggestions, Suggestion, SuggestionList, SuggestionQuery
from recto.api.waiting import looks
from recto.db import erasure, jobs, starts, suggestions
from recto.db.suggestions import Review
from recto.errors import NotFound, RateLimited

blueprint = Blueprint("ai_generations", __name__, url_prefix="/ai")
blueprint.before_request(require_user)


@blueprint.post("/generations")
@operation(
    "startAiGeneration",
    body=StartGeneration,
    answers={202: StartedGeneration},
    headers={"Location": "Where to follow the generation."},
)
@idempotent
@limited
def start() -> Response:
    """Make flashcard proposals of a source text in the background, for review.

    The answer names the generation; follow it at its address, or its `…/events`, and review what it brings.
    """
    new = new_job("review", StartGeneration.parse(request))
    quota = runtime().settings.quota_generations_per_month
    job_id = starts.create(runtime().pool, g.user.id, new, quota=quota)
    g.job_id = job_id
    location = url_for(".show", generation_id=job_id)
    return respond(StartedGeneration(generation_id=job_id), 202, Location=location)


@blueprint.get("/generations")
@operation("listAiGenerations", query=AiGenerationQuery, answers={200: AiGenerationPage})
def index() -> Response:
    """The caller's generations for review, in sessions and of decks, newest first.

    Each with its status, what it cost, and why it failed if it did.
    """
    query = AiGenerationQuery.parse(request)
    before = cursors.decode(query.cursor)[:2] if query.cursor else None
    rows = jobs.newest(runtime().pool, g.user.id, status=query.status, before=before, limit=query.limit + 1)
    shown, next_cursor = cursors.page(rows, query.limit)
    window = runtime().settings.retry_window
    return respond(
        AiGenerationPage(
            generations=[
                ListedGeneration.of(
                    row, retry_window=window, first_front=row.first_front, reviewed_count=row.reviewed_count
                )
                for row in shown
            ],
            next_cursor=next_cursor,
        )
    )


@blueprint.get("/generations/<generation_id>")
@operation(
    "getAiGeneration",
    query=WaitQuery,
    answers={200: AiGeneration, 304: None},
    errors=(NotFound,),
    headers={"ETag": "Changes with the answer."},
    request_headers={"If-None-Match": "The `ETag` of what is known."},
)
def show(generation_id: str) -> Response:
    """One generation, at once or as soon as it has ended.

    With `wait` the answer comes when it has ended or the time is over; with `If-None-Match` too, as soon as anything
    about it changed, else 304.
    """
    job_id = parse_uuid(generation_id)
    with closing(looks(job_id, WaitQuery.parse(request).wait)) as waiting:
        for is_last in waiting:
            row = jobs.find(runtime().pool, g.user.id, job_id)
            response = respond(AiGeneration.of(row, retry_window=runtime().settings.retry_window))
            response.set_etag(sha256(response.get_data()).hexdigest()[:32])
            if is_last or row.ended or (request.if_none_match and not _is_known(response)):
                break
    response.make_conditional(request)
    return response


def _is_known(response: Response) -> bool:
    tag, _ = response.get_etag()
    return tag is not None and request.if_none_match.contains_weak(tag)


@blueprint.delete("/generations/<generation_id>")
@operation("cancelAiGeneration", answers={204: None}, errors=(NotFound,))
def cancel(generation_id: str) -> Response:
    """Cancel a generation that has not ended; erase the text and the suggestions of any.

    The generation itself stays readable.
    """
    erasure.cancel(runtime().pool, g.user.id, parse_uuid(generation_id))
    return Response(status=204)


@blueprint.get("/generations/<generation_id>/events")
@operation(
    "followAiGeneration",
    answers={200: event_streams.MEDIA_TYPE},
    errors=(NotFound, RateLimited),
    request_headers={"Last-Event-ID": "The id of the last event that came: the stream goes on after it."},
)
def events(generation_id: str) -> Response:
    """A generation's suggestions as they are committed.

    Events are `suggestion`, each as in the list of suggestions, and at the end `done` with `status`, `error`,
    `dropped`, `incomplete` and `language`. Each has an id. A stream that ends without `done` was broken off: ask again,
    with `Last-Event-ID`.
    """
    return job_events.respond(parse_uuid(generation_id))


@blueprint.get("/generations/<generation_id>/suggestions")
@operation("listSuggestions", query=SuggestionQuery, answers={200: SuggestionList}, errors=(NotFound,))
def list_suggestions(generation_id: str) -> Response:
    """The suggestions of a generation, in order.

    Those of a generation that still runs are the ones that were committed so far.
    """
    status = SuggestionQuery.parse(request).status
    rows = suggestions.find(runtime().pool, g.user.id, parse_uuid(generation_id), status=status)
    return respond(SuggestionList(suggestions=[Suggestion.of(row) for row in rows]))


@blueprint.post("/generations/<generation_id>/suggestions/review")
@operation("reviewSuggestions", body=ReviewSuggestions, answers={200: SuggestionList}, errors=(NotFound,))
def review_suggestions(generation_id: str) -> Response:
    """Accept, edit or reject several suggestions, all or none.

    The answer is what the app shall save.
    """
    job_id = parse_uuid(generation_id)
    decisions = ReviewSuggestions.parse(request).reviews
    for decision in decisions:
        decision.require_bounds(runtime().bounds)
    reviews = [Review(**decision.model_dump()) for decision in decisions]
    rows = suggestions.review(runtime().pool, g.user.id, reviews, job_id=job_id)
    return respond(SuggestionList(suggestions=[Suggestion.of(row) for row in rows]))


@blueprint.patch("/suggestions/<suggestion_id>")
@operation("reviewSuggestion", body=ReviewSuggestion, answers={200: Suggestion}, errors=(NotFound,))
def review_suggestion(suggestion_id: str) -> Response:
    """Accept, edit or reject a suggestion.

    The answer is what the app shall save.
    """
    decision = ReviewSuggestion.parse(request)
    decision.require_bounds(runtime().bounds)
    review = Review(id=parse_uuid(suggestion_id), **decision.model_dump())
    (row,) = suggestions.review(runtime().pool, g.user.id, [review])
    return respond(Suggestion.of(row))
