"""Signatures of webhooks, as https://www.standardwebhooks.com specifies them; Replicate signs so.

A delivery has the headers ``webhook-id`` (the same when it is repeated), ``webhook-timestamp`` (seconds since the
epoch) and ``webhook-signature`` (one or more, by spaces).
"""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from hashlib import sha256

# An older delivery, or one from the future, may be a recorded one.
TOLERANCE_S = 300

_PREFIX = "whsec_"
_VERSION = "v1"


class InvalidSignature(Exception):
    """The delivery is not from who holds the secret, or not from now; the text says which, and repeats nothing."""


def key_of(secret: str) -> bytes:
    """Return the key that a secret ``whsec_…`` stands for. Raises ``ValueError`` unless it has 24 to 64 bytes."""
    try:
        key = b64decode(secret.removeprefix(_PREFIX), validate=True)
    except Base64Error:
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("must be whsec_ and 24 to 64 bytes in base64")
    return key


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of ``webhook-signature`` for a delivery."""
    return f"{_VERSION},{_signature(key_of(secret), message_id, str(timestamp), body)}"


def verify(
    secrets: Sequence[str], *, message_id: str, timestamp: str, signatures: str, body: bytes, now_s: float
) -> None:
    """Check a delivery against all secrets: while one is rotated there are two. ``body``: the raw bytes.

    Raises ``InvalidSignature``.
    """
    if not (message_id and timestamp and signatures):
        raise InvalidSignature("missing")
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < 16):
        raise InvalidSignature("malformed")
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        raise InvalidSignature("stale")
    given = [value for version, _, value in (part.partition(",") for part in signatures.split()) if version == _VERSION]
    expected = [_signature(key_of(secret), message_id, timestamp, body) for secret in secrets]
    # All are compared, so that the time tells nothing.
    equal = [hmac.compare_digest(one.encode(), other.encode()) for one in expected for other in given]
    if not any(equal):
        raise InvalidSignature("forged")


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return b64encode(hmac.new(key, signed, sha256).digest()).decode()
