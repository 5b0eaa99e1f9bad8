"""A fetch of the public keys with which Supabase signs its users' tokens."""

from typing import Any

import jiter
import requests
import urllib3

from recto.providers.transport import send

_TIMEOUT_S = 5.0
_MAX_BYTES = 256 * 1024


class KeysUnavailable(Exception):
    """The address of the signing keys does not answer with a key set."""


def fetch_jwks(session: requests.Session, supabase_url: str) -> dict[str, Any]:
    """Return the project's JSON Web Key Set; raise ``KeysUnavailable``. Takes at most five seconds."""
    url = f"{supabase_url}/auth/v1/.well-known/jwks.json"
    try:
        request = requests.Request("GET", url, headers={"User-Agent": "recto"}).prepare()
        with send(session.get_adapter(url), request, _TIMEOUT_S) as response:
            keys = jiter.from_json(response.raw.read(_MAX_BYTES, decode_content=True))
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
        raise KeysUnavailable(type(error).__name__) from error
    if response.status_code != 200 or not isinstance(keys, dict) or not isinstance(keys.get("keys"), list):
        raise KeysUnavailable(f"HTTP {response.status_code} without a key set")
    return keys
