"""``/sessions/ai``: generations that are waited for, kept for review, and retried when they failed."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Blueprint, Response, g, request

from recto.api.auth import require_user
from recto.api.context import parse_uuid, respond, runtime
from recto.api.errors import failure
from recto.api.idempotency import answer_keeper, idempotent
from recto.api.job_contract import (
    AiGeneration,
    CreatedSession,
    FailedGeneration,
    Meta,
    RetriedGeneration,
    ReviewSession,
    StartGeneration,
)
from recto.api.limits import limited
from recto.api.new_job import lease, new_job
from recto.api.operation import operation
from recto.api.review_contract import Suggestion
from recto.api.usage_contract import Usage
from recto.db import jobs, starts, suggestions, usage
from recto.db.claims import Attempt
from recto.db.jobs import JobRow
from recto.db.suggestions import SuggestionRow
from recto.db.usage import Usage as UsageRow
from recto.errors import AlreadySucceeded, Expired, InProgress, NotFound, RectoError, UpstreamError
from recto.jobs.outcomes import Failed, Succeeded
from recto.jobs.run import run

blueprint = Blueprint("sessions", __name__, url_prefix="/sessions/ai")
blueprint.before_request(require_user)


@blueprint.post("")
@operation(
    "createSession",
    body=StartGeneration,
    answers={200: CreatedSession, 502: FailedGeneration},
    errors=(Expired, UpstreamError),
)
@idempotent
@limited
def create() -> Response:
    """Make flashcard proposals for review, and wait for them.

    They are kept until they are reviewed. Of a failure the 502 names the generation, which can be retried.
    """
    new = new_job("session", StartGeneration.parse(request))
    quota = runtime().settings.quota_generations_per_month
    begun = starts.begin(runtime().pool, g.user.id, new, quota=quota, lease=lease())
    return _run(begun) if isinstance(begun, Attempt) else _answer_again(begun)


@blueprint.post("/<generation_id>/retry")
@operation(
    "retryGeneration",
    answers={200: CreatedSession, 202: RetriedGeneration, 502: FailedGeneration},
    errors=(NotFound, AlreadySucceeded, Expired, UpstreamError),
    headers={"Preference-Applied": "`respond-async`, if it was preferred."},
    request_headers={"Prefer": "`respond-async`: have it run in the background."},
)
@idempotent
@limited
def retry(generation_id: str) -> Response:
    """Run a failed generation again, from its stored inputs.

    The answer waits for it, unless `Prefer: respond-async` is sent or it is a deck's: then it runs in the background.
    """
    job_id = parse_uuid(generation_id)
    respond_async = any(
        preference.strip() == "respond-async" for preference in request.headers.get("Prefer", "").split(",")
    )
    settings = runtime().settings
    begun = starts.retry(
        runtime().pool,
        g.user.id,
        job_id,
        window=settings.retry_window,
        quota=settings.quota_generations_per_month,
        lease=None if respond_async else lease(),
    )
    if isinstance(begun, Attempt):
        return _run(begun)
    generation = AiGeneration.of(begun, retry_window=settings.retry_window)
    headers = {"Preference-Applied": "respond-async"} if respond_async else {}
    return respond(RetriedGeneration(generation=generation), 202, **headers)


def _run(attempt: Attempt) -> Response:
    g.job_id = attempt.job_id
    window = runtime().settings.retry_window
    keep = answer_keeper(attempt.job_id, lambda results: _created(window, *results))
    outcome, facts = run(runtime(), attempt, on_success=keep)
    g.outcome = facts | {"job_id": str(attempt.job_id)}
    match outcome:
        case Succeeded(results):
            g.is_answer_kept = True
            return _created(window, *results)
        case Failed(error, job):
            wait_s = _retry_after_s(job, error.retry_after_s)
            return failure(error, retry_after_s=wait_s, generation_id=str(attempt.job_id))
    job = jobs.find(runtime().pool, g.user.id, attempt.job_id)
    if job.status == "canceled":
        raise Expired("This generation was canceled while it ran.")
    # This process was silent for longer than its lease, so that the attempt counts as abandoned.
    return failure(RectoError(), retry_after_s=_retry_after_s(job, None), generation_id=str(attempt.job_id))


def _retry_after_s(job: JobRow, asked_for_s: float | None) -> float | None:
    """Return the seconds until a retry is accepted and the provider wants to be asked again; None if none ever is."""
    retry_at = job.retry_at(runtime().settings.retry_window)
    if retry_at is None:
        return None
    return max((retry_at - datetime.now(UTC)).total_seconds(), asked_for_s or 0)


def _answer_again(job_id: UUID) -> Response:
    """Answer a repeated request, whose first answer was lost, with what is stored."""
    pool, settings = runtime().pool, runtime().settings
    job = jobs.find(pool, g.user.id, job_id)
    if not job.ended:
        raise InProgress
    g.job_id = job_id
    quota = usage.find(pool, g.user.id, settings.quota_generations_per_month)
    return _created(settings.retry_window, job, suggestions.find(pool, g.user.id, job_id), quota)


def _created(retry_window: timedelta, job: JobRow, proposals: list[SuggestionRow], quota: UsageRow | None) -> Response:
    return respond(
        CreatedSession(
            session=ReviewSession(id=job.session_id or job.id, proposals=[Suggestion.of(row) for row in proposals]),
            generation=AiGeneration.of(job, retry_window=retry_window),
            meta=Meta(quota=Usage.model_validate(quota)),
        )
    )
