"""OpenRouter's chat completions, or those of any server that speaks the same.

What the provider sends is translated here, once: into a ``Completion`` or into one of the ``UpstreamError``s.
The protocol is described at https://openrouter.ai/docs/api-reference/overview.
"""

import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote

import requests
from pydantic_core import to_json

from recto.calls import Call, MadeCalls, Spent
from recto.errors import (
    Canceled,
    UpstreamBrokenAnswer,
    UpstreamConnectionError,
    UpstreamError,
    UpstreamHTTPError,
    UpstreamRefused,
)
from recto.providers import openrouter_answers, openrouter_errors, openrouter_prices, openrouter_stream
from recto.providers.deadline import streamed
from recto.providers.openrouter_prices import Endpoint
from recto.providers.transport import parse, read, send, translated

# A retry pauses this long, ±50 %, or as long as the provider asks for, if it asks for little.
_RETRY_PAUSE_S = 0.3
_LONGEST_RETRY_PAUSE_S = 2.0

# After one of these statuses a simpler form of answer is asked for.
_FORMAT_REFUSALS = frozenset({400, 404, 415, 422})

# Asking what a past call took, about the key, or about prices.
_LOOK_TIMEOUT_S = 10.0

# A model that refuses a form may learn it, or be served by another provider.
_REFUSAL_REMEMBERED_S = 600.0


@dataclass(frozen=True, slots=True)
class Completion(MadeCalls):
    """What a model wrote, and why it stopped.

    ``calls``: every call that was made for it, in order; the last one brought it.
    """

    content: str
    finish_reason: str | None
    calls: tuple[Call, ...]

    @property
    def model(self) -> str:
        """The model that answered."""
        return self.calls[-1].model


class Listener:
    """Hears what a model writes while it writes, for a caller who may go away.

    ``on_text`` is called with each piece; it must not raise. ``is_canceled`` is asked several times a second: once it
    is true, the provider is no longer listened to. ``has_heard``: whether a piece has come.
    """

    def __init__(self, on_text: Callable[[str], None], is_canceled: Callable[[], bool]) -> None:
        self.is_canceled = is_canceled
        self.has_heard = False
        self._on_text = on_text

    def hear(self, text: str) -> None:
        """Take the next piece."""
        self.has_heard = True
        self._on_text(text)


class OpenRouter:
    """A client for one base URL and key. Safe to share between threads and greenlets. ``timeout_s``: of one completion.

    ``quick_retry``: whether a call tries again by itself; not for a caller that has attempts of its own. ``clock``:
    seconds, for how long a refused response format is remembered.
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
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._session = session
        self._api_key = api_key
        self.timeout_s = timeout_ms / 1000
        self._max_tokens = max_tokens
        self._fallback_models = fallback_models
        self._quick_retry = quick_retry
        self._clock = clock
        self._refusals: dict[str, tuple[int, float]] = {}  # model -> how many of _formats it refuses, until when
        self._base_url = base_url
        self._headers = {
            "Authorization": f"Bearer {api_key}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "recto",
            "X-OpenRouter-Title": "Recto",
        }
        # Preparing a request takes a third of a call's time; only the body differs.
        self._template = requests.Request(
            "POST", f"{base_url}/chat/completions", headers=self._headers | {"Content-Type": "application/json"}
        ).prepare()

    def complete(
        self,
        *,
        model: str,
        system: str,
        user: str,
        schema_name: str,
        schema: dict[str, Any],
        listener: Listener | None = None,
        within_s: float | None = None,
    ) -> Completion:
        """Ask for a completion that follows ``schema`` and return it; a ``listener`` hears it while it is written.

        The timeout is a total one, over all calls: the client's, or ``within_s``. With ``quick_retry``, a retryable
        failure is tried once more if the first try left at least half of the time and nothing was heard. Raises
        ``UpstreamError``, with the calls that were made; ``Canceled`` if that is why it ended.
        """
        body = {
            "model": model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "max_tokens": self._max_tokens,
        }
        if listener:
            body["stream"] = True
        if self._fallback_models:
            body["models"] = [model, *self._fallback_models]
        formats = _formats(schema_name, schema)
        calls: list[Call] = []
        try:
            content, finish_reason = self._try(body, formats, calls, listener, within_s or self.timeout_s)
        except UpstreamError as error:
            error.calls = tuple(calls)
            raise
        return Completion(content, finish_reason, tuple(calls))

    def spent(self, request_id: str) -> Spent | None:
        """Ask what a past call took; None if the provider does not know it, or not yet."""
        status, answer = self._look(f"generation?id={quote(request_id, safe='')}")
        return openrouter_answers.spent(answer) if status == 200 else None

    def refusal_of_key(self) -> int | None:
        """Return the status with which the provider refuses the key; None if it takes it, or cannot be asked."""
        status, _ = self._look("key")
        return status if status in UpstreamRefused.STATUSES else None

    def endpoints(self, model: str) -> list[Endpoint]:
        """Ask who serves a model, at which prices; none if the provider does not tell, or cannot be asked."""
        status, answer = self._look(f"models/{quote(model, safe='/:')}/endpoints")
        return openrouter_prices.endpoints(answer) if status == 200 else []

    def _look(self, path: str) -> tuple[int | None, dict[str, Any]]:
        """Return the status and the JSON object of an answer; no status if there was none."""
        request = requests.Request("GET", f"{self._base_url}/{path}", headers=self._headers).prepare()
        try:
            with translated(UpstreamConnectionError, monotonic() + _LOOK_TIMEOUT_S):
                response = send(self._session.get_adapter(self._base_url), request, _LOOK_TIMEOUT_S)
                return response.status_code, parse(read(response))
        except UpstreamError:
            return None, {}

    def _try(
        self,
        body: dict[str, Any],
        formats: list[dict[str, Any]],
        calls: list[Call],
        listener: Listener | None,
        timeout_s: float,
    ) -> tuple[str, str | None]:
        started = monotonic()
        deadline = started + timeout_s
        try:
            return self._step_down(body, formats, deadline, calls, listener)
        except UpstreamError as error:
            if not (self._quick_retry and error.retryable) or (listener and listener.has_heard):
                raise
            pause_s = error.retry_after_s or _RETRY_PAUSE_S * random.uniform(0.5, 1.5)  # noqa: S311  spreads load
            elapsed_s = monotonic() - started
            if pause_s > _LONGEST_RETRY_PAUSE_S or elapsed_s + pause_s > timeout_s / 2:
                raise
        sleep(pause_s)
        return self._step_down(body, formats, deadline, calls, listener)

    def _step_down(
        self,
        body: dict[str, Any],
        formats: list[dict[str, Any]],
        deadline: float,
        calls: list[Call],
        listener: Listener | None,
    ) -> tuple[str, str | None]:
        """Ask in the strictest form that the model is not known to refuse, then in simpler ones.

        That a form was refused shows when a simpler one succeeds: the statuses have other reasons too, and the texts
        of errors, which may quote the user's, prove nothing.
        """
        model = body["model"]
        refused, until = self._refusals.get(model, (0, 0.0))
        first = refused if self._clock() < until else 0
        for number, form in enumerate(formats[first:], first):
            try:
                written = self._call(body | form, deadline, calls, listener)
            except UpstreamHTTPError as error:
                if error.upstream_status not in _FORMAT_REFUSALS or form is formats[-1]:
                    raise
                if listener and listener.has_heard:
                    raise
            else:
                if number > first:
                    self._refusals[model] = (number, self._clock() + _REFUSAL_REMEMBERED_S)
                return written
        raise AssertionError  # the last form returned or raised

    def _call(
        self, body: dict[str, Any], deadline: float, calls: list[Call], listener: Listener | None
    ) -> tuple[str, str | None]:
        """Make one call and append it to ``calls``; return what the model wrote and why it stopped."""
        started = monotonic()
        response: requests.Response | None = None
        answer: dict[str, Any] = {}
        failure: UpstreamError | None = None
        try:
            with translated(UpstreamConnectionError, deadline):
                response = self._send(body, deadline, listener)
            with translated(UpstreamBrokenAnswer, deadline):
                if is_stream := listener is not None and openrouter_stream.is_stream(response):
                    openrouter_stream.read(response, answer, listener.hear)
                else:
                    answer |= parse(read(response))
            if response.status_code == 200 and (choice := openrouter_answers.choice_of(answer)):
                written = openrouter_answers.written(choice)
                if listener and not is_stream:
                    listener.hear(written[0])
                return written
            raise openrouter_errors.translate(
                status=response.status_code,
                answer=answer,
                retry_after=response.headers.get("Retry-After"),
                secrets=[self._api_key, *(message["content"] for message in body["messages"])],
            )
        except UpstreamError as error:
            failure = error
            if listener and listener.is_canceled():
                failure = Canceled("the caller went away")
                raise failure from error
            raise
        finally:
            status = None if response is None else response.status_code
            header = None if response is None else response.headers.get("X-Generation-Id")
            call = Call(
                model=openrouter_answers.name(answer.get("model")) or body["model"],
                outcome=failure.log_code if failure else "succeeded",
                duration_ms=round((monotonic() - started) * 1000),
                upstream_status=(failure and failure.upstream_status) or status,
                request_id=openrouter_answers.name(answer.get("id")) or openrouter_answers.name(header),
                **openrouter_answers.usage(answer),
            )
            calls.append(call)
            if failure:
                failure.model, failure.upstream_status = call.model, call.upstream_status

    def _send(self, body: dict[str, Any], deadline: float, listener: Listener | None) -> requests.Response:
        request = self._template.copy()
        request.body = to_json(body)
        request.headers["Content-Length"] = str(len(request.body))
        left_s = max(deadline - monotonic(), 0.001)
        with streamed(listener.is_canceled) if listener else nullcontext():
            return send(self._session.get_adapter(self._base_url), request, left_s)


def _formats(schema_name: str, schema: dict[str, Any]) -> list[dict[str, Any]]:
    """How an answer is asked for, from the strictest form to none."""
    json_schema = {"name": schema_name, "strict": True, "schema": schema}
    return [
        {"response_format": {"type": "json_schema", "json_schema": json_schema}},
        {"response_format": {"type": "json_object"}},
        {},
    ]
