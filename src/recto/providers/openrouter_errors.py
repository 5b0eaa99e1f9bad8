"""What OpenRouter reports when it fails, in any of the places where it does, as one of our errors."""

import re
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

from recto.errors import UpstreamError, UpstreamHTTPError, UpstreamInvalidResponse, UpstreamRateLimited

# Where an error names its type but no status. From OpenRouter's page on errors.
_STATUS_BY_TYPE = {
    "authentication": 401,
    "payment_required": 402,
    "rate_limit_exceeded": 429,
    "server": 500,
    "provider_unavailable": 502,
    "provider_overloaded": 503,
    "timeout": 504,
}
_STATUS_OF_AN_UNNAMED_ERROR = 502

_FORMAT_REFUSAL_STATUSES = frozenset({400, 404, 415, 422})
_FORMAT_REFUSAL = re.compile(r"response_format|json[_ ](schema|object|mode)|structured[_ ]output", re.IGNORECASE)

# A provider's message is kept for the operator unless it shares a run of this many characters with what we sent:
# some quote the prompt, and some the key.
_SHARED_RUN_CHARACTERS = 12
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}")


class FormatRefused(UpstreamHTTPError):
    """The model does not take the response format that was asked for."""


def translate(
    *, status: int, answer: dict[str, Any] | None, retry_after: str | None, model: str, secrets: list[str]
) -> UpstreamError:
    """Return the error that an answer means.

    ``answer`` is the parsed body, None if that is no JSON object. ``retry_after`` is the header; ``secrets`` are the
    texts of which nothing may be repeated.
    """
    error = _error(answer or {})
    if status == 200 and error is None:
        return UpstreamInvalidResponse("the answer is not a chat completion", model=model)
    error = error or {}
    metadata = error.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    error_type = error.get("error_type") or metadata.get("error_type")
    upstream_status = status if status != 200 else _status(error, error_type)

    message = str(error.get("message") or "")
    parts = [f"HTTP {status}"]
    parts += [f"code {upstream_status}"] if upstream_status != status else []
    parts += [str(kept) for kept in (error_type, metadata.get("provider_name"), message) if kept]
    detail = _without(secrets, parts)
    retry_after_s = _seconds(retry_after)
    if upstream_status == 429:
        return UpstreamRateLimited(detail, model=model, retry_after_s=retry_after_s, upstream_status=upstream_status)
    if upstream_status in _FORMAT_REFUSAL_STATUSES and _FORMAT_REFUSAL.search(f"{error_type} {message}"):
        return FormatRefused(upstream_status, detail, model=model)
    return UpstreamHTTPError(upstream_status, detail, model=model, retry_after_s=retry_after_s)


def _error(answer: dict[str, Any]) -> dict[str, Any] | None:
    """Find the error: in the body, or in its first choice."""
    match answer:
        case {"error": dict() as error}:
            return error
        case {"error": error} if error:
            return {"message": error}
        case {"choices": [{"error": dict() as error}, *_]}:
            return error
        case {"choices": [{"finish_reason": "error"}, *_]}:
            return {}
    return None


def _status(error: dict[str, Any], error_type: Any) -> int:
    """Return the status of an error that came under HTTP 200; its code has been seen as text, and missing."""
    for code in (error.get("code"), error.get("http_status")):
        if str(code).isdecimal() and 400 <= int(str(code)) <= 599:
            return int(str(code))
    return _STATUS_BY_TYPE.get(str(error_type), _STATUS_OF_AN_UNNAMED_ERROR)


def _seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header, which is a number of seconds or a date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except ValueError:
        return None


def _without(secrets: list[str], parts: list[str]) -> str:
    """Join the parts that repeat nothing of the secrets, as printable text: PostgreSQL stores no NUL characters."""
    runs = {run for secret in secrets for run in _runs(secret)}
    kept = [part for part in parts if not _ESCAPE.search(part) and runs.isdisjoint(_runs(part))]
    detail = ": ".join(kept if len(kept) == len(parts) else [*kept, "(the rest is withheld: it repeats the request)"])
    return "".join(character if character.isprintable() else " " for character in detail)


def _runs(text: str) -> set[str]:
    """Return all runs of the text's characters, white space and case aside; a shorter text is one run itself."""
    folded = " ".join(text.casefold().split())
    last = max(len(folded) - _SHARED_RUN_CHARACTERS, 0)
    return {folded[at : at + _SHARED_RUN_CHARACTERS] for at in range(last + 1)}
