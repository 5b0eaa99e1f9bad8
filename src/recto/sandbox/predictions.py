"""The life of the sandbox's predictions: they begin at once, take ``TAKES_S``, end, and tell their webhook.

Nothing of the prompts is kept for longer than ``_MOST_KEPT`` predictions.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from recto.providers import standard_webhooks
from recto.sandbox.chat import to_json

TAKES_S = 0.3
SIGNING_SECRET = "whsec_c2FuZGJveC1zaWduaW5nLWtleS1vZi1yZWN0bw=="  # noqa: S105  of the sandbox alone

_SLOW_S = 5.0
_LATE_S = 2.0
_STALE_S = 600
_FORGED = "whsec_" + "Zm9yZ2Vk" * 4
_PRIVATE_URL = "http://169.254.169.254/latest/meta-data/"
_WEBHOOK_TIMEOUT_S = 5
_WEBHOOK_TRIES = 3
_MOST_KEPT = 1000


@dataclass
class Prediction:
    """A prediction and what was asked for; ``fault``: one of the list, or empty."""

    id: str
    model: str
    input: dict[str, Any]
    webhook: str | None
    events: list[str]
    fault: str
    created: datetime
    base_url: str
    status: str = "starting"
    error: str | None = None
    output: Any = None
    started: datetime | None = None
    completed: datetime | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def ended(self) -> bool:
        """Whether its status changes no more."""
        return self.status in ("succeeded", "failed", "canceled")

    def describe(self) -> dict[str, Any]:
        """Return what Replicate says of it."""
        own = f"{self.base_url}/v1/predictions/{self.id}"
        return {
            "id": self.id,
            "model": self.model,
            "version": "hidden",
            "input": self.input,
            "output": self.output,
            "error": self.error,
            "logs": "",
            "status": self.status,
            "created_at": stamp(self.created),
            "started_at": stamp(self.started),
            "completed_at": stamp(self.completed),
            "data_removed": False,
            "metrics": {"predict_time": TAKES_S} if self.ended else {},
            "urls": {"get": own, "cancel": f"{own}/cancel", "web": own},
        }


class Predictions:
    """All predictions of one sandbox. ``close`` ends their timers; no webhook is sent afterwards."""

    def __init__(self) -> None:
        self._kept: dict[str, Prediction] = {}
        self._lock = threading.Lock()
        self._timers: set[threading.Timer] = set()
        self._closed = False

    def find(self, prediction_id: str) -> Prediction | None:
        """Return the prediction of that id."""
        return self._kept.get(prediction_id)

    def start(self, prediction: Prediction) -> None:
        """Let a new prediction run to its end."""
        with self._lock:
            for old in [one for one in self._kept.values() if one.ended][: max(0, len(self._kept) - _MOST_KEPT)]:
                del self._kept[old.id]
            self._kept[prediction.id] = prediction
        if prediction.fault != "never":
            self._later(_SLOW_S if prediction.fault == "slow" else TAKES_S, lambda: self._finish(prediction))

    def wait(self, prediction: Prediction, seconds: float) -> None:
        """Wait until the prediction has ended, for so many seconds at most."""
        give_up = monotonic() + seconds
        with prediction.changed:
            while not prediction.ended and not self._closed and (left_s := give_up - monotonic()) > 0:
                prediction.changed.wait(left_s)

    def cancel(self, prediction: Prediction) -> None:
        """End the prediction, unless it has ended."""
        self._end(prediction, "canceled")

    def close(self) -> None:
        """Stop all predictions."""
        with self._lock:
            self._closed = True
            timers = tuple(self._timers)
        for timer in timers:
            timer.cancel()
        for timer in timers:
            timer.join()
        for prediction in tuple(self._kept.values()):
            with prediction.changed:
                prediction.changed.notify_all()

    def _finish(self, prediction: Prediction) -> None:
        prediction.started = datetime.now(UTC)
        if prediction.fault == "fails":
            self._end(prediction, "failed", error="Prediction failed: the model ran out of memory")
        elif prediction.fault == "flagged":
            self._end(prediction, "failed", error="The input or output was flagged as sensitive. (E005)")
        else:
            own = f"{prediction.base_url}/outputs/{prediction.id}"
            outputs = {
                "no-output": None,
                "two-outputs": [f"{own}/0.jpg", f"{own}/1.jpg"],
                "output-elsewhere": _PRIVATE_URL,
            }
            self._end(prediction, "succeeded", output=outputs.get(prediction.fault, f"{own}/0.jpg"))

    def _end(self, prediction: Prediction, status: str, *, error: str | None = None, output: Any = None) -> None:
        with prediction.changed:
            if prediction.ended:
                return
            prediction.status, prediction.error, prediction.output = status, error, output
            prediction.completed = datetime.now(UTC)
            prediction.changed.notify_all()
        self._tell(prediction)

    def _tell(self, prediction: Prediction) -> None:
        if prediction.webhook is None or "completed" not in prediction.events or prediction.fault == "no-webhook":
            return
        url, message_id = prediction.webhook, f"msg_{uuid4().hex}"
        body = to_json(prediction.describe()).encode()
        secret, age_s, times = SIGNING_SECRET, 0, 1
        match prediction.fault:
            case "forged-webhook":
                secret = _FORGED
            case "stale-webhook":
                age_s = _STALE_S
            case "double-webhook":
                times = 10
        messages = [(message_id, body)] * times
        if prediction.fault == "reordered-webhooks":
            before = prediction.describe() | {"status": "processing", "output": None, "completed_at": None}
            messages.append((f"msg_{uuid4().hex}", to_json(before).encode()))

        def send() -> None:
            for one_id, one_body in messages:
                for _ in range(_WEBHOOK_TRIES):
                    if self._closed or _posted(url, secret, one_id, int(time()) - age_s, one_body):
                        break

        self._later(_LATE_S if prediction.fault == "late-webhook" else 0, send)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        def act() -> None:
            try:
                action()
            finally:
                with self._lock:
                    self._timers.discard(timer)

        timer = threading.Timer(seconds, act)
        timer.daemon = True
        with self._lock:
            if self._closed:
                return
            self._timers.add(timer)
            timer.start()


def _posted(url: str, secret: str, message_id: str, timestamp: int, body: bytes) -> bool:
    """Deliver a webhook; False if it may be tried again."""
    parts = urlsplit(url)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Replicate/1.0 Recto-Sandbox",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": standard_webhooks.sign(secret, message_id, timestamp, body),
    }
    conn = HTTPConnection(parts.hostname or "", parts.port, timeout=_WEBHOOK_TIMEOUT_S)
    try:
        conn.request("POST", parts.path + (f"?{parts.query}" if parts.query else ""), body, headers)
        return conn.getresponse().status < 500
    except (OSError, ValueError):
        return False
    finally:
        conn.close()


def stamp(moment: datetime | None) -> str | None:
    """Write a time as Replicate does."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None
