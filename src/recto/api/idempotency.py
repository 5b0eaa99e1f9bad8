"""``Idempotency-Key``: a request that is repeated gets the first one's answer, and nothing is done twice.

The header is that of draft-ietf-httpapi-idempotency-key-header; what is kept follows Stripe's practice.
"""

import re
from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from typing import ParamSpec
from uuid import UUID

import psycopg
from flask import Response, current_app, g, request
from psycopg import Connection

from recto.api import bodies, limits
from recto.api.context import runtime
from recto.db import idempotency
from recto.db.attempts import Results
from recto.db.idempotency import Answer, Claim
from recto.errors import InvalidRequest
from recto.telemetry import log_failure

P = ParamSpec("P")

_VALID = re.compile(r"[\x21-\x7e]{1,255}")


def idempotent(view: Callable[P, Response]) -> Callable[P, Response]:
    """Give a repeated request its first answer. Without the header the view runs as if undecorated.

    It stands above ``limited``: an answer that is given again counts against no limit. A caller who is over a limit is
    refused before the body is read, even if there is an answer. Answers are kept if the work was done or the provider
    failed; any other leaves the key free.
    """

    @wraps(view)
    def answered_once(*args: P.args, **kwargs: P.kwargs) -> Response:
        g.idempotency_key = key = read_key()
        if key is None:
            return view(*args, **kwargs)
        limits.look(view)
        held = idempotency.take(
            runtime().pool,
            g.user.id,
            key,
            _request_hash(),
            lease_s=runtime().times.request_s,
            on_taken=lambda conn: limits.count_in(conn, view),
        )
        if isinstance(held, Answer):
            return _replay(held)
        g.idempotency_claim = held
        try:
            response = view(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  the app's own handlers make the answer that is to be kept
            response = current_app.make_response(current_app.handle_user_exception(error))
        if not g.get("is_answer_kept"):
            _settle(held, response)
        return response

    answered_once.__dict__["idempotent"] = True  # for the OpenAPI document
    return answered_once


def read_key() -> str | None:
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
    return sha256(b"\n".join((request.method.encode(), path.encode(), bodies.read(request, keep=True)))).hexdigest()


def _replay(answer: Answer) -> Response:
    response = Response(answer.body, answer.status, {"Idempotent-Replayed": "true"}, mimetype="application/json")
    for name, value in (("Location", answer.location), ("Retry-After", answer.retry_after)):
        if value is not None:
            response.headers[name] = value
    return response


def answer_keeper(job_id: UUID, respond: Callable[[Results], Response]) -> Callable[[Connection, Results], None] | None:
    """Return a function that stores the answer in the transaction that commits the job's results.

    None if the request has no key. The function may be called after the request has ended, since the commit is late
    when the database is away: ``respond`` makes the answer without the request.
    """
    claim: Claim | None = g.get("idempotency_claim")
    if claim is None:
        return None
    return lambda conn, results: idempotency.store_in(conn, claim, _answer(respond(results), job_id))


def answer_keeper_of_stream() -> Callable[[bytes], None] | None:
    """Return a function that stores the JSON of a streamed answer once it is whole; None if the request has no key."""
    claim: Claim | None = g.get("idempotency_claim")
    if claim is None:
        return None
    pool = runtime().pool

    def keep(body: bytes) -> None:
        try:
            idempotency.store(pool, claim, Answer(200, body, None, None))
        except psycopg.Error as error:  # the caller gets the answer all the same
            log_failure(error)

    return keep


def _answer(response: Response, job_id: UUID | None) -> Answer:
    return Answer(
        response.status_code,
        response.get_data(),
        response.headers.get("Location"),
        response.headers.get("Retry-After"),
        job_id,
    )


def _settle(claim: Claim, response: Response) -> None:
    try:
        if response.status_code < 300 or response.status_code == 502:
            idempotency.store(runtime().pool, claim, _answer(response, g.get("job_id")))
        else:
            idempotency.release(runtime().pool, claim)
    except psycopg.Error as error:  # the caller gets the answer all the same
        log_failure(error)
