"""The OpenAPI 3.1 document: the models of the contract, and a table of what each route answers."""

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from pydantic_core import to_json

from recto.api import contract

_REF = "#/components/schemas/{model}"
_RESPONSES = {
    200: "Done.",
    400: "`invalid_request`: the body or a parameter breaks a rule; the message says which.",
    401: "`unauthorized`: no token, or one that is malformed, forged, expired or not a user's.",
    404: "`not_found`: there is no such record of the caller's.",
    413: "`invalid_request`: the body is larger than 256 KiB.",
    415: "`invalid_request`: the body is not JSON.",
    429: "`rate_limited`: the limit per user or per address is reached.",
    500: "`internal_error`: the database or the code failed.",
    502: "`upstream_timeout`, `upstream_rate_limited`, `upstream_invalid_response` or `upstream_error`: the language "
    "model's provider failed. The failure is recorded in the caller's generation error logs.",
    503: "`unavailable`: the service cannot do its work at the moment.",
}


def _header(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


_REQUEST_ID = {"X-Request-ID": _header("The request's own id if it sent a valid one, else a new one.")}
_RETRY_AFTER = {"Retry-After": _header("Seconds after which to try again.", "integer")}
_RATE_LIMIT = {
    "RateLimit-Policy": _header('The limits: `"user";q=5;w=300, "ip";q=30;w=300`, hits and window in seconds.'),
    "RateLimit": _header('What is left of them: `"user";r=4;t=300, "ip";r=29;t=300`, hits and seconds to the reset.'),
}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": _header("`Bearer`")},
    429: _RETRY_AFTER | _RATE_LIMIT,
    502: _RETRY_AFTER,
    503: _RETRY_AFTER,
}


def _operation(
    operation_id: str,
    summary: str,
    *,
    answer: type[BaseModel] | str,
    errors: tuple[int, ...] = (),
    body: type[BaseModel] | None = None,
    parameters: list[dict[str, Any]] | None = None,
    public: bool = False,
    limited: bool = False,
) -> dict[str, Any]:
    statuses = sorted({500, *errors, *(() if public else (401, 503)), *((400, 413, 415) if body else ())})
    content = {answer: {}} if isinstance(answer, str) else _json(answer)
    headers = _REQUEST_ID | (_RATE_LIMIT if limited else {})
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "summary": summary,
        "responses": {
            "200": {"description": _RESPONSES[200], "headers": headers, "content": content},
            **{
                str(status): {
                    "description": _RESPONSES[status],
                    "headers": _REQUEST_ID | _HEADERS.get(status, {}),
                    "content": _json(contract.Error),
                }
                for status in statuses
            },
        },
    }
    if body:
        operation["requestBody"] = {"required": True, "content": _json(body)}
    if parameters:
        operation["parameters"] = parameters
    if public:
        operation["security"] = []
    return operation


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}


def _page_parameters() -> list[dict[str, Any]]:
    properties = contract.PageQuery.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": {k: v for k, v in schema.items() if k != "title"}}
        for name, schema in properties.items()
    ]


def _paths() -> dict[str, Any]:
    id_parameter = {
        "name": "generation_id",
        "in": "path",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
    }
    return {
        "/generations": {
            "post": _operation(
                "createGeneration",
                "Make flashcard proposals of a source text, and wait for them",
                body=contract.CreateGeneration,
                answer=contract.CreatedGeneration,
                errors=(429, 502),
                limited=True,
            ),
            "get": _operation(
                "listGenerations",
                "The caller's generations, newest first",
                answer=contract.GenerationPage,
                errors=(400,),
                parameters=_page_parameters(),
            ),
        },
        "/generations/{generation_id}": {
            "get": _operation(
                "getGeneration",
                "One of the caller's generations",
                answer=contract.Generation,
                errors=(404,),
                parameters=[id_parameter],
            )
        },
        "/generation-error-logs": {
            "get": _operation(
                "listGenerationErrorLogs",
                "The caller's failed generations, newest first",
                answer=contract.GenerationErrorLogPage,
                errors=(400,),
                parameters=_page_parameters(),
            )
        },
        "/exports/anki": {
            "post": _operation(
                "exportAnki",
                "An Anki deck package of the given flashcards; nothing is kept",
                body=contract.ExportAnki,
                answer="application/octet-stream",
            )
        },
        "/healthz": {"get": _operation("healthz", "Is the process alive?", answer=contract.Status, public=True)},
        "/readyz": {
            "get": _operation("readyz", "Can requests be served?", answer=contract.Status, errors=(503,), public=True)
        },
        "/metrics": {"get": _operation("metrics", "Metrics for Prometheus", answer="text/plain", public=True)},
    }


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document. It is the same for the life of the process."""
    models = (
        contract.CreateGeneration,
        contract.CreatedGeneration,
        contract.Generation,
        contract.GenerationPage,
        contract.GenerationErrorLog,
        contract.GenerationErrorLogPage,
        contract.ExportAnki,
        contract.Error,
        contract.Status,
    )
    _, schemas = models_json_schema(
        [(model, "validation" if issubclass(model, contract.Body) else "serialization") for model in models],
        ref_template=_REF,
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Recto",
            "version": "1",
            "description": "Turns a learner's source text into flashcard proposals. Every route that needs a token is "
            "also served under `/api`.",
        },
        "security": [{"bearer": []}],
        "paths": _paths(),
        "components": {
            "schemas": schemas["$defs"],
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


@cache
def document_json() -> bytes:
    """Return the document as JSON."""
    return to_json(document())
