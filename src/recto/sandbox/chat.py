"""OpenRouter's chat protocol as far as Recto meets it: what a request asks, how answers and errors look."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4

from recto.sandbox import extractive, invented
from recto.sandbox.generations import Generation

MODEL = "sandbox/extractive"
PROVIDER = "Sandbox"
COMMENT = b": OPENROUTER PROCESSING\n\n"

_CHARACTERS_A_TOKEN = 4  # and a token is what a stream's chunk holds
_COMMENT_EVERY = 50  # chunks
_MOST_CHUNKS = 5000  # of a text that floods

_CARDS_BY_DEFAULT = 15
_NUMBER = re.compile(r"(?:at most|exactly) (\d{1,3}) flashcards?", re.IGNORECASE)
_CLOZE = "(four underscores)"
_MATERIAL = re.compile(r"<(source_text|topic)>[ \t]*\r?\n(.*)\n</\1>[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_KNOWN = re.compile(r"<known_fronts>[ \t]*\r?\n(.*)\n</known_fronts>[ \t]*\r?$", re.DOTALL | re.MULTILINE)
# Nothing in it reads a long run of spaces twice.
_FAULT = re.compile(r"(?<![ \t])[ \t]*+\[sandbox:([^\]\n]*+)\][ \t]*+")
_FAULT_LINE = re.compile(rf"^{_FAULT.pattern}\r?(?:\n|\Z)", re.MULTILINE)


@dataclass(frozen=True)
class Reply:
    """A whole HTTP answer; ``events`` are the parts of a stream's body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    events: tuple[bytes, ...] = ()

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
    not come again. ``is_cloze``: every front has a gap. ``response_format``: its type, "" for none. ``max_tokens``:
    what a good answer keeps to. ``digest``: the same for the same request. ``chunk_s``: how long a stream's chunk
    takes, in seconds. ``generation``: what will be remembered of the call; writing an answer fills it in.
    """

    fault: str
    text: str
    is_topic: bool
    known: tuple[str, ...]
    limit: int
    is_cloze: bool
    response_format: str
    max_tokens: int | None
    digest: str
    chunk_s: float
    generation: Generation

    @property
    def padding(self) -> bytes:
        """What keeps the connection alive while there is nothing to say."""
        return COMMENT if self.generation.streamed else b"         \n"

    def cards(self) -> list[dict[str, str]]:
        """The proposals that the text or topic yields beside the known ones."""
        propose = invented.propose if self.is_topic else extractive.propose
        return propose(self.text, self.limit, self.known, cloze=self.is_cloze)

    def answer(self) -> Reply:
        """The good answer, cut where the caller's tokens end."""
        content = content_of(self.cards())
        if self.max_tokens is not None and len(content) > (most := self.max_tokens * _CHARACTERS_A_TOKEN):
            return self.completion(content[:most], "length")
        return self.completion(content)

    def completion(
        self,
        content: Any,
        finish_reason: str = "stop",
        *,
        message: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        **answer: Any,
    ) -> Reply:
        """A 200 with this message ``content``, as one JSON answer or as a stream's events.

        ``message`` adds to the message or to the last delta, ``error`` is the choice's or that of the last event, and
        ``answer`` replaces fields of the whole; a stream without ``usage`` has no event for it.
        """
        generation = self.generation
        generation.finish_reason = finish_reason
        generation.tokens_completion = -(-len(str(content or "")) // _CHARACTERS_A_TOKEN)
        usage = {
            "prompt_tokens": generation.tokens_prompt,
            "completion_tokens": generation.tokens_completion,
            "total_tokens": generation.tokens_prompt + generation.tokens_completion,
            "cost": generation.cost,
        }
        whole = {
            "id": generation.id,
            "object": "chat.completion",
            "created": generation.created,
            "model": generation.model,
            "provider": PROVIDER,
            "usage": usage,
            **answer,
        }
        reasons = {"finish_reason": finish_reason, "native_finish_reason": finish_reason}
        if generation.streamed:
            events = tuple(_events(whole, content, reasons, message or {}, error))
            return self.good(b"".join(events), events=events)
        generation.end()
        told = {"role": "assistant", "content": content, "refusal": None, **(message or {})}
        choice = {"index": 0, **reasons, "message": told, **({"error": error} if error else {})}
        return self.good(to_json(whole | {"system_fingerprint": None, "choices": [choice]}).encode())

    def failure(self, error: Mapping[str, Any], **answer: Any) -> Reply:
        """A 200 with an error in place of choices, or as a stream's only event."""
        if self.generation.streamed:
            return self.completion(None, "error", error=error)
        return Reply(200, to_json({"error": error, **answer}).encode())

    def good(
        self, body: bytes = b"", headers: Mapping[str, str] | None = None, *, events: tuple[bytes, ...] = ()
    ) -> Reply:
        """A 200 of the kind that was asked for, JSON or a stream, with the call's id in its headers."""
        kind = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"} if self.generation.streamed else {}
        return Reply(200, body, {**kind, "X-Generation-Id": self.generation.id, **(headers or {})}, events)


def _events(
    whole: dict[str, Any],
    content: Any,
    reasons: dict[str, str],
    message: Mapping[str, Any],
    error: Mapping[str, Any] | None,
) -> Iterator[bytes]:
    """An answer as OpenRouter streams it: the last two chunks have the same reasons, and [DONE] follows no error."""
    whole = {**whole, "object": "chat.completion.chunk"}
    usage = whole.pop("usage")

    def say(delta: Mapping[str, Any], reasons: Mapping[str, str | None], **more: Any) -> bytes:
        choice = {"index": 0, "delta": {"role": "assistant", "content": "", **delta}, **reasons}
        return event({**whole, **more, "choices": [choice]})

    yield COMMENT
    for number, piece in enumerate(_pieces(content), 1):
        yield say({"content": piece}, dict.fromkeys(reasons))
        if number % _COMMENT_EVERY == 0:
            yield COMMENT
    if error:
        yield say({}, reasons, error=error)
        return
    yield say(message, reasons)
    if usage is not None:
        yield say({}, reasons, usage=usage)
    yield b"data: [DONE]\n\n"


def _pieces(content: Any) -> list[Any]:
    """A message's content in chunks."""
    if isinstance(content, list):
        return [[part] for part in content]
    text = content or ""
    size = max(_CHARACTERS_A_TOKEN, len(text) // _MOST_CHUNKS)
    return [text[start : start + size] for start in range(0, len(text), size)]


def parse(body: bytes, *, chunk_s: float = 0.0, usd_per_token: float = 0.0) -> Call:
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
    streamed = request.get("stream") or False
    if not isinstance(streamed, bool):
        raise BadRequest('"stream" must be true or false.')
    response_format = request.get("response_format") or {}
    if not isinstance(response_format, dict):
        raise BadRequest('"response_format" must be an object.')

    prompt = next((text for role, text in reversed(texts) if role == "user"), "")
    marked = _MATERIAL.match(prompt)
    is_topic, material = (marked[1] == "topic", marked[2]) if marked else (False, prompt)
    known = _KNOWN.match(prompt, marked.end() + 1) if marked else None
    marker = _FAULT if is_topic else _FAULT_LINE
    asked = marker.search(material)
    bound = next((match for role, text in texts if role == "system" and (match := _NUMBER.search(text))), None)
    fault = asked[1].strip() if asked else model.removeprefix("sandbox/") if model.startswith("sandbox/") else ""
    tokens_prompt = -(-sum(len(text) for _, text in texts) // _CHARACTERS_A_TOKEN)
    return Call(
        fault="" if fault == MODEL.removeprefix("sandbox/") else fault,
        text=marker.sub(" ", material).strip() if is_topic else marker.sub("", material),
        is_topic=is_topic,
        known=tuple(known[1].splitlines()) if known else (),
        limit=int(bound[1]) if bound else _CARDS_BY_DEFAULT,
        is_cloze=any(role == "system" and _CLOZE in text for role, text in texts),
        response_format=str(response_format.get("type", "")),
        max_tokens=_max_tokens(request),
        digest=sha256(body).hexdigest()[:20],
        chunk_s=chunk_s,
        generation=Generation(f"gen-sandbox-{uuid4().hex}", model, PROVIDER, streamed, tokens_prompt, usd_per_token),
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


def event(value: Any) -> bytes:
    """A server-sent event."""
    return f"data: {to_json(value)}\n\n".encode()


def to_json(value: Any) -> str:
    """JSON as providers write it: characters beyond ASCII as themselves, lone surrogates escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() or not re.search("[\ud800-\udfff]", text) else json.dumps(value)


def _max_tokens(request: dict[str, Any]) -> int | None:
    """The smaller of the two bounds that a request may have."""
    bounds = [bound for name in ("max_tokens", "max_completion_tokens") if (bound := request.get(name)) is not None]
    if not all(isinstance(bound, int) and bound > 0 for bound in bounds):
        raise BadRequest('"max_tokens" must be a whole number above 0.')
    return min(bounds, default=None)


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
