"""``/decks/{deck_id}/…``: pairs for a deck of the app's, made in the background, batch by batch."""

from flask import Blueprint, Response, g, request, url_for

from recto.api.auth import require_user
from recto.api.context import parse_uuid, respond, runtime
from recto.api.contract import PageQuery
from recto.api.idempotency import idempotent
from recto.api.job_contract import DeckGeneration, PairPage, StartDeckGeneration, StartedGeneration
from recto.api.limits import limited
from recto.api.new_job import new_job
from recto.db import jobs, starts, suggestions

blueprint = Blueprint("decks", __name__, url_prefix="/decks/<deck_id>")
blueprint.before_request(require_user)


@blueprint.post("/generation")
@idempotent
@limited
def start(deck_id: str) -> Response:
    """Queue the generation of a deck's pairs and answer 202 with its id."""
    new = new_job("deck", StartDeckGeneration.parse(request), parse_uuid(deck_id))
    quota = runtime().settings.quota_generations_per_month
    job_id = starts.create(runtime().pool, g.user.id, new, quota=quota)
    location = url_for(".show", deck_id=deck_id)
    return respond(StartedGeneration(generation_id=job_id), 202, Location=location)


@blueprint.get("/generation")
def show(deck_id: str) -> Response:
    """Answer with the deck's latest generation and how far it is."""
    row = jobs.latest_of_deck(runtime().pool, g.user.id, parse_uuid(deck_id))
    retry_window = runtime().settings.retry_window
    return respond(DeckGeneration.of(row, retry_window=retry_window, pairs_generated=row.suggestions_count))


@blueprint.get("/pairs")
def pairs(deck_id: str) -> Response:
    """Answer with the deck's pairs, oldest first."""
    page = PageQuery.parse(request)
    after = page.cursor or 0
    rows = suggestions.of_deck(runtime().pool, g.user.id, parse_uuid(deck_id), after=after, limit=page.limit + 1)
    more = len(rows) > page.limit
    return respond(
        PairPage.model_validate({"pairs": rows[: page.limit], "next_cursor": str(after + page.limit) if more else None})
    )
