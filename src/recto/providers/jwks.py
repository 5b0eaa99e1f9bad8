"""A fetch of the public keys with which Supabase signs its users' tokens."""

from typing import Any

import jiter
import requests
import urllib3

_TIMEOUT_S = 5.0
_MAX_BYTES = 256 * 1024


class KeysUnavailable(Exception):
    """The address of the signing keys does not answer with a key set."""


def fetch_jwks(session: requests.Session, supabase_url: str) -> dict[str, Any]:
    """Return the project's JSON Web Key Set; raise ``KeysUnavailable``. Takes at most five seconds."""
    url = f"{supabase_url}/auth/v1/.well-known/jwks.json"
    try:
        # The adapter alone: a session reads the whole body of a redirect, even of one that it does not follow.
        with session.get_adapter(url).send(
            requests.Request("GET", url, headers={"User-Agent": "recto"}).prepare(),
            timeout=urllib3.Timeout(total=_TIMEOUT_S),  # type: ignore[arg-type]  # requests passes urllib3's own through
        ) as response:
            keys = jiter.from_json(response.raw.read(_MAX_BYTES, decode_content=True))
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
        raise KeysUnavailable(type(error).__name__) from error
    if response.status_code != 200 or not isinstance(keys, dict) or not isinstance(keys.get("keys"), list):
        raise KeysUnavailable(f"HTTP {response.status_code} without a key set")
    return keys
