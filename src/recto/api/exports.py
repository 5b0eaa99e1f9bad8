"""``/exports/anki``: makes an Anki deck of the cards in the request; nothing is stored."""

from collections.abc import Collection, Iterator
from threading import BoundedSemaphore
from time import sleep
from uuid import UUID

from flask import Blueprint, Response, g, request

from recto.api.auth import require_user
from recto.api.context import place, runtime
from recto.api.contract import ExportAnki
from recto.api.operation import operation
from recto.db import renders
from recto.errors import InvalidRequest, NotFound, Unavailable
from recto.runtime import Images
from recto.storage import keys
from recto.storage.failures import StorageUnavailable

# A package is made in memory. What all pictures of one may have, and how many with pictures a process makes at once.
_MAX_PICTURES_MIB = 64
_packing = BoundedSemaphore(4)
_PACKING_S = 5

blueprint = Blueprint("exports", __name__, url_prefix="/exports")
blueprint.before_request(require_user)


@blueprint.post("/anki")
@operation("exportAnki", body=ExportAnki, answers={200: "application/octet-stream"}, errors=(NotFound,))
def anki() -> Response:
    """An Anki deck package of the given flashcards; nothing is kept.

    Maths between dollars or LaTeX's brackets, and code between backticks, are shown as such. It holds the pictures of
    those that have a `renderId`, each once. One that is not the caller's is a 404.
    """
    # genanki and what it needs weigh 15 MB; most processes never export.
    from recto.exports import to_anki

    export = ExportAnki.parse(request)
    cards = [(card.front, card.back) for card in export.flashcards]
    pictures = {place: card.render_id for place, card in enumerate(export.flashcards) if card.render_id}
    files = _files(list(dict.fromkeys(pictures.values()))) if pictures else ()
    clozes = {place for place, card in enumerate(export.flashcards) if card.style == "cloze"}
    package = to_anki(cards, export.deck_name, pictures, files, clozes)
    return Response(
        package,
        mimetype="application/octet-stream",
        headers={"Content-Disposition": 'attachment; filename="recto.apkg"'},
    )


def _files(render_ids: Collection[UUID]) -> Iterator[tuple[UUID, bytes]]:
    """Yield the first picture of each render. Raises ``NotFound``, ``InvalidRequest`` and ``Unavailable``."""
    held = runtime().images
    if held is None:
        raise NotFound("There is no such render.")
    renders.require_own(runtime().pool, g.user.id, render_ids)
    with place(_packing, "Too many decks with pictures are being made.", retry_after_s=_PACKING_S):
        left = _MAX_PICTURES_MIB * 2**20
        for render_id in render_ids:
            data = _read(held, render_id)
            left -= len(data)
            if left < 0:
                raise InvalidRequest(f"The pictures of a deck must not have more than {_MAX_PICTURES_MIB} MiB.")
            yield render_id, data
            sleep(0)  # a folder is read without waiting: other requests get their turn


def _read(held: Images, render_id: UUID) -> bytes:
    try:
        data = held.storage.read(keys.of_variant(render_id, 0))
    except StorageUnavailable as error:
        raise Unavailable from error
    if data is None:  # deleted meanwhile
        raise NotFound("There is no such render.")
    return data
