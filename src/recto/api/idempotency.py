"""``Idempotency-Key``: a request that is repeated gets the first one's answer, and nothing is done twice.

The header is that of draft-ietf-httpapi-idempotency-key-header; what is kept follows Stripe's practice.
"""

import re
from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from typing import ParamSpec

import psycopg
from flask import Response, current_app, g, request
from psycopg_pool import PoolTimeout

from recto.api.context import runtime
from recto.db import idempotency
from recto.db.idempotency import Answer, Claim
from recto.errors import InvalidRequest
from recto.telemetry import log_failure

P = ParamSpec("P")

_VALID = re.compile(r"[\x21-\x7e]{1,255}")
# What a request may take beyond the provider's deadline before its process counts as dead.
_LEASE_MARGIN_S = 30.0


def idempotent(view: Callable[P, Response]) -> Callable[P, Response]:
    """Give a repeated request its first answer; without the header nothing happens at all.

    It stands outside of ``limited``: an answer that is given again costs nothing and counts against nothing. Answers
    are kept if the work was done or the provider failed; any other leaves the key free.
    """

    @wraps(view)
    def answered_once(*args: P.args, **kwargs: P.kwargs) -> Response:
        g.idempotency_key = key = _key()
        if key is None:
            return view(*args, **kwargs)
        lease_s = runtime().settings.openrouter_timeout_ms / 1000 + _LEASE_MARGIN_S
        held = idempotency.take(runtime().pool, g.user.id, key, _request_hash(), lease_s=lease_s)
        if isinstance(held, Answer):
            headers = {"Idempotent-Replayed": "true"} | ({"Location": held.location} if held.location else {})
            return Response(held.body, held.status, headers, mimetype="application/json")
        try:
            response = view(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  the app's own handlers make the answer that is to be kept
            response = current_app.make_response(current_app.handle_user_exception(error))
        _settle(held, response)
        return response

    return answered_once


def _key() -> str | None:
    """Read the header: a Structured Field's string, or bare. Raises ``InvalidRequest``."""
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    bare = re.sub(r"\\(.)", r"\1", given[1:-1]) if given[:1] == given[-1:] == '"' and len(given) > 1 else given
    if not _VALID.fullmatch(bare):
        raise InvalidRequest("Idempotency-Key must have 1 to 255 visible ASCII characters.")
    return bare


def _request_hash() -> str:
    path = request.path.removeprefix("/api")
    return sha256(b"\n".join((request.method.encode(), path.encode(), request.get_data()))).hexdigest()


def _settle(claim: Claim, response: Response) -> None:
    try:
        if response.status_code < 300 or response.status_code == 502:
            answer = Answer(response.status_code, response.get_data(), response.headers.get("Location"))
            idempotency.store(runtime().pool, claim, answer)
        else:
            idempotency.release(runtime().pool, claim)
    except (psycopg.Error, PoolTimeout) as error:  # the caller gets the answer all the same
        log_failure(error)
