"""The parts of the OpenAPI document: how one operation is described."""

from typing import Any

from pydantic import BaseModel

from recto.api import contract

REF = "#/components/schemas/{model}"
_RESPONSES = {
    200: "Done.",
    202: "Accepted: a worker does the rest.",
    204: "Done; there is nothing to tell.",
    304: "Nothing has changed.",
    400: "`invalid_request`: the body or a parameter breaks a rule; the message says which.",
    401: "`unauthorized`: no token, or one that is malformed, forged, expired or not a user's.",
    404: "`not_found`: there is no such record of the caller's.",
    409: "`in_progress`: the generation, the deck's or the one with the same idempotency key is running. "
    "`already_succeeded`: there is nothing to retry.",
    410: "`expired`: the generation can no longer be retried; its text has been erased.",
    413: "`invalid_request`: the body is larger than 256 KiB.",
    415: "`invalid_request`: the body is not JSON.",
    422: "`idempotency_key_reused`: the key was sent with another request.",
    429: "`rate_limited`: the limit per user or per address is reached, or a retry comes too soon. `quota_exceeded`: "
    "this month's generations are used up.",
    500: "`internal_error`: the database or the code failed.",
    502: "`upstream_timeout`, `upstream_rate_limited`, `upstream_invalid_response` or `upstream_error`: the language "
    "model's provider failed. The failure is recorded in the caller's generation error logs.",
    503: "`unavailable`: the service cannot do its work at the moment.",
}


def header(description: str, kind: str = "string") -> dict[str, Any]:
    """Describe a header of an answer."""
    return {"description": description, "schema": {"type": kind}}


_REQUEST_ID = {"X-Request-ID": header("The request's own id if it sent a valid one, else a new one.")}
_RETRY_AFTER = {"Retry-After": header("Seconds after which to try again.", "integer")}
_RATE_LIMIT = {
    "RateLimit-Policy": header('The limits: `"user";q=5;w=300, "ip";q=30;w=300`, hits and window in seconds.'),
    "RateLimit": header('What is left of them: `"user";r=4;t=300, "ip";r=29;t=300`, hits and seconds to the reset.'),
}
_REPLAYED = {"Idempotent-Replayed": header("`true` if this is the stored answer to the first request with the key.")}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": header("`Bearer`")},
    409: _RETRY_AFTER,
    429: _RETRY_AFTER | _RATE_LIMIT,
    502: _RETRY_AFTER,
    503: _RETRY_AFTER,
}


def operation(
    operation_id: str,
    summary: str,
    *,
    answers: dict[int, type[BaseModel] | str | None],
    errors: tuple[int, ...] = (),
    body: type[BaseModel] | None = None,
    parameters: tuple[dict[str, Any], ...] = (),
    headers: dict[str, Any] | None = None,
    public: bool = False,
    starts: bool = False,
    error: type[BaseModel] = contract.Error,
) -> dict[str, Any]:
    """Describe one method of one route.

    ``answers``: by status the model of the answer, its media type, or None for an empty one; ``errors``: statuses that
    this operation adds to those that every one has; ``starts``: it starts a generation, and so is limited and takes
    ``Idempotency-Key``; ``error``: the model of its 502.
    """
    ours = {500} | (set() if public else {401, 503}) | ({400, 413, 415} if body else set())
    ours |= {400} if parameters else set()
    ours |= {400, 409, 422, 429} if starts else set()
    statuses = sorted(ours | set(errors))
    told = _REQUEST_ID | (_RATE_LIMIT | _REPLAYED if starts else {}) | (headers or {})
    parameters = (*parameters, *((_IDEMPOTENCY_KEY,) if starts else ()))
    described: dict[str, Any] = {
        "operationId": operation_id,
        "summary": summary,
        "responses": {
            **{
                str(status): {
                    "description": _RESPONSES[status],
                    "headers": told,
                    **({"content": _content(answer)} if answer else {}),
                }
                for status, answer in answers.items()
            },
            **{
                str(status): {
                    "description": _RESPONSES[status],
                    "headers": _REQUEST_ID | _HEADERS.get(status, {}),
                    "content": _content(error if status == 502 else contract.Error),
                }
                for status in statuses
            },
        },
    }
    if body:
        described["requestBody"] = {"required": True, "content": _content(body)}
    if parameters:
        described["parameters"] = list(parameters)
    if public:
        described["security"] = []
    return described


def _content(answer: type[BaseModel] | str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {answer: {}}
    return {"application/json": {"schema": {"$ref": REF.format(model=answer.__name__)}}}


def in_path(name: str, **schema: Any) -> dict[str, Any]:
    """Describe a part of the address; a UUID unless told otherwise."""
    return {"name": name, "in": "path", "required": True, "schema": schema or {"type": "string", "format": "uuid"}}


def in_query(model: type[contract.Query]) -> tuple[dict[str, Any], ...]:
    """Describe a query string."""
    properties = model.model_json_schema()["properties"]
    return tuple(
        {"name": name, "in": "query", "required": False, "schema": {k: v for k, v in schema.items() if k != "title"}}
        for name, schema in properties.items()
    )


def in_header(name: str, description: str) -> dict[str, Any]:
    """Describe a header that may be sent."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}


_IDEMPOTENCY_KEY = in_header(
    "Idempotency-Key",
    "1 to 255 visible ASCII characters, kept for 24 hours: the same key with the same request gets the first answer.",
)
