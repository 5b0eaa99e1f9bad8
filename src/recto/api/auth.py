"""Who is asking: the bearer token of a request → ``g.user``."""

from flask import current_app, g, request

from recto.errors import Unauthorized
from recto.runtime import Runtime


def require_user() -> None:
    """Let a request in if its token is a user's, and remember the user. Raises ``Unauthorized``.

    A browser's preflight has no token, and none of our routes answers OPTIONS with anything else.
    """
    if request.method == "OPTIONS":
        return
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized
    runtime: Runtime = current_app.extensions["recto"]
    g.user = runtime.verifier.verify(token.strip())
