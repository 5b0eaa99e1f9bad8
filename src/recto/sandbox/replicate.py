"""Replicate's API as far as Recto and its official client meet it: predictions, files, webhooks' secret, outputs.

Words ``[sandbox: …]`` in the prompt ask for one of ``FAULTS``.
"""

import email
import email.policy
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

from recto.sandbox.chat import Reply, to_json
from recto.sandbox.picture import picture
from recto.sandbox.predictions import SIGNING_SECRET, Prediction, Predictions, stamp

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
    "flagged": "the prediction fails: the model refuses the prompt",
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
_FILE = re.compile(r"/v1/files/([a-z0-9]{26})")
_ELSEWHERE = "http://169.254.169.254/latest/meta-data/"
_LONGEST_WAIT_S = 60

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


class Replicate:
    """Replicate's API at one address. ``looked_up``: how often a prediction was asked for."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._predictions = Predictions()
        self._files: dict[str, dict[str, Any]] = {}
        self.looked_up = 0

    def close(self) -> None:
        """Stop all predictions; no webhook is sent afterwards."""
        self._predictions.close()

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
            prediction = self._predictions.find(match[1])
            if prediction is None:
                return _error(404, "Not found", "The requested resource could not be found.")
            if method == "POST" and match[2]:
                self._predictions.cancel(prediction)
                return _json(200, prediction.describe())
            if method == "GET" and not match[2]:
                self.looked_up += 1
                return _json(200, prediction.describe())
        return _error(404, "Not found", "The requested resource could not be found.")

    def output(self, path: str) -> Reply:
        """Answer with the file of an output."""
        match = _OUTPUT.fullmatch(path)
        prediction = self._predictions.find(match[1]) if match else None
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
                return Reply(302, b"", {"Location": _ELSEWHERE})
        return Reply(
            200, picture(str(prediction.input.get("prompt", "")), int(match[2])), {"Content-Type": "image/jpeg"}
        )

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
        prediction = Prediction(
            id=f"r{uuid4().hex[:25]}",
            model=path.removeprefix("/v1/models/").removesuffix("/predictions"),
            input=given,
            webhook=webhook,
            events=asked.get("webhook_events_filter") or ["start", "completed"],
            fault=fault,
            created=datetime.now(UTC),
            base_url=self._base_url,
        )
        self._predictions.start(prediction)
        if fault == "silent":
            return None
        if fault == "no-prediction":
            return Reply(201, b'{"detail": "created"}', {})
        if wait_s := _wait_s(headers.get("Prefer", "")):
            self._predictions.wait(prediction, wait_s)
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
            "created_at": stamp(datetime.now(UTC)),
            "expires_at": stamp(datetime.now(UTC) + timedelta(hours=1)),
            "urls": {"get": f"{self._base_url}/v1/files/{file_id}"},
        }
        self._files[file_id] = described
        return _json(201, described)


def _wait_s(prefer: str) -> float:
    """Return how long the caller wants to wait: `Prefer: wait` or `wait=n`."""
    match = re.search(r"\bwait(?:=(\d{1,3}))?\b", prefer)
    return min(int(match[1] or _LONGEST_WAIT_S), _LONGEST_WAIT_S) if match else 0


def _json(status: int, body: Any) -> Reply:
    return Reply(status, to_json(body).encode(), {})


def _error(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, to_json({"title": title, "detail": detail, "status": status}).encode(), headers or {})
