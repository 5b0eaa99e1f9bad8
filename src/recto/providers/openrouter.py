"""OpenRouter's chat completions, or those of any server that speaks the same.

What the provider sends is translated here, once: into a ``Completion`` or into one of the ``UpstreamError``s.
The protocol is described at https://openrouter.ai/docs/api-reference/overview.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from time import monotonic, sleep
from typing import Any

import jiter
import requests
import urllib3
from pydantic_core import to_json

from recto.errors import (
    UpstreamBrokenAnswer,
    UpstreamConnectionError,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamTimeout,
)
from recto.providers import openrouter_errors

# A completion of 15 cards has about 4 KiB. What is larger by this much is not an answer.
MAX_RESPONSE_BYTES = 1024 * 1024

# One host may have several addresses that do not answer; urllib3 gives each of them the connect timeout anew.
_CONNECT_TIMEOUT_S = 5.0

# A retry pauses this long, ±50 %, or as long as the provider asks for, if it asks for little.
_RETRY_PAUSE_S = 0.3
_LONGEST_RETRY_PAUSE_S = 2.0

# How an answer is asked for, from the strictest form to none: a model that refuses one gets the next.
_FORMATS = ("json_schema", "json_object", "plain")


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote. ``model`` is the one that answered; tokens are the provider's own count, None if not told.

    ``request_id`` is the provider's name for the call, under which it can be asked about it.
    """

    content: str
    model: str
    finish_reason: str | None
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: Decimal | None
    request_id: str | None = None


class OpenRouter:
    """A client for one base URL and key. Safe to share between threads and greenlets.

    ``quick_retry``: whether a call tries again by itself; not for a caller that has attempts of its own.
    """

    def __init__(
        self,
        session: requests.Session,
        *,
        base_url: str,
        api_key: str,
        timeout_ms: int,
        max_tokens: int,
        fallback_models: tuple[str, ...] = (),
        quick_retry: bool = True,
    ) -> None:
        self._session = session
        self._api_key = api_key
        self._timeout_s = timeout_ms / 1000
        self._max_tokens = max_tokens
        self._fallback_models = fallback_models
        self._quick_retry = quick_retry
        self._refused_formats: dict[str, int] = {}  # model -> how many of _FORMATS it refuses
        self._url = f"{base_url}/chat/completions"
        # Preparing a request anew costs a third of a call; only the body differs.
        self._template = requests.Request(
            "POST",
            self._url,
            headers={
                "Authorization": f"Bearer {api_key}",
                "Content-Type": "application/json",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "recto",
                "X-OpenRouter-Title": "Recto",
            },
        ).prepare()

    def complete(self, *, model: str, system: str, user: str, schema_name: str, schema: dict[str, Any]) -> Completion:
        """Ask for a completion that follows ``schema`` and return it.

        The timeout is a total one, over all attempts. With ``quick_retry``, a retryable failure is tried once more if
        the first attempt left at least half of the time. Raises ``UpstreamError``.
        """
        started = monotonic()
        deadline = started + self._timeout_s
        body = {
            "model": model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "max_tokens": self._max_tokens,
        }
        if self._fallback_models:
            body["models"] = [model, *self._fallback_models]
        json_schema = {"name": schema_name, "strict": True, "schema": schema}
        try:
            return self._step_down(body, json_schema, deadline)
        except UpstreamError as error:
            if not (self._quick_retry and error.retryable):
                raise
            pause_s = error.retry_after_s or _RETRY_PAUSE_S * random.uniform(0.5, 1.5)  # noqa: S311  spreads load
            elapsed_s = monotonic() - started
            if pause_s > _LONGEST_RETRY_PAUSE_S or elapsed_s + pause_s > self._timeout_s / 2:
                raise
        sleep(pause_s)
        return self._step_down(body, json_schema, deadline)

    def _step_down(self, body: dict[str, Any], json_schema: dict[str, Any], deadline: float) -> Completion:
        model = body["model"]
        while True:
            refused = self._refused_formats.get(model, 0)
            match _FORMATS[refused]:
                case "json_schema":
                    wanted = {"response_format": {"type": "json_schema", "json_schema": json_schema}}
                case "json_object":
                    wanted = {"response_format": {"type": "json_object"}}
                case _:
                    wanted = {}
            try:
                return self._call(body | wanted, deadline)
            except openrouter_errors.FormatRefused:
                if not wanted:
                    raise
                self._refused_formats[model] = refused + 1

    def _call(self, body: dict[str, Any], deadline: float) -> Completion:
        request = self._template.copy()
        request.body = to_json(body)
        request.headers["Content-Length"] = str(len(request.body))
        model = body["model"]
        with _translated(UpstreamConnectionError, model, deadline):
            left_s = deadline - monotonic()
            if left_s <= 0:
                raise TimeoutError
            # The adapter alone: redirects and cookies, which the session adds, are nothing that a provider may ask for.
            response = self._session.get_adapter(self._url).send(
                request,
                stream=True,
                timeout=urllib3.Timeout(connect=min(left_s, _CONNECT_TIMEOUT_S), total=left_s),  # type: ignore[arg-type]  # requests passes urllib3's own through
            )
        answer = None
        try:
            with _translated(UpstreamBrokenAnswer, model, deadline):
                raw = _read(response, model)
            answer = _parse(raw)
            if response.status_code == 200 and answer and (choice := _choice(answer)):
                return _completion(answer, choice, model, _request_id(answer, response))
            raise openrouter_errors.translate(
                status=response.status_code,
                answer=answer,
                retry_after=response.headers.get("Retry-After"),
                model=model,
                secrets=[self._api_key, *(message["content"] for message in body["messages"])],
            )
        except UpstreamError as error:
            error.upstream_status = error.upstream_status or response.status_code
            error.request_id = _request_id(answer, response)
            error.tokens_input, error.tokens_output, error.cost_usd = _usage(answer or {})
            raise


@contextmanager
def _translated(failure: type[UpstreamConnectionError], model: str, deadline: float) -> Iterator[None]:
    """Turn the transport's failures into a timeout or ``failure``.

    Their texts hold addresses and buffers, so only their types are kept.
    """
    try:
        yield
    except requests.ConnectTimeout as error:
        raise UpstreamConnectionError(f"no connection within {_CONNECT_TIMEOUT_S:g} s", model=model) from error
    except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
        raise UpstreamTimeout(
            f"no complete answer within the deadline ({type(error).__name__})", model=model
        ) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        if monotonic() >= deadline:
            raise UpstreamTimeout("no complete answer within the deadline", model=model) from error
        raise failure(f"the connection failed ({type(error).__name__})", model=model) from error


def _read(response: requests.Response, model: str) -> bytes:
    """Read the body, which then returns its connection to the pool; refuse a larger one without reading it whole."""
    declared = response.headers.get("Content-Length", "")
    if not (declared.isdecimal() and int(declared) > MAX_RESPONSE_BYTES):
        raw: bytes = response.raw.read(MAX_RESPONSE_BYTES + 1, decode_content=True)
        if len(raw) <= MAX_RESPONSE_BYTES:
            return raw
    response.close()
    raise UpstreamInvalidResponse(f"the answer is larger than {MAX_RESPONSE_BYTES} bytes", model=model)


def _parse(raw: bytes) -> dict[str, Any] | None:
    """Return the JSON object in the body, or None; keep-alive padding before it is skipped.

    Beside white space, which JSON allows, padding is seen as the comment lines of event streams.
    """
    while (raw := raw.lstrip()).startswith(b":"):
        raw = raw.partition(b"\n")[2]
    try:
        answer = jiter.from_json(raw)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _choice(answer: dict[str, Any]) -> dict[str, Any] | None:
    """Return the first choice of an answer in which nothing is an error."""
    match answer:
        case {"error": error} if error:
            return None
        case {"choices": [{"error": error}, *_]} if error:
            return None
        case {"choices": [{"finish_reason": "error"}, *_]}:
            return None
        case {"choices": [dict() as choice, *_]}:
            return choice
    return None


def _completion(answer: dict[str, Any], choice: dict[str, Any], asked_model: str, request_id: str | None) -> Completion:
    model = _name(answer.get("model")) or asked_model
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    content = _text(message.get("content"))
    finish_reason = choice.get("finish_reason")
    finish_reason = finish_reason if isinstance(finish_reason, str) else None
    if not content.strip():
        refused = message.get("refusal") or finish_reason == "content_filter"
        reason = "the model refused" if refused else "the model wrote nothing"
        raise UpstreamInvalidResponse(f"{reason} (finish_reason {finish_reason})", model=model)
    tokens_input, tokens_output, cost_usd = _usage(answer)
    return Completion(
        content=content,
        model=model,
        finish_reason=finish_reason,
        tokens_input=tokens_input,
        tokens_output=tokens_output,
        cost_usd=cost_usd,
        request_id=request_id,
    )


def _request_id(answer: dict[str, Any] | None, response: requests.Response) -> str | None:
    return _name((answer or {}).get("id")) or _name(response.headers.get("X-Generation-Id"))


def _name(value: Any) -> str | None:
    """Return a name that a log and PostgreSQL can hold."""
    return value if isinstance(value, str) and value and value.isprintable() and len(value) <= 200 else None


def _text(content: Any) -> str:
    """Return a message's content, which is a text, a list of parts, or null."""
    match content:
        case str():
            return content
        case list():
            return "".join(
                part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
            )
    return ""


def _usage(answer: dict[str, Any]) -> tuple[int | None, int | None, Decimal | None]:
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _cost(usage.get("cost"))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def _cost(value: Any) -> Decimal | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1_000_000:
        return Decimal(str(value))
    return None
