"""The OpenAPI 3.1 document, collected from the app's routes and from what their views declare."""

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema
from werkzeug.routing import IntegerConverter, Rule

from recto.api import event_streams, examples, openapi_errors
from recto.api.auth import require_user
from recto.api.contract import CreateGeneration, Error
from recto.api.operation import Operation
from recto.api.parsing import Body, Query
from recto.api.review_contract import ReviewSuggestion, SuggestionReview
from recto.text.proposals import Bounds

_REF = "#/components/schemas/{model}"

# By blueprint: under which heading its operations stand, and what that is about.
_TAGS = {
    "generations": ("Generations", "Proposals while you wait, and what each generation took."),
    "exports": ("Exports", "Cards as a file."),
    "ai_generations": ("Background", "Generations that a worker makes, and the review of what they bring."),
    "sessions": ("Sessions", "Proposals for review while you wait, and retries."),
    "decks": ("Decks", "Many pairs for a deck, made in batches."),
    "usage": ("Usage", "What is used of the month, and what the cards were worth."),
    "stats": ("Usage", "What is used of the month, and what the cards were worth."),
    "images": ("Pictures", "Pictures by Replicate, and its webhooks."),
    "image_webhooks": ("Pictures", "Pictures by Replicate, and its webhooks."),
    "operations": ("Operation", "For whoever runs the service."),
}

_STATUSES = {
    200: "Done.",
    202: "Accepted: a worker does the rest.",
    204: "Done; the answer is empty.",
    304: "Nothing has changed.",
}


def _header(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


_REQUEST_ID = {"X-Request-ID": _header("The request's own id if it sent a valid one, else a new one.")}
_RETRY_AFTER = {"Retry-After": _header("Seconds after which to try again.", "integer")}
_RATE_LIMIT = {
    "RateLimit-Policy": _header('The limits: `"user";q=5;w=300, "ip";q=30;w=300`, hits and window in seconds.'),
    "RateLimit": _header('What is left of them: `"user";r=4;t=300, "ip";r=29;t=300`, hits and seconds to the reset.'),
}
_REPLAYED = {"Idempotent-Replayed": _header("`true` if this is the stored answer to the first request with the key.")}
_ERROR_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": _header("`Bearer`")},
    409: _RETRY_AFTER,
    429: _RETRY_AFTER,
    502: _RETRY_AFTER,
    503: _RETRY_AFTER,
}
_KEY = {"type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": 255}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Visible ASCII characters, kept for 24 hours: the same key with the same request gets the first "
    "answer.",
    "schema": _KEY,
}
# Of the headers that must have a form.
_FORMS = {"Idempotency-Key": _KEY, "Last-Event-ID": {"type": "string", "pattern": "^([0-9]{1,9}|done)$"}}


@lru_cache(maxsize=1)
def document(app: Flask, models: tuple[str, ...], bounds: Bounds) -> dict[str, Any]:
    """Return the OpenAPI document of the app's routes, for a service that allows these ``models`` and ``bounds``."""
    operations = list(_operations(app))
    schemas = _schemas([operation for _, _, operation, _ in operations], models, bounds)
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, operation, public in operations:
        path = re.sub(r"<(?:[^:<>]+:)?(\w+)>", r"{\1}", rule.rule)
        tag, _ = _TAGS[rule.endpoint.partition(".")[0]]
        paths.setdefault(path, {})[method] = {"tags": [tag]} | _describe(rule, operation, schemas, public=public)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Recto",
            "version": version("recto"),
            "contact": {"name": "Whoever runs this service"},
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "Turns a learner's source text into flashcard proposals, and makes pictures. Every route "
            "that needs a token is also served under `/api`. Under `/v1` the codes of errors are in capitals, with "
            "`VALIDATION_ERROR` for every 400 and `UPSTREAM_ERROR` for every 502.",
        },
        "servers": [{"url": "/", "description": "This service."}],
        "tags": [{"name": name, "description": text} for name, text in dict(_TAGS.values()).items()],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The access token of a signed-in Supabase user.",
                }
            },
        },
    }


def _operations(app: Flask) -> Iterator[tuple[Rule, str, Operation, bool]]:
    """Yield each route with its method and declaration, and whether it needs no token; the twins under /api aside."""
    for rule in app.url_map.iter_rules():
        operation = Operation.of(app.view_functions[rule.endpoint])
        if operation is None or rule.rule.startswith("/api/"):
            continue
        blueprint, _, _ = rule.endpoint.rpartition(".")
        public = require_user not in app.before_request_funcs.get(blueprint, ())
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            yield rule, method.lower(), operation, public


def _describe(rule: Rule, operation: Operation, schemas: dict[str, Any], *, public: bool) -> dict[str, Any]:
    parameters = [*_in_path(rule), *_in_query(operation.query), *_in_header(operation)]
    common = _REQUEST_ID | (_RATE_LIMIT if operation.limited else {})
    done = common | {name: _header(description) for name, description in operation.headers.items()}
    if operation.idempotent:
        done |= _REPLAYED
    errors = openapi_errors.by_status(operation, parameters, rule.rule, public=public)
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        **({"description": operation.description} if operation.description else {}),
        "responses": {
            str(status): {
                "description": _STATUSES[status],
                "headers": done,
                **({"content": _answer(operation, status, answer, schemas)} if answer else {}),
            }
            for status, answer in sorted(operation.answers.items())
            if status < 400
        }
        | {
            str(status): {
                "description": openapi_errors.description(status, messages),
                "headers": common | _ERROR_HEADERS.get(status, {}),
                "content": _error(operation.answers.get(status), messages, schemas),
            }
            for status, messages in sorted(errors.items())
        },
    }
    if operation.body:
        described["requestBody"] = {"required": True, "content": _with_files(operation.body, schemas)}
    if parameters:
        described["parameters"] = parameters
    if public:
        described["security"] = []
    return described


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": _REF.format(model=model.__name__)}}


def _answer(
    operation: Operation, status: int, answer: type[BaseModel] | str, schemas: dict[str, Any]
) -> dict[str, Any]:
    """Describe an answer; in place of JSON a 200 may have events."""
    if isinstance(answer, str):
        text = {"example": examples.of_text(operation.id, schemas)} if answer.startswith("text/") else {}
        return {answer: text}
    content = {"application/json": _json(answer) | {"example": examples.of_model(answer.__name__, schemas)}}
    if operation.events and status == 200:
        schema = {"type": "string", "description": operation.events}
        content[event_streams.MEDIA_TYPE] = {"schema": schema, "example": examples.of_text(operation.id, schemas)}
    return content


def _error(answer: type[BaseModel] | str | None, messages: dict[str, str], schemas: dict[str, Any]) -> dict[str, Any]:
    """Describe an error, with an example for each of its codes."""
    model = answer if isinstance(answer, type) else Error
    example = examples.of_model(model.__name__, schemas)
    each = {code: {"value": example | {"error": code, "message": text}} for code, text in messages.items()}
    return {"application/json": _json(model) | {"examples": each}}


def _with_files(body: type[Body], schemas: dict[str, Any]) -> dict[str, Any]:
    """Describe a body that may be a form, with its files."""
    content = {"application/json": _json(body) | {"example": examples.of_model(body.__name__, schemas)}}
    if body.files:
        files = {name: {"type": "string", "format": "binary"} for name in body.files}
        content["multipart/form-data"] = {"schema": _json(body)["schema"] | {"properties": files}}
    return content


def _in_path(rule: Rule) -> Iterator[dict[str, Any]]:
    """Describe the parts of the address: a number, or a UUID, which views parse so that a bad one is a 400."""
    for name in re.findall(r"<(?:[^:<>]+:)?(\w+)>", rule.rule):
        number = isinstance(rule._converters[name], IntegerConverter)
        schema = (
            {"type": "integer", "minimum": 1, "maximum": 2**63 - 1} if number else {"type": "string", "format": "uuid"}
        )
        example = 123 if number else examples.of_parameter(name)
        yield {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def _in_query(model: type[Query] | None) -> Iterator[dict[str, Any]]:
    if model is None:
        return
    for name, schema in model.model_json_schema(schema_generator=_Schema)["properties"].items():
        schema.pop("title", None)
        if "anyOf" in schema:  # of a type and null, which a query string cannot say
            schema |= schema.pop("anyOf")[0]
        yield {"name": name, "in": "query", "required": False, "schema": schema}


def _in_header(operation: Operation) -> Iterator[dict[str, Any]]:
    for name, description in operation.request_headers.items():
        yield {
            "name": name,
            "in": "header",
            "required": False,
            "description": description,
            "schema": _FORMS.get(name, {"type": "string"}),
        }
    if operation.idempotent:
        yield _IDEMPOTENCY_KEY


class _Schema(GenerateJsonSchema):
    """Pydantic's schemas without ``"default": null``: that a field may be left out says as much."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        if described.get("default", ...) is None:
            del described["default"]
        return described


def _schemas(operations: list[Operation], models: tuple[str, ...], bounds: Bounds) -> dict[str, Any]:
    """Return the schemas of all bodies and answers that the operations name, and of what is in them."""
    named: dict[type[BaseModel], None] = {Error: None}
    for operation in operations:
        sent = (operation.body, *operation.answers.values())
        named |= dict.fromkeys(model for model in sent if isinstance(model, type))
    _, schemas = models_json_schema(
        [(model, "validation" if issubclass(model, Body) else "serialization") for model in named],
        ref_template=_REF,
        schema_generator=_Schema,
    )
    described: dict[str, Any] = schemas["$defs"]
    for schema in described.values():
        _tell_defaults(schema)
    for body in named:
        if issubclass(body, Body) and "model" in body.model_fields:
            described[body.__name__]["properties"]["model"]["anyOf"][0]["enum"] = list(models)
        if issubclass(body, CreateGeneration):
            described[body.__name__]["properties"]["count"]["anyOf"][0]["maximum"] = bounds.proposals
    for name in (ReviewSuggestion.__name__, SuggestionReview.__name__):
        for side in ("front", "back"):
            described[name]["properties"][side]["anyOf"][0]["maxLength"] = getattr(bounds, side)
    return described


def _tell_defaults(schema: dict[str, Any]) -> None:
    """Say defaults in words: generators of clients make a field required that has a ``default``."""
    for name, field in schema.get("properties", {}).items():
        if "default" in field and name not in schema.get("required", ()) and (default := field.pop("default")):
            field["description"] = f"{field.get('description', '')} Default: `{default}`.".strip()
