"""Replicate's predictions: pictures that a model makes while nobody waits for the answer.

What the provider sends is translated here, once: into a ``Prediction`` or into one of the ``UpstreamError``s.
The protocol is described at https://replicate.com/docs/topics/predictions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal, Self, get_args
from urllib.parse import quote

import requests
from pydantic_core import to_json

from recto.errors import (
    UpstreamBrokenAnswer,
    UpstreamConnectionError,
    UpstreamError,
    UpstreamHTTPError,
    UpstreamRateLimited,
)
from recto.providers.redaction import KEPT_CHARACTERS, withhold
from recto.providers.transport import parse, read, seconds, send, translated

Status = Literal["starting", "processing", "succeeded", "failed", "canceled"]

_MAX_OUTPUTS = 10
_MAX_ID_CHARACTERS = 100
_STATUSES: dict[str, Status] = {status: status for status in get_args(Status)} | {"aborted": "canceled"}


class NotAPrediction(ValueError):
    """What was sent does not describe a prediction."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One picture, or several, that Replicate was asked for.

    ``outputs``: addresses, gone after an hour. ``error``: what the provider says went wrong; it may quote the prompt.
    """

    id: str
    status: Status
    outputs: tuple[str, ...] = ()
    error: str | None = None

    @property
    def ended(self) -> bool:
        """Whether its status changes no more."""
        return self.status in ("succeeded", "failed", "canceled")

    def to_json(self) -> dict[str, Any]:
        """Return what is kept of it until the job has ended, as long as its prompt, which ``error`` may quote."""
        return {"status": self.status, "outputs": list(self.outputs)} | ({"error": self.error} if self.error else {})

    @classmethod
    def of(cls, prediction_id: str, kept: dict[str, Any]) -> Self:
        """Return the prediction of which ``to_json`` was kept."""
        return cls(prediction_id, kept.get("status", "starting"), tuple(kept.get("outputs", ())), kept.get("error"))

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Read a prediction from an answer or a webhook. Raises ``NotAPrediction``."""
        told = parse(body)
        prediction_id, status = told.get("id"), told.get("status")
        if not (isinstance(prediction_id, str) and 0 < len(prediction_id) <= _MAX_ID_CHARACTERS):
            raise NotAPrediction("no id")
        if not prediction_id.isascii() or not prediction_id.isalnum():
            raise NotAPrediction("an id of other than letters and digits")
        known = _STATUSES.get(status) if isinstance(status, str) else None
        if known is None:
            raise NotAPrediction("no known status")
        output = told.get("output")
        outputs = [output] if isinstance(output, str) else output if isinstance(output, list) else []
        error = told.get("error")
        # Only what is printable: jsonb refuses the rest.
        return cls(
            prediction_id,
            known,
            tuple(url for url in outputs if isinstance(url, str) and url.isprintable())[:_MAX_OUTPUTS],
            withhold([], [error[:KEPT_CHARACTERS]]) if isinstance(error, str) else None,
        )


class Replicate:
    """A client for one account and model. Safe to share between threads and greenlets.

    ``base_url``: without ``/v1``. Each method's time is a total one. All raise ``UpstreamError``.
    """

    def __init__(self, session: requests.Session, *, base_url: str, token: str, model: str, timeout_ms: int) -> None:
        self._session = session
        self._base_url = f"{base_url}/v1"
        self._token = token
        self._model = model
        self._timeout_s = timeout_ms / 1000

    def create(self, *, prompt: str, images: Sequence[str], webhook_url: str) -> Prediction:
        """Ask for a picture. ``images``: addresses that the provider can read for some minutes."""
        body = {
            "input": {"prompt": prompt, "output_format": "jpg"} | ({"image_input": list(images)} if images else {}),
            "webhook": webhook_url,
            "webhook_events_filter": ["completed"],
        }
        model = "/".join(quote(part, safe="") for part in self._model.split("/"))
        return self._call("POST", f"/models/{model}/predictions", body, [prompt, webhook_url, *images])

    def find(self, prediction_id: str) -> Prediction:
        """Look a prediction up."""
        return self._call("GET", f"/predictions/{quote(prediction_id, safe='')}", None, [])

    def cancel(self, prediction_id: str) -> Prediction:
        """Stop a prediction; one that has ended stays as it is."""
        return self._call("POST", f"/predictions/{quote(prediction_id, safe='')}/cancel", {}, [])

    def _call(self, method: str, path: str, body: dict[str, Any] | None, secrets: list[str]) -> Prediction:
        deadline = monotonic() + self._timeout_s
        request = requests.Request(
            method,
            self._base_url + path,
            headers={
                "Authorization": f"Bearer {self._token}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "recto",
            }
            | ({} if body is None else {"Content-Type": "application/json"}),
            data=None if body is None else to_json(body),
        ).prepare()
        with translated(UpstreamConnectionError, deadline):
            response = send(self._session.get_adapter(self._base_url), request, self._timeout_s)
        with translated(UpstreamBrokenAnswer, deadline):
            raw = read(response)
        if not 200 <= response.status_code < 300:
            raise self._error(response, raw, secrets)
        try:
            return Prediction.read(raw)
        except NotAPrediction as error:
            raise UpstreamBrokenAnswer(
                f"the answer is not a prediction: {error}", model=self._model, upstream_status=response.status_code
            ) from None

    def _error(self, response: requests.Response, raw: bytes, secrets: list[str]) -> UpstreamError:
        """Translate an error as https://replicate.com/docs describes it: a title, a detail, and what is invalid."""
        told = parse(raw)
        said = (told.get("title"), told.get("detail"))
        parts = [f"HTTP {response.status_code}", *(text[:KEPT_CHARACTERS] for text in said if isinstance(text, str))]
        detail = withhold([self._token, *secrets], parts)
        retry_after_s = seconds(response.headers.get("Retry-After"))
        if response.status_code == 429:
            return UpstreamRateLimited(detail, model=self._model, retry_after_s=retry_after_s, upstream_status=429)
        return UpstreamHTTPError(response.status_code, detail, model=self._model, retry_after_s=retry_after_s)
