"""A worker with times of the test's own: `python worker_with_times.py '{"lease_s": 1.5}' --concurrency 2`."""

import json
import sys

from mortal import arm

from recto.jobs.worker import work
from recto.settings import WorkerSettings
from recto.telemetry import configure_logging
from recto.times import Times

if __name__ == "__main__":
    _, times, _, concurrency = sys.argv
    settings = WorkerSettings.load()
    configure_logging(settings.log_format)
    arm()
    work(
        settings,
        concurrency=int(concurrency),
        times=Times(**({"deadline_s": settings.openrouter_timeout_ms / 1000} | json.loads(times))),
    )
