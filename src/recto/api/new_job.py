"""From a request's body to a job."""

from uuid import UUID

from flask import g

from recto.api.context import runtime
from recto.api.job_contract import StartDeckGeneration, StartGeneration
from recto.db.starts import NewJob
from recto.errors import InvalidRequest
from recto.text import prompt
from recto.text.source import SourceText, Topic

# What a process of the API may take for a job beyond the provider's deadline, before the job counts as lost.
_LEASE_MARGIN_S = 60.0


def new_job(kind: str, body: StartGeneration | StartDeckGeneration, deck_id: UUID | None = None) -> NewJob:
    """Check what the body asks for. Raises ``InvalidRequest`` that names what is allowed."""
    settings = runtime().settings
    model = body.model or settings.openrouter_model
    if model not in settings.models:
        raise InvalidRequest(f"model: not allowed here; allowed are {', '.join(settings.models)}.")
    version = prompt.require_version(body.prompt_version or prompt.PROMPT_VERSION)
    payload: dict[str, object] = {"model": model, "prompt_version": version}
    source: SourceText | Topic
    if body.source_text is not None:
        source = SourceText(body.source_text)
        payload["source_text"] = source.text
    else:
        source = Topic(body.topic or "")
        payload["topic"] = source.text
    if isinstance(body, StartDeckGeneration):
        payload |= {"count": body.count, "banlist": body.banlist}
    return NewJob(
        kind=kind,
        payload=payload,
        source_text_hash=source.hash,
        source_text_length=source.length,
        deck_id=deck_id,
        idempotency_key=g.get("idempotency_key"),
    )


def lease_s() -> float:
    """Return how long a job may run in this process."""
    return runtime().settings.openrouter_timeout_ms / 1000 + _LEASE_MARGIN_S
