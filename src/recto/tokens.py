"""Verification of Supabase's access tokens: which user is asking.

The rules are those of https://supabase.com/docs/guides/auth/jwt-fields and of Supabase's key rotation. The algorithm
follows from the configured key. A token's header only chooses among those keys: what it says about its algorithm is
compared, never trusted; ``jku``, ``x5u`` and ``jwk`` are not read at all.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from time import monotonic, time
from typing import Any
from uuid import UUID

import jwt
from jwt import PyJWK
from jwt.utils import base64url_decode

from recto.errors import Unauthorized, Unavailable
from recto.providers.jwks import KeysUnavailable
from recto.telemetry import log

AUDIENCE = "authenticated"
ROLE = "authenticated"
LEEWAY_S = 30

# Supabase lets the key set be cached for ten minutes, and lists a new key before it signs with it.
_KEYS_LIVE_S = 600
# An unknown key id asks for a fresh set, but made-up ids must not make us fetch all the time.
_REFETCH_AFTER_S = 30

# A token is verified once, and then known by its digest for as long as it is valid. Each takes some 300 bytes.
_MOST_KNOWN = 10_000

# The key type and curve of each algorithm.
_KEY_TYPES = {"ES256": ("EC", "P-256"), "RS256": ("RSA", None), "EdDSA": ("OKP", "Ed25519")}


@dataclass(frozen=True, slots=True)
class User:
    """The user whom a valid token names."""

    id: UUID


class KeySet:
    """The project's public keys by key id, fetched when first needed and then as often as Supabase wants.

    While the address is down, the known keys stay in use.
    """

    def __init__(self, fetch: Callable[[], dict[str, Any]], clock: Callable[[], float] = monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching = Lock()

    def find(self, key_id: str) -> PyJWK | None:
        """Return the key, None if the project has no such key; raise ``Unavailable`` if no set was ever fetched."""
        if self._fetched_at is None or self._clock() - self._fetched_at > _KEYS_LIVE_S or key_id not in self._keys:
            self._refresh()
        if self._fetched_at is None:
            raise Unavailable("The keys that sign access tokens cannot be fetched.")
        return self._keys.get(key_id)

    def _refresh(self) -> None:
        # The first caller fetches. While there are keys to go on with, nobody waits for it.
        if not self._fetching.acquire(blocking=self._fetched_at is None):
            return
        try:
            now = self._clock()
            if self._tried_at is not None and now - self._tried_at < _REFETCH_AFTER_S:
                return
            self._tried_at = now
            self._keys = dict(_usable(self._fetch()["keys"]))
            self._fetched_at = now
        except KeysUnavailable as error:
            log.warning("signing_keys_unavailable", reason=str(error), known_keys=len(self._keys))
        finally:
            self._fetching.release()


def _usable(keys: list[Any]) -> list[tuple[str, PyJWK]]:
    """Keep the public signing keys of a type that we trust, each bound to its one algorithm."""
    usable = []
    for key in keys:
        if not isinstance(key, dict) or not isinstance(key.get("kid"), str) or key.get("use", "sig") != "sig":
            continue
        if "d" in key:  # a private key: everybody who reads the set could sign with it
            continue
        key_type = (key.get("kty"), key.get("crv"))
        algorithm = next((name for name, trusted in _KEY_TYPES.items() if trusted == key_type), None)
        if algorithm is None or key.get("alg", algorithm) != algorithm:
            continue
        try:
            usable.append((key["kid"], PyJWK(key, algorithm=algorithm)))
        except jwt.PyJWTError:
            log.warning("signing_key_unreadable", key_id=key["kid"])
    return usable


@dataclass(frozen=True, slots=True)
class _Known:
    """A token that was found valid: until when, in seconds since the epoch, and by which key of the project's."""

    user: User
    expires_at: float
    key: PyJWK | None

    def is_valid(self, keys: KeySet | None) -> bool:
        """Whether it has not expired, nor its key been replaced or removed."""
        is_current = self.key is None or (keys is not None and keys.find(str(self.key.key_id)) is self.key)
        return is_current and time() < self.expires_at


class TokenVerifier:
    """Verifies access tokens. At least one of ``secret`` (HS256) and ``keys`` (asymmetric) must be given.

    ``issuer``: the exact ``iss`` that tokens must have; None if any is fine. ``allow_anonymous``: whether users of
    Supabase's anonymous sign-in are users.
    """

    def __init__(
        self, *, secret: str | None, keys: KeySet | None, issuer: str | None, allow_anonymous: bool = False
    ) -> None:
        if secret is None and keys is None:
            raise ValueError("no source of keys")
        self._secret = secret
        self._keys = keys
        self._issuer = issuer
        self._allow_anonymous = allow_anonymous
        self._decoder = jwt.PyJWT()
        self._known: dict[bytes, _Known] = {}

    def verify(self, token: str) -> User:
        """Return the token's user. Raises ``Unauthorized`` with a reason that names no part of the token."""
        digest = sha256(token.encode(errors="surrogatepass")).digest()
        known = self._known.get(digest)
        if known is None or not known.is_valid(self._keys):
            known = self._verify(token)
            while len(self._known) >= _MOST_KNOWN:
                self._known.pop(next(iter(self._known)), None)
            self._known[digest] = known
        return known.user

    def _verify(self, token: str) -> _Known:
        try:
            key, algorithm = self._key(_unverified_header(token))
            claims = self._decoder.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=AUDIENCE,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub"]},  # aud and iss are, where they are compared
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthorized("The access token has expired. Sign in again.") from error
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise Unauthorized("The access token is not valid.") from error
        return _Known(self._user(claims), int(claims["exp"]) + LEEWAY_S, key if isinstance(key, PyJWK) else None)

    def _key(self, header: dict[str, Any]) -> tuple[Any, str]:
        key_id = header.get("kid")
        if header.get("alg") == "HS256":
            if self._secret is not None:
                return self._secret, "HS256"
        elif self._keys is not None and isinstance(key_id, str) and (key := self._keys.find(key_id)) is not None:
            return key, key.algorithm_name
        raise Unauthorized("The access token is signed with an unknown key.")

    def _user(self, claims: dict[str, Any]) -> User:
        if claims.get("role") != ROLE:
            raise Unauthorized("The access token is not a signed-in user's.")
        if claims.get("is_anonymous") is True and not self._allow_anonymous:
            raise Unauthorized("Anonymous users are not allowed here. Sign in with an account.")
        try:
            user_id = UUID(claims["sub"])
        except ValueError as error:
            raise Unauthorized("The access token names no user.") from error
        return User(user_id)


def _unverified_header(token: str) -> dict[str, Any]:
    """Read the header only to find the key; PyJWT then reads and checks the whole token, header included."""
    header = json.loads(base64url_decode(token.partition(".")[0]))
    if not isinstance(header, dict):
        raise TypeError("the header is not an object")
    return header


def issue(secret: str, user_id: UUID, *, issuer: str | None = None, lifetime_s: int = 24 * 3600) -> str:
    """Sign a token as Supabase would, for development and tests."""
    now = int(time())
    claims = {"sub": str(user_id), "aud": AUDIENCE, "role": ROLE, "iat": now, "exp": now + lifetime_s}
    return jwt.encode(claims | ({"iss": issuer} if issuer else {}), secret, algorithm="HS256")
