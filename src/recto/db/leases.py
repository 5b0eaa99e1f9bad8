"""Leases: who runs a job, until when. A process renews those of all its jobs in one statement."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Lock, Thread
from uuid import UUID, uuid4

import psycopg

from recto.db.pool import Pool, as_process
from recto.telemetry import log


def renew(pool: Pool, holder: UUID, job_ids: list[UUID], lease_s: float) -> None:
    """Let those of the jobs that ``holder`` still owns be its own for ``lease_s`` from now."""
    with as_process(pool) as conn:
        conn.execute("select recto.renew_leases(%s, %s, %s)", (holder, job_ids, timedelta(seconds=lease_s)))


class Leases:
    """The leases of one process, named ``holder``, renewed from a thread of their own while anything runs.

    A renewal that fails is tried again at the next turn. A job whose lease could not be renewed in time may be run by
    another process: whatever this one then commits is refused.
    """

    def __init__(self, pool: Pool, *, lease_s: float, renew_every_s: float) -> None:
        self.holder = uuid4()
        self.lease_s = lease_s
        self._pool = pool
        self._renew_every_s = renew_every_s
        self._running: list[UUID] = []  # a job stands here twice while its next attempt begins as one ends
        self._lock = Lock()
        self._closed = Event()
        self._thread: Thread | None = None

    @contextmanager
    def renewed(self, job_id: UUID) -> Iterator[None]:
        """Renew the job's lease while the caller runs it."""
        with self._lock:
            self._running.append(job_id)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(job_id)

    def close(self) -> None:
        """Stop renewing."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._renew_every_s):
            with self._lock:
                running = list(self._running)
            if not running:
                continue
            try:
                renew(self._pool, self.holder, running, self.lease_s)
            except psycopg.Error as error:
                log.warning("leases_not_renewed", reason=type(error).__name__)
