"""``/decks/{deck_id}/…``: pairs for a deck of the app's, made in the background, batch by batch."""

from flask import Blueprint, Response, g, request, url_for

from recto.api import bodies, cursors
from recto.api.auth import require_user
from recto.api.context import parse_uuid, respond, runtime
from recto.api.idempotency import idempotent
from recto.api.job_contract import DeckGeneration, StartDeckGeneration, StartedGeneration
from recto.api.limits import limited
from recto.api.new_job import new_job
from recto.api.operation import operation
from recto.api.review_contract import PairPage, PairQuery, Suggestion
from recto.db import jobs, starts, suggestions
from recto.db.suggestions import FIRST, Place
from recto.errors import NotFound

blueprint = Blueprint("decks", __name__, url_prefix="/decks/<deck_id>")
blueprint.before_request(require_user)

# A code point beyond the first 65,536 is twelve bytes in JSON that is plain ASCII.
_BYTES_A_CHARACTER = 12


@blueprint.before_request
def allow_long_texts() -> None:
    """Let a body have a text beside what it may have anyway."""
    longest = runtime().settings.deck_max_characters
    bodies.allow(request, _BYTES_A_CHARACTER * longest + bodies.MAX_BODY_BYTES)


@blueprint.post("/generation")
@operation(
    "startDeckGeneration",
    body=StartDeckGeneration,
    answers={202: StartedGeneration},
    errors=(NotFound,),
    headers={"Location": "Where to follow the generation."},
)
@idempotent
@limited
def start(deck_id: str) -> Response:
    """Make pairs for a deck in the background, of a source text or a topic.

    Batches are committed as they come, and a front that the deck or `banlist` has never comes again. `deck_id` is a
    UUID of your own; the deck belongs to the first user who generates into it. One generation for it is in flight at a
    time.
    """
    new = new_job("deck", StartDeckGeneration.parse(request), parse_uuid(deck_id))
    quota = runtime().settings.quota_generations_per_month
    job_id = starts.create(runtime().pool, g.user.id, new, quota=quota)
    g.job_id = job_id
    location = url_for(".show", deck_id=deck_id)
    return respond(StartedGeneration(generation_id=job_id), 202, Location=location)


@blueprint.get("/generation")
@operation("getDeckGeneration", answers={200: DeckGeneration}, errors=(NotFound,))
def show(deck_id: str) -> Response:
    """A deck's latest generation and how far it is.

    The deck is not found before the first generation into it, nor for another user.
    """
    row = jobs.latest_of_deck(runtime().pool, g.user.id, parse_uuid(deck_id))
    retry_window = runtime().settings.retry_window
    return respond(DeckGeneration.of(row, retry_window=retry_window, pairs_generated=row.suggestions_count))


@blueprint.get("/pairs")
@operation("listPairs", query=PairQuery, answers={200: PairPage}, errors=(NotFound,))
def pairs(deck_id: str) -> Response:
    """A deck's pairs, oldest first.

    Of all its generations, with what became of each pair.
    """
    query = PairQuery.parse(request)
    after = Place(*cursors.decode(query.cursor)) if query.cursor else FIRST
    rows = suggestions.of_deck(runtime().pool, g.user.id, parse_uuid(deck_id), after=after, limit=query.limit + 1)
    shown = rows[: query.limit]
    last = shown[-1] if len(rows) > len(shown) else None
    return respond(
        PairPage(
            pairs=[Suggestion.of(row) for row in shown],
            next_cursor=cursors.encode(last.created_at, last.job_id, last.position) if last else None,
        )
    )
