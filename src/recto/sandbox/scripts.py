"""Answers that are more than a whole reply: what goes over the wire, step by step."""

from collections.abc import Iterator
from enum import Enum, auto


class End(Enum):
    """How a script ends the connection; one without such a step leaves it open for the next call."""

    CLOSE = auto()
    RESET = auto()


# A step is bytes to send, a number of seconds to wait (unless the client leaves meanwhile), or the connection's end.
Script = Iterator[bytes | float | End]

CHUNKED = "Transfer-Encoding: chunked"


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body; an empty one is its end."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def flood(data: bytes) -> Script:
    """The same bytes without an end, as fast as they are read."""
    block = data * (65536 // len(data))
    while True:
        yield block
