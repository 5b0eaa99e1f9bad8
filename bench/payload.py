"""What is sent: access tokens and source texts."""

import itertools
import json
import random
import time
import uuid
from collections.abc import Iterator

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

USERS = 200
SOURCE_TEXT_CHARACTERS = 4000
_SERIAL_DIGITS = 12
_WORDS = (
    "the cell takes in glucose and gives off water, heat and carbon dioxide; its membrane decides what may pass, and "
    "“why” was a question for Robert Hooke, who saw cork under his lens in 1665 and named the rooms that he found. "
)


def tokens(secret: str, issuer: str | None = None) -> list[str]:
    """Access tokens of ``USERS`` users, the same ones each time, valid for a day.

    With an ``issuer`` they are signed with its key, of which ``key_set`` has the public half; else with the secret.
    """
    key, algorithm, headers = (_private_key(secret), "ES256", {"kid": "bench"}) if issuer else (secret, "HS256", {})
    seeded = random.Random(1)
    now = int(time.time())
    claims = {"aud": "authenticated", "role": "authenticated", "iat": now, "exp": now + 86_400}
    claims |= {"iss": issuer} if issuer else {}
    users = (str(uuid.UUID(int=seeded.getrandbits(128), version=4)) for _ in range(USERS))
    return [jwt.encode(claims | {"sub": user}, key, algorithm, headers=headers) for user in users]


def key_set(secret: str) -> bytes:
    """The JSON Web Key Set of the key that signs an issuer's tokens."""
    key = ECAlgorithm.to_jwk(_private_key(secret).public_key(), as_dict=True)
    return json.dumps({"keys": [key | {"kid": "bench", "alg": "ES256", "use": "sig"}]}).encode()


def _private_key(secret: str) -> ec.EllipticCurvePrivateKey:
    # All processes know the secret, so that they need share nothing else. One bit less is below the curve's order.
    return ec.derive_private_key(int(secret, 16) >> 1, ec.SECP256R1())


def bodies() -> Iterator[bytes]:
    """JSON bodies of one length without end, each with a source text that was not there before."""
    text = (_WORDS * (SOURCE_TEXT_CHARACTERS // len(_WORDS) + 1))[: SOURCE_TEXT_CHARACTERS - _SERIAL_DIGITS]
    rest = text.encode() + b'"}'
    # The serial starts at the clock, so that no two runs share a text.
    for serial in itertools.count(time.time_ns() // 1000 % 10**_SERIAL_DIGITS):
        yield b'{"source_text": "%012d%b' % (serial, rest)
