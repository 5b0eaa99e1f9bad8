"""OpenRouter's chat protocol as far as Recto meets it: what a request asks, how answers and errors look."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from recto.sandbox import extractive, invented

MODEL = "sandbox/extractive"
PROVIDER = "Sandbox"

_CARDS_BY_DEFAULT = 15
_AT_MOST = re.compile(r"at most (\d{1,3}) flashcards?", re.IGNORECASE)
_MATERIAL = re.compile(r"<(source_text|topic)>[ \t]*\r?\n(.*)\n</\1>[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_KNOWN = re.compile(r"<known_fronts>[ \t]*\r?\n(.*)\n</known_fronts>[ \t]*\r?$", re.DOTALL | re.MULTILINE)
# Nothing in it reads a long run of spaces twice.
_FAULT = re.compile(r"(?<![ \t])[ \t]*+\[sandbox:([^\]\n]*+)\][ \t]*+")
_FAULT_LINE = re.compile(rf"^{_FAULT.pattern}\r?(?:\n|\Z)", re.MULTILINE)


@dataclass(frozen=True)
class Reply:
    """A whole HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self, framing: str = "") -> bytes:
        """The status line and the headers, framed by the body's length unless ``framing`` says otherwise."""
        lines = [f"HTTP/1.1 {self.status} Sandbox", framing or f"Content-Length: {len(self.body)}"]
        headers = {"Content-Type": "application/json", **self.headers}
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class BadRequest(Exception):
    """The request is refused with status 400; the message says why."""


@dataclass(frozen=True)
class Call:
    """A valid request for a chat completion.

    ``fault``: the failure asked for by a line ``[sandbox: …]`` of the source text, by such words in the topic, or else
    by the model's name, "" for none. ``text``: the source text or topic without them. ``known``: the fronts that must
    not come again. ``response_format``: its type, "" for none.
    """

    id: str
    fault: str
    text: str
    is_topic: bool
    known: tuple[str, ...]
    limit: int
    response_format: str
    prompt_characters: int

    def cards(self) -> list[dict[str, str]]:
        """The proposals that the text or topic yields beside the known ones."""
        propose = invented.propose if self.is_topic else extractive.propose
        return propose(self.text, self.limit, self.known)

    def answer(self) -> Reply:
        """The good answer."""
        return self.completion(content_of(self.cards()))

    def completion(self, content: Any, finish_reason: str = "stop", **choice: Any) -> Reply:
        """A 200 with this message ``content``; ``choice`` adds to the choice, its "message" to the message."""
        message = {"role": "assistant", "content": content, "refusal": None, **choice.pop("message", {})}
        prompt_tokens = -(-self.prompt_characters // 4)
        completion_tokens = -(-len(str(content or "")) // 4)
        body = {
            "id": self.id,
            "object": "chat.completion",
            "created": 0,  # the same request gets the same bytes
            "model": MODEL,
            "provider": PROVIDER,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish_reason,
                    "native_finish_reason": finish_reason,
                    "message": message,
                    **choice,
                }
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
                "cost": 0.0,
            },
        }
        return Reply(200, to_json(body).encode(), {"X-Generation-Id": self.id})


def parse(body: bytes) -> Call:
    """What a request's body asks for. Raises ``BadRequest``, as OpenRouter would answer it."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(request, dict):
        raise BadRequest("The body is not a JSON object.")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest('Input required: specify "messages".')
    texts = [(_role(message), _text(message.get("content"))) for message in messages]
    model = request.get("model") or MODEL
    if not isinstance(model, str):
        raise BadRequest('"model" must be a string.')
    response_format = request.get("response_format") or {}
    if not isinstance(response_format, dict):
        raise BadRequest('"response_format" must be an object.')
    if request.get("stream"):
        raise BadRequest("The sandbox does not stream.")

    prompt = next((text for role, text in reversed(texts) if role == "user"), "")
    marked = _MATERIAL.match(prompt)
    is_topic, material = (marked[1] == "topic", marked[2]) if marked else (False, prompt)
    known = _KNOWN.match(prompt, marked.end() + 1) if marked else None
    marker = _FAULT if is_topic else _FAULT_LINE
    asked = marker.search(material)
    bound = next((match for role, text in texts if role == "system" and (match := _AT_MOST.search(text))), None)
    fault = asked[1].strip() if asked else model.removeprefix("sandbox/") if model.startswith("sandbox/") else ""
    return Call(
        id=f"gen-sandbox-{sha256(body).hexdigest()[:20]}",
        fault="" if fault == MODEL.removeprefix("sandbox/") else fault,
        text=marker.sub(" ", material).strip() if is_topic else marker.sub("", material),
        is_topic=is_topic,
        known=tuple(known[1].splitlines()) if known else (),
        limit=int(bound[1]) if bound else _CARDS_BY_DEFAULT,
        response_format=str(response_format.get("type", "")),
        prompt_characters=sum(len(text) for _, text in texts),
    )


def error(
    status: int, error_type: str, message: str, headers: Mapping[str, str] | None = None, **metadata: Any
) -> Reply:
    """An error in OpenRouter's form; ``metadata`` joins its ``error_type``."""
    body = {"error": {"code": status, "message": message, "metadata": {"error_type": error_type, **metadata}}}
    return Reply(status, to_json(body).encode(), headers or {})


def content_of(cards: list[dict[str, str]]) -> str:
    """The content that was asked for."""
    return to_json({"flashcards": cards})


def to_json(value: Any) -> str:
    """JSON as providers write it: characters beyond ASCII as themselves, lone surrogates escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() or not re.search("[\ud800-\udfff]", text) else json.dumps(value)


def _role(message: Any) -> str:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(role, str):
        raise BadRequest('Every message needs a "role".')
    return role


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    raise BadRequest('Every message needs "content": text or a list of parts.')
