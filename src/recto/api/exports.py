"""``/exports/anki``: makes an Anki deck of the cards in the request; nothing is stored."""

from flask import Blueprint, Response, request

from recto.api.auth import require_user
from recto.api.contract import ExportAnki
from recto.api.operation import operation

blueprint = Blueprint("exports", __name__, url_prefix="/exports")
blueprint.before_request(require_user)


@blueprint.post("/anki")
@operation("exportAnki", body=ExportAnki, answers={200: "application/octet-stream"})
def anki() -> Response:
    """An Anki deck package of the given flashcards; nothing is kept."""
    # genanki and what it needs weigh 15 MB; most processes never export.
    from recto.exports import to_anki

    export = ExportAnki.parse(request)
    package = to_anki(((card.front, card.back) for card in export.flashcards), export.deck_name)
    return Response(
        package,
        mimetype="application/octet-stream",
        headers={"Content-Disposition": 'attachment; filename="recto.apkg"'},
    )
