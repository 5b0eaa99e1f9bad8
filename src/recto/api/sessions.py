"""``/sessions/ai``: generations that are waited for, kept for review, and retried when they failed."""

from datetime import UTC, datetime
from uuid import UUID

from flask import Blueprint, Response, g, request

from recto.api.auth import require_user
from recto.api.context import parse_uuid, respond, runtime
from recto.api.idempotency import idempotent
from recto.api.job_contract import (
    AiGeneration,
    CreatedSession,
    Meta,
    RetriedGeneration,
    ReviewSession,
    StartGeneration,
    Suggestion,
    Usage,
)
from recto.api.limits import limited
from recto.api.new_job import lease_s, new_job
from recto.db import jobs, starts, suggestions, usage
from recto.db.jobs import Attempt
from recto.errors import Expired, InProgress
from recto.jobs.run import run

blueprint = Blueprint("sessions", __name__, url_prefix="/sessions/ai")
blueprint.before_request(require_user)


@blueprint.post("")
@idempotent
@limited
def create() -> Response:
    """Answer 200 with proposals under review, or 502 with the id under which the generation can be retried."""
    new = new_job("session", StartGeneration.parse(request))
    quota = runtime().settings.quota_generations_per_month
    begun = starts.begin(runtime().pool, g.user.id, new, quota=quota, lease_s=lease_s())
    return _run(begun) if isinstance(begun, Attempt) else _answer(begun)


@blueprint.post("/<generation_id>/retry")
@idempotent
@limited
def retry(generation_id: str) -> Response:
    """Run a failed generation anew from its stored inputs: here, or in the background if so preferred or a deck's."""
    job_id = parse_uuid(generation_id)
    respond_async = any(
        preference.strip() == "respond-async" for preference in request.headers.get("Prefer", "").split(",")
    )
    attempt = starts.retry(
        runtime().pool,
        g.user.id,
        job_id,
        window=runtime().settings.retry_window,
        quota=runtime().settings.quota_generations_per_month,
        lease_s=None if respond_async else lease_s(),
    )
    if attempt is not None:
        return _run(attempt)
    row = jobs.find(runtime().pool, g.user.id, job_id)
    generation = AiGeneration.of(row, retry_window=runtime().settings.retry_window)
    headers = {"Preference-Applied": "respond-async"} if respond_async else {}
    return respond(RetriedGeneration(generation=generation), 202, **headers)


def _run(attempt: Attempt) -> Response:
    outcome = run(runtime(), attempt)
    g.outcome = outcome.facts | {"job_id": str(attempt.job_id)}
    if (error := outcome.error) is not None:
        error.details["generation_id"] = str(attempt.job_id)
        error.retry_after_s = _retry_after_s(attempt.job_id, error.retry_after_s)
        raise error
    if outcome.name == "lost":
        raise Expired("This generation was canceled while it ran.")
    return _answer(attempt.job_id)


def _retry_after_s(job_id: UUID, asked_for_s: float | None) -> float | None:
    """Return when a retry will be taken, and not before the provider wants to be asked; None if it never will."""
    retry_at = jobs.find(runtime().pool, g.user.id, job_id).retry_at(runtime().settings.retry_window)
    if retry_at is None:
        return None
    return max((retry_at - datetime.now(UTC)).total_seconds(), asked_for_s or 0)


def _answer(job_id: UUID) -> Response:
    """Answer with what is stored: a session's request that is repeated by its key gets the first one's results."""
    pool, settings = runtime().pool, runtime().settings
    row = jobs.find(pool, g.user.id, job_id)
    if row.status in ("pending", "running"):
        raise InProgress
    generation = AiGeneration.of(row, retry_window=settings.retry_window)
    proposals = [Suggestion.model_validate(card) for card in suggestions.of_generation(pool, g.user.id, job_id)]
    quota = Usage.model_validate(usage.read(pool, g.user.id, settings.quota_generations_per_month))
    return respond(
        CreatedSession(
            session=ReviewSession(id=row.session_id or row.id, proposals=proposals),
            generation=generation,
            meta=Meta(quota=quota),
        )
    )
