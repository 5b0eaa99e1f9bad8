"""Read request bodies: within a size, a time and a number at once, so that slow ones leave room for other callers."""

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Timer
from uuid import UUID

import gevent
from flask import Flask, Request, g
from gevent.monkey import is_module_patched
from werkzeug.exceptions import RequestEntityTooLarge

from recto.errors import InvalidRequest, PayloadTooLarge, RateLimited, RequestTimeout, Unavailable
from recto.times import BODY_S

MAX_BODY_BYTES = 256 * 1024
# In each process: one user's, and all users'. gunicorn holds twice as many connections (gunicorn.conf.py).
MAX_PER_USER = 32
MAX_AT_ONCE = 1000

_lock = Lock()
_reading: Counter[UUID | None] = Counter()  # None: senders without a token share one place


def register(app: Flask) -> None:
    """Bound the app's bodies."""
    # Werkzeug cuts a chunked body here without an error; one byte more shows that there was more to read.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES + 1


def allow(request: Request, max_bytes: int) -> None:
    """Let a request have a larger body than ``MAX_BODY_BYTES``."""
    request.max_content_length = max_bytes + 1


def read(request: Request, *, keep: bool = False, within_s: float = BODY_S) -> bytes:
    """Return the body of a request; ``keep`` it for a later call. Requests that need no token count as one user's.

    Raises ``InvalidRequest`` if it is malformed or breaks off, ``PayloadTooLarge``, ``RequestTimeout`` after
    ``within_s`` seconds, ``RateLimited`` while the user sends ``MAX_PER_USER`` other bodies to this process, and
    ``Unavailable`` while all users together send ``MAX_AT_ONCE``.
    """
    conn: socket.socket | None = request.environ.get("gunicorn.socket")
    max_bytes = (request.max_content_length or 1) - 1
    sender = g.user.id if "user" in g else None
    with _place(sender, conn), _deadline(conn, within_s):
        try:
            body: bytes | None = request.get_data(cache=keep)
        except RequestEntityTooLarge:
            body = None
        except Exception as error:  # servers have errors of their own for a body that they cannot read
            raise InvalidRequest("The request body could not be read to its end.") from error
    if body is None or len(body) > max_bytes:
        raise PayloadTooLarge(f"The request body must not be larger than {max_bytes} bytes.")
    return body


def being_read() -> int:
    """Return how many bodies this process reads."""
    return _reading.total()


@contextmanager
def _place(sender: UUID | None, conn: socket.socket | None) -> Iterator[None]:
    with _lock:
        mine, all_ = _reading[sender] < MAX_PER_USER, _reading.total() < MAX_AT_ONCE
        if mine and all_:
            _reading[sender] += 1
    if not (mine and all_):
        _hang_up(conn)
        if mine:
            raise Unavailable("Too many requests are being sent.", retry_after_s=BODY_S)
        raise RateLimited("Too many requests are being sent at once.", retry_after_s=BODY_S)
    try:
        yield
    finally:
        with _lock:
            _reading[sender] -= 1
            if not _reading[sender]:
                del _reading[sender]


@contextmanager
def _deadline(conn: socket.socket | None, within_s: float) -> Iterator[None]:
    """End the reading of a body after ``within_s``. Raises ``RequestTimeout``.

    A timer and not the socket's own timeout, which begins again with each byte. It serves threads and greenlets alike.
    """
    if conn is None:
        yield
        return
    is_late = False

    def give_up() -> None:
        nonlocal is_late
        is_late = True
        _hang_up(conn)

    cancel = _after(within_s, give_up)
    try:
        yield
    except InvalidRequest:
        if not is_late:
            raise
    finally:
        cancel()
    if is_late:
        raise RequestTimeout


def _after(seconds: float, call: Callable[[], None]) -> Callable[[], None]:
    """Call it then, unless the function that is returned is called before. It must not wait for anything."""
    if is_module_patched("threading"):
        # The event loop's own: a thread would be a greenlet, whose start and end take longer than reading most bodies.
        clock = gevent.get_hub().loop.timer(seconds)
        clock.start(call)
        return clock.close  # type: ignore[no-any-return]
    timer = Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer.cancel


def _hang_up(conn: socket.socket | None) -> None:
    """Stop reading from a caller, who can still be answered. gunicorn would wait for the rest of the body."""
    with suppress(OSError):
        if conn is not None:
            conn.shutdown(socket.SHUT_RD)
