"""Where the time of one request goes: ``python -m bench.stages``, with the service's settings in the environment.

One process under gevent calls the WSGI application, one request at a time, and prints a JSON object: for each stage
the mean wall time and the mean CPU time in ms. What a stage waits for (the provider, Postgres, both on the same cores)
is in its wall time alone. gunicorn, the sockets of the clients and the scheduling of many requests are not in it.
"""

# ruff: noqa: E402  psycopg and requests must see the patched standard library
from gevent import monkey

monkey.patch_all()

import itertools
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from time import perf_counter, thread_time
from typing import Any

# As in the service's workers, metrics go to memory-mapped files; prometheus_client looks when it is imported.
_metrics_folder = tempfile.TemporaryDirectory(prefix="recto-bench-metrics-")
os.environ["PROMETHEUS_MULTIPROC_DIR"] = _metrics_folder.name

from werkzeug.test import EnvironBuilder, run_wsgi_app

import recto.api.limits
import recto.db.generations
import recto.text.prompt
import recto.text.proposals
from bench.payload import bodies, tokens
from recto.api.contract import CreateGeneration
from recto.providers.openrouter import OpenRouter
from recto.text.source import SourceText
from recto.tokens import TokenVerifier

WARM_UP = 200
REQUESTS = 1000

STAGES = {
    "auth": [(TokenVerifier, "verify")],
    "limits": [(recto.api.limits, "_count")],
    "parse and validate": [(CreateGeneration, "parse"), (SourceText, "__post_init__")],
    "prompt": [(recto.text.prompt, "build")],
    "provider client": [(OpenRouter, "complete")],
    "proposals": [(recto.text.proposals, "parse")],
    "insert": [(recto.db.generations.Records, "record")],
}
REST = "the rest (Flask, metrics, log, answer)"


class Spent:
    """Wall and CPU seconds by stage."""

    def __init__(self) -> None:
        self.wall: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)

    def timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call``, which adds what it takes to ``stage``."""

        @wraps(call)
        def measured(*args: Any, **kwargs: Any) -> Any:
            wall, cpu = perf_counter(), thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                self.cpu[stage] += thread_time() - cpu
                self.wall[stage] += perf_counter() - wall

        return measured


def main() -> None:
    """Measure and print."""
    spent = Spent()
    for stage, calls in STAGES.items():
        for owner, name in calls:
            setattr(owner, name, spent.timed(stage, getattr(owner, name)))

    from wsgi import app

    answer = spent.timed("whole", lambda environ: run_wsgi_app(app, environ, buffered=True))
    requests = zip(itertools.cycle(tokens(os.environ["SUPABASE_JWT_SECRET"])), bodies(), strict=False)
    for number, (token, body) in enumerate(itertools.islice(requests, WARM_UP + REQUESTS)):
        if number == WARM_UP:
            spent.wall.clear()
            spent.cpu.clear()
        environ = EnvironBuilder(
            path="/generations",
            method="POST",
            data=body,
            content_type="application/json",
            headers={"Authorization": f"Bearer {token}"},
            environ_base={"REMOTE_ADDR": "127.0.0.1"},
        ).get_environ()
        _, status, _ = answer(environ)
        if not status.startswith("200"):
            raise SystemExit(f"answered {status}")
    for seconds in (spent.wall, spent.cpu):
        seconds[REST] = seconds["whole"] - sum(seconds[stage] for stage in STAGES)
    print(
        json.dumps(
            {
                stage: {
                    "wall_ms": spent.wall[stage] / REQUESTS * 1000,
                    "cpu_ms": spent.cpu[stage] / REQUESTS * 1000,
                }
                for stage in (*STAGES, REST, "whole")
            }
        )
    )


if __name__ == "__main__":
    main()
