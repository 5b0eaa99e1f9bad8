"""From a request's body to a job."""

from dataclasses import asdict
from uuid import UUID

from flask import g

from recto.api.context import runtime
from recto.api.job_contract import StartDeckGeneration, StartGeneration
from recto.db.starts import Lease, NewJob
from recto.errors import InvalidRequest
from recto.text import prompt
from recto.text.deck import plan
from recto.text.options import NO_OPTIONS
from recto.text.source import MAX_CHARACTERS, SourceText, Topic


def new_job(kind: str, body: StartGeneration | StartDeckGeneration, deck_id: UUID | None = None) -> NewJob:
    """Return the job that the body asks for. Raises ``InvalidRequest``, which names what is allowed."""
    settings = runtime().settings
    model = settings.openrouter_model if body.model is None else body.model
    if model not in settings.models:
        raise InvalidRequest(f"model: not allowed here; allowed are {', '.join(settings.models)}.")
    version = prompt.require_version(prompt.PROMPT_VERSION if body.prompt_version is None else body.prompt_version)
    payload: dict[str, object] = {"model": model, "prompt_version": version}
    sections = None
    source: SourceText | Topic
    if body.source_text is not None:
        is_deck = isinstance(body, StartDeckGeneration)
        source = SourceText(body.source_text, settings.deck_max_characters if is_deck else MAX_CHARACTERS)
        payload["source_text"] = source.text
    else:
        source = Topic(body.topic or "")
        payload["topic"] = source.text
    if isinstance(body, StartDeckGeneration):
        options = body.options(most=runtime().bounds.proposals)
        payload |= {"count": body.count, "banlist": body.banlist}
        if source.length > MAX_CHARACTERS:
            sections = [asdict(part) for part in plan(source.text, body.count)]
    else:
        options = body.options(count=body.count, most=runtime().bounds.proposals)
    prompt.require(version, options)
    payload |= {name: value for name, value in asdict(options).items() if value != getattr(NO_OPTIONS, name)}
    return NewJob(
        kind=kind,
        payload=payload,
        source_text_hash=source.hash,
        source_text_length=source.length,
        deck_id=deck_id,
        idempotency_key=g.get("idempotency_key"),
        sections=sections,
    )


def lease() -> Lease:
    """Return the lease under which this process runs a job at once."""
    leases = runtime().leases
    return Lease(leases.holder, leases.lease_s)
