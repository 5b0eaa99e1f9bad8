"""What is sent: access tokens and source texts."""

import itertools
import random
import time
import uuid
from collections.abc import Iterator

import jwt

USERS = 200
SOURCE_TEXT_CHARACTERS = 4000
_SERIAL_DIGITS = 12
_WORDS = (
    "the cell takes in glucose and gives off water, heat and carbon dioxide; its membrane decides what may pass, and "
    "“why” was a question for Robert Hooke, who saw cork under his lens in 1665 and named the rooms that he found. "
)


def tokens(secret: str) -> list[str]:
    """Access tokens of ``USERS`` users, the same ones each time, valid for a day."""
    seeded = random.Random(1)
    now = int(time.time())
    claims = {"aud": "authenticated", "role": "authenticated", "iat": now, "exp": now + 86_400}
    return [
        jwt.encode(claims | {"sub": str(uuid.UUID(int=seeded.getrandbits(128), version=4))}, secret, "HS256")
        for _ in range(USERS)
    ]


def bodies() -> Iterator[bytes]:
    """JSON bodies of one length without end, each with a source text that was not there before."""
    text = (_WORDS * (SOURCE_TEXT_CHARACTERS // len(_WORDS) + 1))[: SOURCE_TEXT_CHARACTERS - _SERIAL_DIGITS]
    rest = text.encode() + b'"}'
    # The serial starts at the clock, so that no two runs share a text.
    for serial in itertools.count(time.time_ns() // 1000 % 10**_SERIAL_DIGITS):
        yield b'{"source_text": "%012d%b' % (serial, rest)
