"""How long things may take, in seconds. Each time is derived from those inside it.

    a request that a caller waits for        ├─ body ─┼────── deadline ──────┼ patience ┤
    gunicorn lets it end after SIGTERM       ├──────────── graceful_stop ───────────────┼ 5 ┤
    systemd then kills the web service       ├───────────────── web_stop ───────────────────────┼ 5 ┤

    a job in a worker                        ├────── deadline ──────┼──── worker_patience ────┤
    systemd kills the worker                 ├───────────────── worker_stop ──────────────────────┼ 5 ┤

    the lease of whatever runs               ├─ renew ─┼─ renew ─┼─ renew ─┤ lease over ├─ sweep ─┤ recovered

A process that lives renews its leases three times before they end, so one lost renewal costs nothing. A process that
was killed is noticed when its lease is over, and its job is recovered by the next sweep: ``lease_s + sweep_every_s``
after its last renewal at the latest.
"""

from dataclasses import dataclass
from math import ceil

# Reading a request's body.
BODY_S = 10.0
# Reading pictures that are uploaded.
UPLOAD_S = 30.0
# What a call may end later than its deadline: the time to notice and to translate.
SLACK_S = 0.25
# The longest `?wait=`: proxies commonly give up after 30 or 60 s.
LONGEST_WAIT_S = 25
_STOP_MARGIN_S = 5


@dataclass(frozen=True, slots=True)
class Times:
    """The times of one process; the defaults are an operator's, tests pass shorter ones.

    ``deadline_s``: a provider's call, its quick retry included (``OPENROUTER_TIMEOUT_MS``). ``patience_s``: how long a
    result waits for a database that is away while its caller waits too; ``worker_patience_s``: while nobody does.
    ``lease_s``: after which a silent process counts as dead. ``poll_s``: how often a worker looks for due jobs that no
    notification announced; ``look_s``: how often a waiting request looks at its job likewise. ``backoff_s``: the
    longest pause before a job's second attempt; before the third it is twice that.
    """

    deadline_s: float
    patience_s: float = 10.0
    worker_patience_s: float = 30.0
    lease_s: float = 15.0
    poll_s: float = 1.0
    look_s: float = 5.0
    backoff_s: float = 2.0

    @classmethod
    def of(cls, openrouter_timeout_ms: int) -> "Times":
        """Return an operator's times."""
        return cls(deadline_s=openrouter_timeout_ms / 1000)

    @property
    def renew_every_s(self) -> float:
        """How often a process renews the leases of what it runs."""
        return self.lease_s / 3

    @property
    def sweep_every_s(self) -> float:
        """How often a worker looks for jobs whose lease is over."""
        return self.lease_s / 3

    @property
    def request_s(self) -> float:
        """The longest time from a request's first byte to its answer."""
        return BODY_S + self.deadline_s + SLACK_S + self.patience_s

    @property
    def graceful_stop_s(self) -> int:
        """How long a stopping web process lets its requests go on."""
        return ceil(max(self.request_s, LONGEST_WAIT_S)) + _STOP_MARGIN_S

    @property
    def web_stop_s(self) -> int:
        """How long a service manager waits for the web service to stop."""
        return self.graceful_stop_s + _STOP_MARGIN_S

    @property
    def worker_stop_s(self) -> int:
        """How long a service manager waits for a worker to stop."""
        return ceil(self.deadline_s + SLACK_S + self.worker_patience_s) + _STOP_MARGIN_S
