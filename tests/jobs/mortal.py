"""Processes that kill themselves at a step of their work, as soon as a file of the step's name lies in a folder."""

import os
import signal
from contextlib import suppress
from functools import wraps
from pathlib import Path
from pkgutil import resolve_name

# Of a web process, and of a worker: `before` or `after`, and a function.
SUBMIT = (
    "after recto.db.images:reserve",
    "before recto.storage.folder:Folder.put",
    "after recto.storage.folder:Folder.put",
    "before recto.providers.replicate:Replicate.create",
    "after recto.providers.replicate:Replicate.create",
    "after recto.db.images:submitted",
    "before recto.db.images:hear",
    "after recto.db.images:hear",
)
OUTPUTS = (
    "before recto.db.renders:told",
    "before recto.db.renders:keep_outputs",
    "after recto.providers.outputs:Outputs.fetch",
    "after recto.storage.folder:Folder.put",
    "before recto.db.renders:succeed",
    "after recto.db.renders:succeed",
    "before recto.db.renders:fail",
    "after recto.db.renders:fail",
)


def arm() -> None:
    """Let this process die at whichever step is ordered in the folder TEST_ORDERS, if there is one; once an order."""
    folder = os.environ.get("TEST_ORDERS")
    for path in {step.split()[1] for step in SUBMIT + OUTPUTS} if folder else ():
        owner, _, name = path.replace(":", ".").rpartition(".")
        _arm(Path(folder or ""), path, resolve_name(owner), name)


def _arm(folder, path, owner, name):
    work = getattr(owner, name)

    def die(moment):
        with suppress(FileNotFoundError):
            (folder / f"{moment} {path}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    @wraps(work)
    def mortal(*args, **kwargs):
        die("before")
        result = work(*args, **kwargs)
        die("after")
        return result

    setattr(owner, name, mortal)
