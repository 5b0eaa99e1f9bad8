"""What OpenRouter reports when it fails, in any of the places where it does, as one of our errors."""

import re
from typing import Any

from recto.errors import (
    UpstreamError,
    UpstreamHTTPError,
    UpstreamInvalidResponse,
    UpstreamRateLimited,
    UpstreamRefused,
)
from recto.providers.redaction import KEPT_CHARACTERS, withhold
from recto.providers.transport import seconds

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

_STATUS = re.compile("[45][0-9]{2}")


def translate(*, status: int, answer: dict[str, Any], retry_after: str | None, secrets: list[str]) -> UpstreamError:
    """Return the error that an answer means.

    ``answer`` is the parsed body, empty if that is no JSON object. ``retry_after`` is the header; ``secrets`` are the
    texts of which nothing may be repeated.
    """
    error = _error(answer)
    if status == 200 and error is None:
        return UpstreamInvalidResponse("the answer is not a chat completion")
    error = error or {}
    metadata = error.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    error_type = error.get("error_type") or metadata.get("error_type")
    upstream_status = status if status != 200 else _status(error, error_type)

    parts = [f"HTTP {status}"]
    parts += [f"code {upstream_status}"] if upstream_status != status else []
    said = (error_type, metadata.get("provider_name"), error.get("message"))
    parts += [text[:KEPT_CHARACTERS] for text in said if isinstance(text, str) and text]
    detail = withhold(secrets, parts)
    retry_after_s = seconds(retry_after)
    if upstream_status == 429:
        return UpstreamRateLimited(detail, retry_after_s=retry_after_s, upstream_status=upstream_status)
    # A 402 that passes says when, and a 403 that is about the text says why it was moderated.
    passes = retry_after_s is not None or "reasons" in metadata
    is_operators = upstream_status in UpstreamRefused.STATUSES and not passes
    return (UpstreamRefused if is_operators else UpstreamHTTPError)(
        upstream_status, detail, retry_after_s=retry_after_s
    )


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
        if isinstance(code, str) and _STATUS.fullmatch(code):
            return int(code)
        if isinstance(code, int) and 400 <= code <= 599:
            return code
    return _STATUS_BY_TYPE.get(error_type if isinstance(error_type, str) else "", _STATUS_OF_AN_UNNAMED_ERROR)
