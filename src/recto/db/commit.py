"""Write what was paid for, although the database may be away."""

from collections import deque
from collections.abc import Callable
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import TypeVar

from recto.db.pool import AWAY
from recto.telemetry import log

T = TypeVar("T")

_PAUSE_S = 0.25
# A record has about 1 KB, the suggestions of a job about 10; more than this is not kept in memory.
_MOST_LATE = 10_000
_LAST_TRY_S = 3.0


class Delayed(Exception):
    """The database is away for longer than the caller may wait; what was to be written is written later."""


class Commits:
    """Commits results, for up to ``patience_s`` while their caller waits, and after that from a thread of its own.

    A write may be repeated although it was committed, when its acknowledgement was lost: it must change nothing then.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._late: deque[Callable[[], object]] = deque()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._closed = Event()

    def write(self, write: Callable[[], T], *, figures: dict[str, object]) -> T:
        """Call ``write`` until it succeeds and return its result. Raises ``Delayed`` if it will be written later.

        ``figures`` then go to the log at once, in case the process dies before: ids, tokens and dollars, no texts.
        """
        give_up = monotonic() + self._patience_s
        while True:
            try:
                return write()
            except AWAY as error:
                if monotonic() > give_up:
                    log.error("commit_delayed", reason=type(error).__name__, **figures)
                    self._keep(write)
                    raise Delayed from error
            sleep(_PAUSE_S)

    def close(self) -> None:
        """Try once more to write what is late."""
        self._closed.set()
        thread = self._thread
        if thread is not None:
            thread.join(_LAST_TRY_S)
        if self._late:
            log.error("commits_lost", count=len(self._late))

    def _keep(self, write: Callable[[], object]) -> None:
        with self._lock:
            if len(self._late) >= _MOST_LATE:
                log.error("commits_lost", count=1)
                return
            self._late.append(write)
            if self._thread is None:
                self._thread = Thread(target=self._write_late, name="late commits", daemon=True)
                self._thread.start()

    def _write_late(self) -> None:
        while True:
            with self._lock:
                if not self._late:
                    self._thread = None
                    return
                write = self._late[0]
            last_try = self._closed.is_set()
            try:
                write()
            except AWAY:
                if last_try:
                    return
                self._closed.wait(_PAUSE_S)
                continue
            except Exception as error:  # noqa: BLE001  it would fail again, and must not hold up the others
                log.error("commit_refused", reason=type(error).__name__)
            with self._lock:
                self._late.popleft()
