"""``?wait=``: answer once a job has changed, and not at once."""

from collections.abc import Generator
from contextlib import nullcontext
from time import monotonic
from uuid import UUID

from flask import g

from recto.api.context import runtime


def looks(job_id: UUID, wait_s: float) -> Generator[bool]:
    """Yield each time that the job is to be read, with True for the last time.

    That is at once, at each change, and every ``look_s`` in case a change was not heard of, until ``wait_s`` are over.
    Without a wait, or with too many of the user's under way, it is read once.
    """
    give_up = monotonic() + wait_s
    with runtime().changes.of(job_id, g.user.id) if wait_s else nullcontext() as changed:
        while changed and (left_s := give_up - monotonic()) > 0:
            changed.clear()
            yield False
            changed.wait(min(left_s, runtime().times.look_s))
        yield True
