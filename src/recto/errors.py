"""Every failure that Recto knows by name.

    RectoError                        500  internal_error
    ├── InvalidRequest                400  invalid_request
    │   ├── RequestTimeout            408  invalid_request
    │   ├── PayloadTooLarge           413  invalid_request
    │   ├── AddressTooLong            414  invalid_request
    │   └── UnsupportedMediaType      415  invalid_request
    ├── Unauthorized                  401  unauthorized
    ├── PlanExceeded                  402  limit_exceeded
    ├── Forbidden                     403  forbidden
    ├── NotFound                      404  not_found
    ├── MethodNotAllowed              405  method_not_allowed
    ├── InProgress                    409  in_progress
    ├── TooManyInFlight               409  too_many_inflight
    ├── AlreadySucceeded              409  already_succeeded
    ├── ReviewedHere                  409  reviewed_here
    ├── Expired                       410  expired
    ├── IdempotencyKeyReused          422  idempotency_key_reused
    ├── RateLimited                   429  rate_limited
    ├── QuotaExceeded                 429  quota_exceeded
    ├── Unavailable                   503  unavailable
    └── UpstreamError                 502  upstream_error
        ├── UpstreamConnectionError   502  upstream_error             retryable
        │   └── UpstreamBrokenAnswer  502  upstream_error
        ├── UpstreamHTTPError         502  upstream_error             retryable by status
        │   └── UpstreamRefused       502  upstream_refused
        ├── UpstreamRateLimited       502  upstream_rate_limited      retryable
        ├── UpstreamTimeout           502  upstream_timeout
        ├── UpstreamInvalidResponse   502  upstream_invalid_response
        └── Canceled                  502  canceled

A class says what a caller may see: its HTTP ``status``, its ``code`` and, as the first line of its docstring,
its default message. An ``UpstreamError`` also says what the operator sees: ``log_code`` and ``detail`` go to
``generation_error_logs``; a caller never reads them. No message holds a key, a prompt or a source text.
"""

from datetime import datetime
from typing import ClassVar

from recto.calls import Call, MadeCalls


class RectoError(Exception):
    """The server failed. The error is in its log under this request's id.

    ``retry_after_s``: seconds after which trying again makes sense, if that is known. ``details``: what stands beside
    the code and the message.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    details: dict[str, str] = {}

    def __init__(self, message: str | None = None, *, retry_after_s: float | None = None) -> None:
        self.message = message or self.default_message()
        self.retry_after_s = retry_after_s
        super().__init__(self.message)

    @classmethod
    def default_message(cls) -> str:
        """Return the first line of the docstring."""
        return (cls.__doc__ or "").partition("\n")[0]


class InvalidRequest(RectoError):
    """The request is not valid."""

    status = 400
    code = "invalid_request"


class RequestTimeout(InvalidRequest):
    """The request body did not arrive in time."""

    status = 408


class PayloadTooLarge(InvalidRequest):
    """The request body is too large."""

    status = 413


class AddressTooLong(InvalidRequest):
    """The address is too long."""

    status = 414


class UnsupportedMediaType(InvalidRequest):
    """The request body must be sent as Content-Type: application/json."""

    status = 415


class Unauthorized(RectoError):
    """A valid bearer token is needed."""

    status = 401
    code = "unauthorized"


class PlanExceeded(RectoError):
    """This month's pictures are used up."""

    status = 402
    code = "limit_exceeded"

    def __init__(self, limit: int, resets_at: datetime) -> None:
        super().__init__(f"This month's {limit} pictures are used up; the next begin at {resets_at:%Y-%m-%dT%H:%MZ}.")
        self.details = {"resetsAt": resets_at.isoformat().replace("+00:00", "Z")}


class Forbidden(RectoError):
    """This address is not signed, or no longer valid."""

    status = 403
    code = "forbidden"


class NotFound(RectoError):
    """There is nothing here."""

    status = 404
    code = "not_found"


class MethodNotAllowed(RectoError):
    """This address does not take that method."""

    status = 405
    code = "method_not_allowed"


class InProgress(RectoError):
    """A generation is running already."""

    status = 409
    code = "in_progress"


class TooManyInFlight(RectoError):
    """One picture at a time: the one before has not ended."""

    status = 409
    code = "too_many_inflight"


class AlreadySucceeded(RectoError):
    """This generation has succeeded; its results can be read."""

    status = 409
    code = "already_succeeded"


class ReviewedHere(RectoError):
    """The suggestions of this generation are reviewed here, and so their accepted counts follow by themselves."""

    status = 409
    code = "reviewed_here"


class Expired(RectoError):
    """This generation can no longer be retried: its source text has been erased."""

    status = 410
    code = "expired"


class IdempotencyKeyReused(RectoError):
    """This idempotency key was sent with another request."""

    status = 422
    code = "idempotency_key_reused"


class RateLimited(RectoError):
    """Too many generations in a short time."""

    status = 429
    code = "rate_limited"


class QuotaExceeded(RectoError):
    """This month's generations are used up."""

    status = 429
    code = "quota_exceeded"


class Unavailable(RectoError):
    """The service cannot do its work at the moment."""

    status = 503
    code = "unavailable"


class UpstreamError(MadeCalls, RectoError):
    """The language model's provider failed.

    ``detail``: what the operator reads, at most 1,000 characters are kept of it; ``model``: the one that answered or
    was asked. ``retryable``: whether the same call may succeed soon and is not known to have been paid for; every door
    reads it here. ``upstream_status``: the answer's HTTP status, or the code of an error inside a 200; None if no
    answer had begun. ``calls``: every call that was made, in order; the last one ended with this error.
    """

    status = 502
    code = "upstream_error"
    log_code = "upstream_error"
    retryable = False

    def __init__(
        self,
        detail: str,
        *,
        model: str | None = None,
        retry_after_s: float | None = None,
        upstream_status: int | None = None,
        calls: tuple[Call, ...] = (),
    ) -> None:
        super().__init__(retry_after_s=retry_after_s)
        self.detail = detail[:1000]
        self.model = model
        self.upstream_status = upstream_status
        self.calls = calls


class UpstreamConnectionError(UpstreamError):
    """The language model's provider could not be reached."""

    log_code = "upstream_connection_error"
    retryable = True


class UpstreamBrokenAnswer(UpstreamConnectionError):
    """The connection to the language model's provider broke in the middle of an answer.

    The model had answered, and so has probably been paid for.
    """

    retryable = False


class UpstreamHTTPError(UpstreamError):
    """The language model's provider reported an error.

    Retryable are the statuses that OpenRouter documents as passing: timeouts, overload and a provider that is away.
    """

    RETRYABLE_STATUSES = frozenset({408, 500, 502, 503, 504, 524, 529})

    def __init__(
        self, upstream_status: int, detail: str, *, model: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail, model=model, retry_after_s=retry_after_s, upstream_status=upstream_status)
        self.log_code = f"upstream_http_error_{upstream_status}"
        self.retryable = upstream_status in self.RETRYABLE_STATUSES


class UpstreamRefused(UpstreamHTTPError):
    """The operator of this service must mend its account at the language model's provider.

    The key is wrong, may not use the model, or has no credit left.
    """

    STATUSES = frozenset({401, 402, 403})
    code = "upstream_refused"


class UpstreamRateLimited(UpstreamError):
    """The language model's provider is busy; try again in a moment."""

    code = "upstream_rate_limited"
    log_code = "upstream_rate_limited"
    retryable = True


class UpstreamTimeout(UpstreamError):
    """The language model did not answer in time."""

    code = "upstream_timeout"
    log_code = "upstream_timeout"


class UpstreamInvalidResponse(UpstreamError):
    """The language model's answer held no usable flashcard."""

    code = "upstream_invalid_response"
    log_code = "upstream_invalid_response"


class Canceled(UpstreamError):
    """The caller went away before the language model had answered."""

    code = "canceled"
    log_code = "canceled"
