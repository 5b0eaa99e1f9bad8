"""Replicate's predictions as far as Recto and its official client meet them: pictures that show the prompt's words.

A line or words ``[sandbox: …]`` in the prompt ask for one of ``FAULTS``. A prediction begins at once, takes ``TAKES_S``
and is then told to its webhook, signed. Nothing of the prompts is kept once a prediction has ended but its words in the
picture.
"""

import email
import email.policy
import json
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.client import HTTPConnection
from io import BytesIO
from textwrap import wrap
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from PIL import Image, ImageDraw

from recto.providers import standard_webhooks
from recto.sandbox.chat import Reply, to_json

TAKES_S = 0.3
SIGNING_SECRET = "whsec_c2FuZGJveC1zaWduaW5nLWtleS1vZi1yZWN0bw=="  # noqa: S105  of the sandbox alone

# By name, what goes wrong and where.
FAULTS: Mapping[str, str] = {
    "http-401": "the prediction is not taken: the token is wrong",
    "http-402": "the prediction is not taken: no credit is left",
    "http-422": "the prediction is not taken: an input is invalid",
    "http-429": "the prediction is not taken: too many were asked for; Retry-After 2",
    "http-500": "the prediction is not taken: the provider's own error",
    "no-prediction": "the prediction's answer is not a prediction",
    "silent": "the prediction is taken, and no answer comes",
    "fails": "the prediction fails",
    "nsfw": "the prediction fails: the model refuses the prompt",
    "slow": "the prediction takes 5 s",
    "never": "the prediction does not end",
    "no-webhook": "no webhook comes",
    "late-webhook": "the webhook comes 2 s after the end",
    "double-webhook": "the webhook comes ten times, under the same id",
    "reordered-webhooks": "a webhook that says `processing` comes after that of the end",
    "forged-webhook": "the webhook is signed with another secret",
    "stale-webhook": "the webhook is signed ten minutes ago",
    "no-output": "the prediction succeeds without an output",
    "two-outputs": "the output is a list of two pictures",
    "output-gone": "the output's address answers 404",
    "output-html": "the output is a page of HTML",
    "output-huge": "the output has 30 MiB",
    "output-elsewhere": "the output's address is that of a cloud's metadata",
    "output-redirect": "the output's address answers with a redirect to such an address",
}

_FAULT = re.compile(r"\[sandbox:\s*([a-z0-9-]+)\s*\]")
_PREDICTION = re.compile(r"/v1/predictions/([a-z0-9]{26})(/cancel)?")
_CREATE = re.compile(r"/v1/(?:models/[\w.-]+/[\w.-]+/)?predictions")
_OUTPUT = re.compile(r"/outputs/([a-z0-9]{26})/(\d)\.jpg")
_PRIVATE_URL = "http://169.254.169.254/latest/meta-data/"
_FILE = re.compile(r"/v1/files/([a-z0-9]{26})")
_LONGEST_WAIT_S = 60
_WEBHOOK_TIMEOUT_S = 5
_WEBHOOK_TRIES = 3
_MOST_KEPT = 1000

_CREATED = {
    "http-401": (401, "Unauthenticated", "You did not pass a valid authentication token", {}),
    "http-402": (402, "Insufficient credit", "You have insufficient credit to run this model.", {}),
    "http-422": (422, "Input validation failed", "- input.prompt: it is not allowed\n", {}),
    "http-429": (
        429,
        "Too many requests",
        "Request was throttled. Your rate limit resets in ~2s.",
        {"Retry-After": "2"},
    ),
    "http-500": (500, "Internal server error", "Something went wrong", {}),
}


@dataclass
class _Prediction:
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
        return self.status in ("succeeded", "failed", "canceled")

    def describe(self) -> dict[str, Any]:
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
            "created_at": _stamp(self.created),
            "started_at": _stamp(self.started),
            "completed_at": _stamp(self.completed),
            "data_removed": False,
            "metrics": {"predict_time": TAKES_S} if self.ended else {},
            "urls": {"get": own, "cancel": f"{own}/cancel", "web": own},
        }


class Replicate:
    """All predictions of one sandbox, and what its files are. ``close`` ends what has not ended."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._predictions: dict[str, _Prediction] = {}
        self._files: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._timers: set[threading.Timer] = set()
        self._closed = False
        self.looked_up = 0

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        """Answer a request to the API; None is no answer at all."""
        if (method, path) == ("GET", "/v1/webhooks/default/secret"):
            return _json(200, {"key": SIGNING_SECRET})
        if method == "POST" and _CREATE.fullmatch(path):
            return self._create(path, headers, body)
        if (method, path) == ("POST", "/v1/files"):
            return self._keep_file(headers, body)
        if method == "GET" and (match := _FILE.fullmatch(path)) and match[1] in self._files:
            return _json(200, self._files[match[1]])
        if match := _PREDICTION.fullmatch(path):
            prediction = self._predictions.get(match[1])
            if prediction is None:
                return _error(404, "Not found", "The requested resource could not be found.")
            if method == "POST" and match[2]:
                self._end(prediction, "canceled")
                return _json(200, prediction.describe())
            if method == "GET" and not match[2]:
                self.looked_up += 1
                return _json(200, prediction.describe())
        return _error(404, "Not found", "The requested resource could not be found.")

    def output(self, path: str) -> Reply:
        """Answer with the file of an output."""
        match = _OUTPUT.fullmatch(path)
        prediction = self._predictions.get(match[1]) if match else None
        if prediction is None or match is None:
            return Reply(404, b"", {"Content-Type": "text/plain"})
        match prediction.fault:
            case "output-gone":
                return Reply(404, b"", {"Content-Type": "text/plain"})
            case "output-html":
                return Reply(200, b"<html><body>Not a picture</body></html>", {"Content-Type": "text/html"})
            case "output-huge":
                return Reply(200, bytes(30 * 1024 * 1024), {"Content-Type": "image/jpeg"})
            case "output-redirect":
                return Reply(302, b"", {"Location": _PRIVATE_URL})
        return Reply(
            200, picture(str(prediction.input.get("prompt", "")), int(match[2])), {"Content-Type": "image/jpeg"}
        )

    def close(self) -> None:
        """Stop all predictions; no webhook is sent afterwards."""
        with self._lock:
            self._closed = True
            timers = tuple(self._timers)
        for timer in timers:
            timer.cancel()
        for timer in timers:
            timer.join()
        for prediction in tuple(self._predictions.values()):
            with prediction.changed:
                prediction.changed.notify_all()

    def _create(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        try:
            asked = json.loads(body)
            given = asked["input"]
            prompt = given["prompt"]
        except (ValueError, RecursionError, KeyError, TypeError):
            return _error(422, "Input validation failed", "- input.prompt: is required\n")
        if not isinstance(prompt, str) or not isinstance(given, dict):
            return _error(422, "Input validation failed", "- input.prompt: must be a string\n")
        unknown = asked.keys() - {"input", "webhook", "webhook_events_filter", "version", "stream"}
        if unknown:
            return _error(422, "Input validation failed", f"- {min(unknown)}: Additional property is not allowed\n")
        webhook = asked.get("webhook")
        if webhook is not None and not str(webhook).startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            return _error(422, "Input validation failed", "- webhook: must be an HTTPS address\n")
        found = _FAULT.search(prompt)
        fault = found[1] if found else ""
        if fault and fault not in FAULTS:
            return _error(422, "Input validation failed", f"- input.prompt: There are: {', '.join(FAULTS)}.\n")
        if fault in _CREATED:
            status, title, detail, more = _CREATED[fault]
            return _error(status, title, detail, more)
        prediction = _Prediction(
            id=f"r{uuid4().hex[:25]}",
            model=path.removeprefix("/v1/models/").removesuffix("/predictions"),
            input=given,
            webhook=webhook,
            events=asked.get("webhook_events_filter") or ["start", "completed"],
            fault=fault,
            created=datetime.now(UTC),
            base_url=self._base_url,
        )
        with self._lock:
            for old in [one for one in self._predictions.values() if one.ended][: len(self._predictions) - _MOST_KEPT]:
                del self._predictions[old.id]
            self._predictions[prediction.id] = prediction
        if fault != "never":
            self._later(5 if fault == "slow" else TAKES_S, lambda: self._finish(prediction))
        if fault == "silent":
            return None
        if fault == "no-prediction":
            return Reply(201, b'{"detail": "created"}', {})
        if wait_s := _wait_s(headers.get("Prefer", "")):
            deadline = monotonic() + wait_s
            with prediction.changed:
                while not prediction.ended and not self._closed and (left_s := deadline - monotonic()) > 0:
                    prediction.changed.wait(left_s)
        return _json(201, prediction.describe())

    def _keep_file(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """Take an upload's description and not its bytes, which no sandbox's model looks at."""
        head = f"Content-Type: {headers.get('Content-Type', '')}\r\n\r\n".encode()
        form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        part = next(
            (one for one in form.iter_parts() if one.get_param("name", header="content-disposition") == "content"), None
        )
        if part is None:
            return _error(422, "Input validation failed", "- content: is required\n")
        content = part.get_payload(decode=True)
        data = content if isinstance(content, bytes) else b""
        file_id = f"f{uuid4().hex[:25]}"
        digest = sha256(data).hexdigest()
        described = {
            "id": file_id,
            "name": part.get_filename() or "file",
            "content_type": part.get_content_type(),
            "size": len(data),
            "etag": digest,
            "checksums": {"sha256": digest},
            "metadata": {},
            "created_at": _stamp(datetime.now(UTC)),
            "expires_at": _stamp(datetime.now(UTC) + timedelta(hours=1)),
            "urls": {"get": f"{self._base_url}/v1/files/{file_id}"},
        }
        with self._lock:
            if len(self._files) >= _MOST_KEPT:
                del self._files[next(iter(self._files))]
            self._files[file_id] = described
        return _json(201, described)

    def _finish(self, prediction: _Prediction) -> None:
        prediction.started = datetime.now(UTC)
        if prediction.fault == "fails":
            self._end(prediction, "failed", error="Prediction failed: the model ran out of memory")
        elif prediction.fault == "nsfw":
            self._end(prediction, "failed", error="The input or output was flagged as sensitive. (E005)")
        else:
            own = f"{self._base_url}/outputs/{prediction.id}"
            outputs = {
                "no-output": None,
                "two-outputs": [f"{own}/0.jpg", f"{own}/1.jpg"],
                "output-elsewhere": _PRIVATE_URL,
            }
            self._end(prediction, "succeeded", output=outputs.get(prediction.fault, f"{own}/0.jpg"))

    def _end(self, prediction: _Prediction, status: str, *, error: str | None = None, output: Any = None) -> None:
        with prediction.changed:
            if prediction.ended:
                return
            prediction.status, prediction.error, prediction.output = status, error, output
            prediction.completed = datetime.now(UTC)
            prediction.changed.notify_all()
        self._tell(prediction)

    def _tell(self, prediction: _Prediction) -> None:
        if prediction.webhook is None or "completed" not in prediction.events or prediction.fault == "no-webhook":
            return
        url, message_id = prediction.webhook, f"msg_{uuid4().hex}"
        body = to_json(prediction.describe()).encode()
        secret, age_s, times = SIGNING_SECRET, 0, 1
        match prediction.fault:
            case "forged-webhook":
                secret = "whsec_" + "Zm9yZ2Vk" * 4
            case "stale-webhook":
                age_s = 600
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

        self._later(2 if prediction.fault == "late-webhook" else 0, send)

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


def picture(prompt: str, number: int = 0) -> bytes:
    """Draw a JPEG that shows the prompt's words on a colour of its own; the same for the same prompt and number."""
    digest = sha256(f"{number} {prompt}".encode("utf-8", "replace")).digest()
    image = Image.new("RGB", (640, 480), tuple(128 + byte // 2 for byte in digest[:3]))
    lines = wrap(" ".join(prompt.split())[:400], 44) or ["…"]
    ImageDraw.Draw(image).multiline_text((32, 32), "\n".join(lines), fill="black", font_size=24, spacing=8)
    written = BytesIO()
    image.save(written, "JPEG", quality=85)
    return written.getvalue()


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
    except (OSError, socket.gaierror, ValueError):
        return False
    finally:
        conn.close()


def _wait_s(prefer: str) -> float:
    """Return how long the caller wants to wait: `Prefer: wait` or `wait=n`."""
    match = re.search(r"\bwait(?:=(\d{1,3}))?\b", prefer)
    return min(int(match[1] or _LONGEST_WAIT_S), _LONGEST_WAIT_S) if match else 0


def _stamp(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _json(status: int, body: Any) -> Reply:
    return Reply(status, to_json(body).encode(), {})


def _error(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, to_json({"title": title, "detail": detail, "status": status}).encode(), headers or {})
