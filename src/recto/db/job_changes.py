"""Hear of changes to jobs as they are committed, over one connection a process, however many requests wait."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from uuid import UUID

import psycopg

from recto.telemetry import log

CHANNEL = "recto_generation_jobs"
_RECONNECT_AFTER_S = 1.0


class JobChanges:
    """Wakes those who wait for a job. It connects when somebody waits for the first time.

    Behind a transaction pooler nothing is ever heard: who waits looks from time to time all the same.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._waiting: defaultdict[UUID, set[Event]] = defaultdict(set)
        self._lock = Lock()
        self._listener: Thread | None = None
        self._closed = Event()

    @contextmanager
    def of(self, job_id: UUID) -> Iterator[Event]:
        """Lend an event that is set at each change of the job from now on; who was woken clears it."""
        changed = Event()
        with self._lock:
            self._waiting[job_id].add(changed)
            if self._listener is None:
                self._listener = Thread(target=self._listen, name="job changes", daemon=True)
                self._listener.start()
        try:
            yield changed
        finally:
            with self._lock:
                self._waiting[job_id].discard(changed)
                if not self._waiting[job_id]:
                    del self._waiting[job_id]

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        if self._listener is not None:
            self._listener.join()

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                with psycopg.connect(self._database_url, autocommit=True, connect_timeout=5) as conn:
                    conn.execute(f"listen {CHANNEL}")
                    self._wake(*self._waiting)  # what happened in between was not heard
                    while not self._closed.is_set():
                        for notification in conn.notifies(timeout=1.0):
                            self._wake(UUID(notification.payload))
            except psycopg.Error as error:
                log.warning("job_changes_not_heard", reason=type(error).__name__)
                self._closed.wait(_RECONNECT_AFTER_S)

    def _wake(self, *job_ids: UUID) -> None:
        for job_id in job_ids:
            for changed in tuple(self._waiting.get(job_id, ())):
                changed.set()
