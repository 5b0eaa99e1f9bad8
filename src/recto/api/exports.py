"""``/exports/anki``: cards in, a deck out, nothing kept."""

from flask import Blueprint, Response, request

from recto.api.auth import require_user
from recto.api.contract import ExportAnki

blueprint = Blueprint("exports", __name__, url_prefix="/exports")
blueprint.before_request(require_user)


@blueprint.post("/anki")
def anki() -> Response:
    """Answer with an Anki deck package of the cards in the request."""
    # genanki and what it needs weigh 15 MB; most processes never export.
    from recto.exports import to_anki

    export = ExportAnki.parse(request)
    package = to_anki(((card.front, card.back) for card in export.flashcards), export.deck_name)
    return Response(
        package,
        mimetype="application/octet-stream",
        headers={"Content-Disposition": 'attachment; filename="recto.apkg"'},
    )
