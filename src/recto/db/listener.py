"""PostgreSQL's notifications, over one connection a process."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from uuid import UUID

import psycopg

from recto.db.pool import connect, keeps_sessions
from recto.telemetry import log

JOB_CHANGES = "recto_generation_jobs"
WAKE_UPS = "recto_wake_ups"

_RECONNECT_AFTER_S = 1.0


class Listener:
    """Calls ``on_notification(payload)`` for each notification on ``channel``, from a thread of its own.

    ``on_connection()`` is called whenever it begins to listen: what was sent before it was not heard. Notifications may
    be lost, with their connection or behind a transaction pooler: whoever waits for one also looks from time to time.
    """

    def __init__(
        self,
        database_url: str,
        channel: str,
        on_notification: Callable[[str], None],
        on_connection: Callable[[], None],
    ) -> None:
        self._database_url = database_url
        self._channel = channel
        self._on_notification = on_notification
        self._on_connection = on_connection
        self._closed = Event()
        self._thread = Thread(target=self._run, name=f"listen {channel}", daemon=True)

    def start(self) -> None:
        """Begin to listen, where the database can be listened to."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                with connect(self._database_url) as conn:
                    if not keeps_sessions(conn, self._database_url):
                        return
                    conn.execute(f"listen {self._channel}")
                    self._on_connection()
                    while not self._closed.is_set():
                        for notification in conn.notifies(timeout=1.0):
                            self._on_notification(notification.payload)
            except (psycopg.Error, UnicodeError) as error:  # in a SQL_ASCII database anybody may send any bytes
                log.warning("listener_reconnects", channel=self._channel, reason=type(error).__name__)
                self._closed.wait(_RECONNECT_AFTER_S)


class JobChanges:
    """Wakes requests that wait for a job. It connects when somebody waits for the first time."""

    # Each waiting request costs a lookup at every change; a page waits for a few jobs at a time.
    MOST_WAITS_A_USER = 10

    def __init__(self, database_url: str) -> None:
        self._listener = Listener(database_url, JOB_CHANGES, self._changed, self._wake_all)
        self._listening = False
        self._waiting: defaultdict[UUID, set[Event]] = defaultdict(set)
        self._waits: Counter[UUID] = Counter()
        self._lock = Lock()

    @contextmanager
    def of(self, job_id: UUID, user_id: UUID) -> Iterator[Event | None]:
        """Lend an event that is set at each change of the job from now on; the caller clears it before it looks.

        None if the user has ``MOST_WAITS_A_USER`` requests waiting in this process.
        """
        changed = Event()
        with self._lock:
            allowed = self._waits[user_id] < self.MOST_WAITS_A_USER
            if allowed:
                self._waits[user_id] += 1
                self._waiting[job_id].add(changed)
                if not self._listening:
                    self._listening = True
                    self._listener.start()
        if not allowed:
            yield None
            return
        try:
            yield changed
        finally:
            with self._lock:
                self._waits[user_id] -= 1
                if not self._waits[user_id]:
                    del self._waits[user_id]
                self._waiting[job_id].discard(changed)
                if not self._waiting[job_id]:
                    del self._waiting[job_id]

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _changed(self, payload: str) -> None:
        try:
            job_id = UUID(payload)
        except ValueError:  # anybody who may connect may notify
            log.warning("notification_malformed", channel=JOB_CHANGES)
            return
        for changed in tuple(self._waiting.get(job_id, ())):
            changed.set()

    def _wake_all(self) -> None:
        for events in tuple(self._waiting.values()):
            for changed in tuple(events):
                changed.set()
