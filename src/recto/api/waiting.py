"""``?wait=``: answer when a job has changed in place of at once."""

from collections.abc import Generator
from contextlib import nullcontext
from time import monotonic
from uuid import UUID

from flask import g

from recto.api.context import runtime


def looks(job_id: UUID, wait_s: float) -> Generator[bool]:
    """Yield whenever the caller shall look at the job: at once, and at each change for ``wait_s``; True the last time.

    Without a wait, or with too many of the user's under way, the first look is the last.
    """
    give_up = monotonic() + wait_s
    with runtime().changes.of(job_id, g.user.id) if wait_s else nullcontext() as changed:
        while changed and (left_s := give_up - monotonic()) > 0:
            changed.clear()
            yield False
            changed.wait(min(left_s, runtime().times.look_s))
        yield True
