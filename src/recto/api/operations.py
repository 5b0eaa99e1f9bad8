"""For operators and tools: is it alive, is it ready, what has it done, how is it called."""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
from flask import Blueprint, Flask, Response, current_app, render_template, request
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic_core import to_json

from recto import tokens
from recto.api import openapi
from recto.api.context import runtime
from recto.api.contract import Status
from recto.api.operation import operation
from recto.db import jobs, migrations
from recto.db.pool import is_writable
from recto.errors import Unavailable
from recto.storage import keys
from recto.telemetry import log, render_metrics
from recto.text import deck

# Whoever looks after the service does not wait for the database: Prometheus gives up an answer after 10 s.
_WITHIN_S = 2.0

# What the pages load is ours, and they talk to us alone. They hold no inline script, and no inline style but those of
# Scalar in /docs.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src {styles}; font-src 'self'; img-src {images}; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

blueprint = Blueprint(
    "operations",
    __name__,
    static_folder="../playground",
    static_url_path="/playground",
    template_folder="../playground",
)


@blueprint.get("/healthz")
@operation("healthz", answers={200: Status})
def healthz() -> Response:
    """Is the process alive?

    It asks neither the database nor the provider.
    """
    return Response(Status().model_dump_json(), mimetype="application/json")


@blueprint.get("/readyz")
@operation("readyz", answers={200: Status}, errors=(Unavailable,))
def readyz() -> Response:
    """Can requests be served?

    They can if the database is reachable and takes writes, and its migrations are current.
    """
    try:
        with runtime().pool.connection(timeout=_WITHIN_S) as conn:
            writable = is_writable(conn)
            pending = migrations.pending(conn)
    except psycopg.errors.UndefinedTable:
        pending = ["all"]
    except psycopg.Error as error:
        log.warning("not_ready", reason=type(error).__name__)
        raise Unavailable("The database cannot be reached.") from error
    if not writable:
        log.warning("not_ready", reason="read-only database")
        raise Unavailable("The database takes no writes.")
    if pending:
        log.warning("not_ready", reason="pending migrations", migrations=pending)
        raise Unavailable("The database's migrations are not current; run: recto migrate")
    return healthz()


@blueprint.get("/metrics")
@operation("metrics", answers={200: "text/plain"})
def metrics() -> Response:
    """Metrics for Prometheus.

    They are of all processes; those of the jobs are missing while the database is away.
    """
    try:
        shared = jobs.in_flight(runtime().pool, within_s=_WITHIN_S)
    except psycopg.Error as error:
        log.warning("jobs_not_counted", reason=type(error).__name__)
        shared = None
    return Response(render_metrics(shared), content_type=CONTENT_TYPE_LATEST)


@blueprint.get("/openapi.json")
def openapi_json() -> Response:
    """Answer with the OpenAPI document."""
    return Response(to_json(_document()), mimetype="application/json")


@blueprint.get("/docs")
def docs() -> Response:
    """Answer with the OpenAPI document for people, who can try requests; it has a token where `recto dev` runs."""
    html = render_template("docs.html", token=_development_token())
    return Response(html, headers={"Cache-Control": "no-cache"})


@blueprint.get("/")
def page() -> Response:
    """Answer with the page; it offers pictures where they are on, and has a token where `recto dev` runs."""
    held = runtime()
    html = render_template(
        "index.html",
        pictures=held.images is not None,
        most_cards=held.bounds.proposals,
        deck_characters=held.settings.deck_max_characters,
        deck_cards=deck.MAX_COUNT,
        sandbox=held.settings.uses_sandbox,
        token=_development_token(),
    )
    return Response(html, headers={"Cache-Control": "no-cache"})


def _development_token() -> str | None:
    """Return a token of the development user for a browser on this machine, else None.

    It must have called the service by a name that no other site can have: any domain can be made to lead here.
    """
    settings = runtime().settings
    secret, user_id = settings.supabase_jwt_secret, settings.development_user
    if secret is None or user_id is None or urlsplit(request.host_url).hostname not in ("127.0.0.1", "localhost"):
        return None
    issuer = f"{settings.supabase_url}/auth/v1" if settings.supabase_url else None
    return tokens.issue(secret.get_secret_value(), user_id, issuer=issuer)


def _image_sources() -> str:
    """Return the origins that the page may load pictures from: its own, and that of the stored pictures.

    The second is another one for a bucket, and for a folder if the page is opened at another name than PUBLIC_BASE_URL.
    """
    held = runtime().images
    if held is None:
        return "'self'"
    parts = urlsplit(held.storage.url(keys.of_variant(UUID(int=0), 0)))
    return f"'self' {parts.scheme}://{parts.netloc}"


def _document() -> dict[str, Any]:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # Flask's documented way to the app itself
    return openapi.document(app, runtime().settings.models, runtime().bounds)


@blueprint.after_request
def _protect(response: Response) -> Response:
    styles = "'self' 'unsafe-inline'" if request.path == "/docs" else "'self'"
    policy = _CONTENT_SECURITY_POLICY.format(styles=styles, images=_image_sources())
    response.headers["Content-Security-Policy"] = policy
    if request.path.endswith(".gz"):  # whose name has a version
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
