"""The doors: one blueprint a resource. A view parses, calls and responds."""

from flask import Flask, Response, request
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from recto.api import (
    ai_generations,
    bodies,
    decks,
    errors,
    exports,
    files,
    generations,
    image_webhooks,
    images,
    limits,
    observe,
    operations,
    sessions,
    stats,
    usage,
)
from recto.runtime import Runtime


def create_app(runtime: Runtime) -> Flask:
    """Build the WSGI application over an open runtime."""
    app = Flask("recto.api", static_folder=None)
    app.extensions["recto"] = runtime
    bodies.register(app)
    observe.register(app)
    limits.register(app, runtime)
    errors.register(app)
    register_routes(app)
    app.after_request(_protect)
    if origins := runtime.settings.cors_origins:
        CORS(
            app,
            origins=list(origins),
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "If-None-Match",
                "Last-Event-ID",
                "Prefer",
                "X-Request-ID",
                # supabase-js sends these with every request of its own.
                "apikey",
                "x-client-info",
            ],
            expose_headers=[
                "X-Request-ID",
                "ETag",
                "Idempotent-Replayed",
                "Location",
                "Preference-Applied",
                "Retry-After",
                "RateLimit",
                "RateLimit-Policy",
                "Content-Disposition",
            ],
            max_age=600,
            always_send=False,
        )
        app.after_request(_vary)
    if hops := runtime.settings.trusted_proxy_count:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=0)  # type: ignore[method-assign]  # Flask's documented way
    return app


def register_routes(app: Flask) -> None:
    """Put every resource at its path and again under ``/api``, and what needs no token at its path alone."""
    for resource in (generations, exports, ai_generations, sessions, decks, usage, stats, images, image_webhooks):
        app.register_blueprint(resource.blueprint)
        app.register_blueprint(
            resource.blueprint,
            name=f"api_{resource.blueprint.name}",
            url_prefix=f"/api{resource.blueprint.url_prefix or ''}",
        )
    app.register_blueprint(operations.blueprint)
    app.register_blueprint(files.blueprint)


def _protect(response: Response) -> Response:
    """Keep what belongs to one user out of caches, and browsers from guessing what it is."""
    if request.blueprint not in (operations.blueprint.name, files.blueprint.name):
        response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _vary(response: Response) -> Response:
    """Tell caches that an answer to one origin, or to none, is not for another; flask-cors does so for some."""
    response.vary.add("Origin")
    return response
