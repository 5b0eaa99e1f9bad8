"""``/files``: stored pictures, where the storage is a local folder."""

from time import time

from flask import Blueprint, Response, request

from recto.api.context import runtime
from recto.errors import Forbidden, NotFound
from recto.storage import keys
from recto.storage.folder import Folder
from recto.storage.keys import InvalidKey

blueprint = Blueprint("files", __name__, url_prefix="/files")


@blueprint.get("/<path:text>")
def show(text: str) -> Response:
    """Answer with a file: a public one for everybody and for long, a private one while its address is signed."""
    held = runtime().images
    if held is None or not isinstance(held.storage, Folder):
        raise NotFound
    try:
        key = keys.parse(text)
    except InvalidKey:
        raise NotFound from None
    public = keys.is_public(key)
    expires, signature = request.args.get("expires", ""), request.args.get("signature", "")
    if not public and not held.storage.is_signed(key, expires=expires, signature=signature, now_s=time()):
        raise Forbidden
    data = held.storage.read(key)
    if data is None:
        raise NotFound
    cache = "public, max-age=31536000, immutable" if public else "private, no-store"
    return Response(data, mimetype=keys.media_type(key), headers={"Cache-Control": cache})
