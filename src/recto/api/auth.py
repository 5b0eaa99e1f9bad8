"""Who is asking: the bearer token of a request → ``g.user``."""

from flask import current_app, g, request

from recto.errors import Unauthorized
from recto.runtime import Runtime


def require_user() -> None:
    """Set ``g.user`` from the request's token. Raises ``Unauthorized`` if there is none, or one that is no user's.

    A browser's preflight has no token; no route does anything else on OPTIONS.
    """
    if request.method == "OPTIONS":
        return
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized
    runtime: Runtime = current_app.extensions["recto"]
    g.user = runtime.verifier.verify(token.strip())
