"""Server-sent events: proposals as they are written.

A generation runs in a thread of its own, so that its caller hears from it, and is noticed to be gone, while the model
thinks. Until the first proposal whatever goes wrong is an ordinary answer.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from select import select
from threading import Event, Thread
from time import monotonic

from flask import Response, request
from pydantic import BaseModel
from pydantic_core import to_json

Emit = Callable[[str, BaseModel], None]

MEDIA_TYPE = "text/event-stream"

# Proxies and browsers give up a connection on which nothing comes.
COMMENT = b": the model is writing\n\n"
COMMENT_EVERY_S = 10.0
# How often it is checked whether the caller is gone.
_LOOK_EVERY_S = 0.25


def are_wanted() -> bool:
    """Whether the request asks for events rather than for JSON."""
    return request.accept_mimetypes.best_match(("application/json", MEDIA_TYPE)) == MEDIA_TYPE


def event(name: str, data: BaseModel, *, event_id: str | None = None) -> bytes:
    """Return an event as it is sent; its data are one line of JSON. A broken stream goes on after its ``event_id``."""
    head = f"event: {name}\n" if event_id is None else f"event: {name}\nid: {event_id}\n"
    return head.encode() + b"data: %s\n\n" % to_json(data)


def respond(body: Iterator[bytes], **headers: str) -> Response:
    """Answer with events, which no proxy may hold back."""
    return Response(
        body, mimetype=MEDIA_TYPE, headers=headers | {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


def run(work: Callable[[Emit, Callable[[], bool]], None], *, finish: bool) -> Iterator[bytes]:
    """Do the work in a thread and yield the events that it emits; the first is waited for before this returns.

    ``work`` is called with a function that emits an event by its name and data, and with one that tells whether the
    caller is gone, which with ``finish`` it never is. What it raises before its first event is raised here; it must not
    raise afterwards.
    """
    running = _Work(work, request.environ.get("gunicorn.socket"), finish=finish)
    first = running.next(None)
    return running.events(first)


class _Work:
    """A work in a thread of its own, and the events that nobody has read yet. An event of None is the last."""

    def __init__(
        self, work: Callable[[Emit, Callable[[], bool]], None], conn: socket.socket | None, *, finish: bool
    ) -> None:
        self._conn = conn
        self._finish = finish
        self._gone = Event()
        self._emitted: SimpleQueue[bytes | Exception | None] = SimpleQueue()
        self._thread = Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[Emit, Callable[[], bool]], None]) -> None:
        try:
            work(lambda name, data: self._emitted.put(event(name, data)), self._gone.is_set)
        except Exception as error:  # noqa: BLE001  it is raised where the work is waited for
            self._emitted.put(error)
        else:
            self._emitted.put(None)

    def events(self, first: bytes | None) -> Iterator[bytes]:
        """Yield the events and comments between them, until the work has ended or the caller is gone."""
        sent = first
        try:
            while sent is not None:
                yield sent
                sent = self.next(COMMENT_EVERY_S)
        finally:
            self._leave()
            self._thread.join()

    def next(self, patience_s: float | None) -> bytes | None:
        """Return the next event, None after the last, or a comment if none comes within the patience."""
        give_up = None if patience_s is None else monotonic() + patience_s
        while give_up is None or monotonic() < give_up:
            with suppress(Empty):
                emitted = self._emitted.get(timeout=_LOOK_EVERY_S)
                if isinstance(emitted, Exception):
                    raise emitted
                return emitted
            if has_hung_up(self._conn):
                self._leave()
        return COMMENT

    def _leave(self) -> None:
        if not self._finish:
            self._gone.set()


def has_hung_up(conn: socket.socket | None) -> bool:
    """Whether the caller has closed the connection, on which nothing is expected while it is answered."""
    if conn is None:
        return False
    try:
        return bool(select([conn], [], [], 0)[0]) and conn.recv(1, socket.MSG_PEEK) == b""
    except ValueError:  # TLS knows no peeking: there a write shows it
        return False
    except OSError:
        return True
