"""How an attempt of a job ended."""

from dataclasses import dataclass
from typing import ClassVar

from recto.db.attempts import Results
from recto.db.jobs import JobRow
from recto.errors import RectoError


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The job has its suggestions."""

    name: ClassVar = "succeeded"
    results: Results


@dataclass(frozen=True, slots=True)
class Failed:
    """The job failed for good, unless its user retries it."""

    name: ClassVar = "failed"
    error: RectoError
    job: JobRow


@dataclass(frozen=True, slots=True)
class Retried:
    """The attempt failed; the job waits for the next one."""

    name: ClassVar = "retried"
    error: RectoError


@dataclass(frozen=True, slots=True)
class HandedBack:
    """The process stops; another one goes on with the deck."""

    name: ClassVar = "handed_back"


@dataclass(frozen=True, slots=True)
class NotOwned:
    """The job was canceled, or its lease was over and another attempt has begun: what came of this one is not kept."""

    name: ClassVar = "not_owned"


Outcome = Succeeded | Failed | Retried | HandedBack | NotOwned
