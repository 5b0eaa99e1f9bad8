"""The doors: one blueprint a resource. A view parses, calls and responds."""

from flask import Flask
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from recto.api import (
    ai_generations,
    decks,
    errors,
    exports,
    generations,
    limits,
    observe,
    operations,
    sessions,
    usage,
)
from recto.api.contract import MAX_BODY_BYTES
from recto.runtime import Runtime


def create_app(runtime: Runtime) -> Flask:
    """Build the WSGI application over an open runtime."""
    app = Flask("recto.api", static_folder=None)
    app.extensions["recto"] = runtime
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    observe.register(app)
    limits.register(app, runtime)
    errors.register(app)
    app.register_blueprint(operations.blueprint)
    for resource in (generations, exports, ai_generations, sessions, decks, usage):
        app.register_blueprint(resource.blueprint)
        app.register_blueprint(
            resource.blueprint,
            name=f"api_{resource.blueprint.name}",
            url_prefix=f"/api{resource.blueprint.url_prefix or ''}",
        )
    if origins := runtime.settings.cors_origins:
        CORS(
            app,
            origins=list(origins),
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "If-None-Match",
                "Prefer",
                "X-Request-ID",
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
        )
    if hops := runtime.settings.trusted_proxy_count:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=0)  # type: ignore[method-assign]  # Flask's documented way
    return app
