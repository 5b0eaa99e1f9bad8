"""A job's suggestions as server-sent events, each batch as it is committed, until the job has ended."""

from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event
from time import monotonic
from uuid import UUID

import psycopg
from flask import Response, current_app, g, request

from recto.api import event_streams
from recto.api.context import runtime
from recto.api.job_contract import GenerationEnded
from recto.api.review_contract import Suggestion
from recto.db import jobs, suggestions
from recto.errors import InvalidRequest, NotFound, RateLimited
from recto.runtime import Runtime
from recto.telemetry import log

# How often it is checked whether the caller is gone, or the process stops.
_LOOK_EVERY_S = 1.0
_DONE = "done"  # the name and the id of the last event
_AFTER_ALL = 2**31 - 1  # beyond any position


def respond(job_id: UUID) -> Response:
    """Answer with the events of the job, those after ``Last-Event-ID``.

    Raises ``NotFound``, ``InvalidRequest`` and, if the user has too many requests waiting, ``RateLimited``.
    """
    after = _last_event_id()
    jobs.find(runtime().pool, g.user.id, job_id)
    waiting = ExitStack()
    changed = waiting.enter_context(runtime().changes.of(job_id, g.user.id))
    if changed is None:
        raise RateLimited("Too many requests of yours wait for generations.", retry_after_s=_LOOK_EVERY_S)
    stream = _Stream(runtime(), g.user.id, job_id, changed)
    response = event_streams.respond(stream.events(after))
    response.call_on_close(waiting.close)
    return response


def _last_event_id() -> int:
    """Return the position of the last suggestion that the caller has; 0 before the first."""
    given = request.headers.get("Last-Event-ID", "").strip()
    if given == _DONE:
        return _AFTER_ALL
    if not given:
        return 0
    if not (given.isascii() and given.isdecimal() and len(given) < len(str(_AFTER_ALL))):
        raise InvalidRequest("Last-Event-ID must be the id of one of the generation's events.")
    return int(given)


class _Stream:
    def __init__(self, held: Runtime, user_id: UUID, job_id: UUID, changed: Event) -> None:
        self._held = held
        self._user_id = user_id
        self._job_id = job_id
        self._changed = changed
        self._conn = request.environ.get("gunicorn.socket")
        self._comment_at = monotonic() + event_streams.COMMENT_EVERY_S
        self._is_stopping = current_app.config.get("IS_STOPPING", lambda: False)

    def events(self, position: int) -> Iterator[bytes]:
        """Yield what comes after the position. The caller comes again if it ends without ``done``."""
        pool, user_id, job_id = self._held.pool, self._user_id, self._job_id
        yield event_streams.COMMENT  # the answer's head is sent with the first piece of its body
        try:
            while True:
                self._changed.clear()
                job = jobs.find(pool, user_id, job_id)  # first: what is committed with its end is then read, too
                if job.erased_at is None:
                    for row in suggestions.find(pool, user_id, job_id, after=position):
                        position = row.position
                        yield event_streams.event("suggestion", Suggestion.of(row), event_id=str(position))
                if job.ended:
                    yield event_streams.event(_DONE, GenerationEnded.of(job), event_id=_DONE)
                    return
                yield from self._wait()
                if self._is_over():
                    return
        except (psycopg.Error, NotFound) as error:  # the database is away, or what there was has just been erased
            log.warning("events_broken_off", job_id=str(job_id), reason=type(error).__name__)

    def _wait(self) -> Iterator[bytes]:
        """Wait for a change, or for the time to look without one; yield comments meanwhile."""
        look_at = monotonic() + self._held.times.look_s
        while monotonic() < look_at and not self._changed.wait(_LOOK_EVERY_S) and not self._is_over():
            if monotonic() >= self._comment_at:
                self._comment_at = monotonic() + event_streams.COMMENT_EVERY_S
                yield event_streams.COMMENT

    def _is_over(self) -> bool:
        return self._is_stopping() or event_streams.has_hung_up(self._conn)
