"""What a provider could do to bring the service down: floods, and values that no field can hold."""

import gzip
import math

from recto.sandbox.chat import Call, Reply, content_of, error
from recto.sandbox.scripts import CHUNKED, End, Script, chunk, flood

_MIB = 1024 * 1024
_DIGITS = "9" * 5000


# --- floods: there is always more to read


def flood_comments(call: Call) -> Reply:
    """Answers with 1 MiB of empty comment lines."""
    return call.good(b":\n" * (_MIB // 2))


def flood_continue(_: Call) -> Script:
    """Sends 100 Continue without end."""
    return flood(b"HTTP/1.1 100 Continue\r\n\r\n")


def flood_headers(_: Call) -> Script:
    """Sends headers without end."""
    yield b"HTTP/1.1 200 Sandbox\r\n"
    yield from flood(b"X-Flood: " + b"x" * 1000 + b"\r\n")


def flood_header_line(_: Call) -> Script:
    """Sends one header without end."""
    yield b"HTTP/1.1 200 Sandbox\r\nX-Flood: "
    yield from flood(b"x")


def flood_trailers(call: Call) -> Script:
    """Sends a good answer in chunks, then trailers without end."""
    reply = call.answer()
    yield reply.head(CHUNKED) + chunk(reply.body) + b"0\r\n"
    yield from flood(b"X-Flood: x\r\n")


def flood_chunks(call: Call) -> Script:
    """Sends white space in chunks of one byte, without end."""
    yield call.good().head(CHUNKED)
    yield from flood(chunk(b" "))


def flood_gzip(call: Call) -> Script:
    """Sends empty gzip members without end."""
    yield call.good(headers={"Content-Encoding": "gzip"}).head(CHUNKED)
    yield from flood(chunk(gzip.compress(b"", mtime=0) * 50))


def gzip_bomb(call: Call) -> Reply:
    """Answers with 64 KiB that unpack to 64 MiB."""
    return call.good(gzip.compress(b" " * (64 * _MIB), mtime=0), {"Content-Encoding": "gzip"})


def flood_cards(call: Call) -> Reply:
    """Answers with cards of 1 MB, most of them without a side."""
    return call.completion(content_of([*call.cards()[:1], *[{}] * 250_000]))


def huge_error(_: Call) -> Reply:
    """Answers 402 with a message of 1 MB."""
    return error(402, "payment_required", "Insufficient credits. " + "More text. " * (_MIB // 12))


def flood_error(_: Call) -> Script:
    """Answers 500 with a body without end."""
    yield Reply(500, b"").head(CHUNKED)
    yield from flood(chunk(b"x" * 1000))


# --- framing that is wrong


def early_hints(call: Call) -> Script:
    """Sends 103 Early Hints, then a good answer half a second later."""
    yield b"HTTP/1.1 103 Early Hints\r\nLink: </docs>; rel=preload\r\n\r\n"
    yield 0.5
    reply = call.answer()
    yield reply.head() + reply.body


def absurd_length(call: Call) -> Script:
    """Sends a good answer under a Content-Length of 5,000 digits, and closes the connection."""
    reply = call.answer()
    yield reply.head(f"Content-Length: {_DIGITS}") + reply.body
    yield End.CLOSE


def negative_chunk(call: Call) -> Script:
    """Sends a chunk of size -5."""
    yield call.good().head(CHUNKED) + b"-5\r\nhello\r\n0\r\n\r\n"
    yield End.CLOSE


def endless_chunk(call: Call) -> Script:
    """Sends a chunk of size -1 without end."""
    yield call.good().head(CHUNKED) + b"-1\r\n"
    yield from flood(b" ")


def bad_chunk(call: Call) -> Script:
    """Sends a chunk whose size is no number."""
    yield call.good().head(CHUNKED) + b"many\r\nhello\r\n0\r\n\r\n"
    yield End.CLOSE


def bad_gzip(call: Call) -> Reply:
    """Answers with a body that is called gzip and is not."""
    return call.good(b"not gzip", {"Content-Encoding": "gzip"})


def bad_status(_: Call) -> Script:
    """Answers in a protocol that is not HTTP."""
    yield b"RECTO/1.0 two hundred\r\n\r\n"
    yield End.CLOSE


def redirect(_: Call) -> Reply:
    """Answers 302 with an address that is none."""
    return Reply(302, b"", {"Location": "http://[::"})


# --- values that no field can hold


def absurd_cost(call: Call) -> Reply:
    """Answers well, for 999999.9999999 dollars."""
    usage = {"prompt_tokens": 10**30, "completion_tokens": -1, "cost": 999999.9999999}
    return call.completion(content_of(call.cards()), usage=usage)


def infinite_cost(call: Call) -> Reply:
    """Answers well, for more dollars than a float holds."""
    reply = call.completion(content_of(call.cards()), usage={"cost": math.inf})
    return call.good(reply.body.replace(b'"cost": Infinity', b'"cost": 1e999'))


def nul_finish_reason(call: Call) -> Reply:
    """Answers well, with a NUL character in finish_reason."""
    return call.completion(content_of(call.cards()), "stop\x00")


def nul_finish_reason_empty(call: Call) -> Reply:
    """Answers without a card, with a NUL character in finish_reason."""
    return call.completion(content_of([]), "stop\x00")


def nul_names(call: Call) -> Reply:
    """Answers well, with a NUL character in every name."""
    return call.completion(content_of(call.cards()), id="gen\x00", model="model\x00", provider="Sandbox\x00")


def other_model(call: Call) -> Reply:
    """Answers well, by a model of another name for each text."""
    return call.completion(content_of(call.cards()), model=f"sandbox/{call.digest}")


def deep_json(call: Call) -> Reply:
    """Answers with 500,000 nested lists."""
    return call.good(b"data: " * call.generation.streamed + b"[" * 500_000)


def absurd_code(call: Call) -> Reply:
    """Answers 200 with an error whose code has 5,000 digits."""
    return call.failure({"code": _DIGITS, "http_status": 10**4000, "message": "Busy"})


def odd_error(_: Call) -> Reply:
    """Answers 500 with an error whose every field has another type than it should."""
    return Reply(500, b'{"error": {"code": {}, "message": [1e999], "metadata": 7, "error_type": {"a": []}}}')


def retry_after_inf(_: Call) -> Reply:
    """Answers 429 with Retry-After: inf."""
    return _busy("inf")


def retry_after_digits(_: Call) -> Reply:
    """Answers 429 with a Retry-After of 5,000 digits."""
    return _busy(_DIGITS)


def retry_after_date(_: Call) -> Reply:
    """Answers 429 with a Retry-After whose date overflows."""
    return _busy("Fri, 31 Dec 9999 23:59:59 -9999")


def quoted_format(call: Call) -> Reply:
    """Answers 400 with a message that quotes the text and says "response_format: json_schema"."""
    message = f"Invalid input: {call.text[:200]} … response_format: json_schema, structured outputs, json mode"
    return error(400, "invalid_request", message)


def _busy(retry_after: str) -> Reply:
    return error(429, "rate_limit_exceeded", "Rate limit exceeded", {"Retry-After": retry_after})


HOSTILE = (
    flood_comments,
    flood_continue,
    flood_headers,
    flood_header_line,
    flood_trailers,
    flood_chunks,
    flood_gzip,
    gzip_bomb,
    flood_cards,
    huge_error,
    flood_error,
    early_hints,
    absurd_length,
    negative_chunk,
    endless_chunk,
    bad_chunk,
    bad_gzip,
    bad_status,
    redirect,
    absurd_cost,
    infinite_cost,
    nul_finish_reason,
    nul_finish_reason_empty,
    nul_names,
    other_model,
    deep_json,
    absurd_code,
    odd_error,
    retry_after_inf,
    retry_after_digits,
    retry_after_date,
    quoted_format,
)
