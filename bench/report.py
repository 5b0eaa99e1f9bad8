"""The figures as Markdown."""

import os
import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bench.load import Result
from bench.processes import Memory

PACKAGES = (
    *("recto", "flask", "gunicorn", "gevent", "requests", "urllib3", "flask-limiter", "psycopg", "psycopg-pool"),
    *("pydantic", "pyjwt", "jiter", "structlog", "prometheus-client"),
)


@dataclass(frozen=True)
class Measurement:
    """One run of the load generator against one target; CPU in ms a request."""

    result: Result
    delay_s: float
    server_cpu_ms: float
    postgres_cpu_ms: float
    provider_cpu_ms: float
    memory: Memory

    def added_ms(self, percent: float) -> float:
        """The percentile less the provider's own delay."""
        return self.result.percentile_ms(percent) - self.delay_s * 1000


def machine(postgres_version: str) -> str:
    """When the figures were measured, on what and with what."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{date.today()}: {len(os.sched_getaffinity(0))} cores ({model}), Linux {platform.release()}, "
        f"Python {platform.python_version()}, PostgreSQL {postgres_version}. {packages}."
    )


def headline(runs: dict[tuple[str, str], list[Measurement]]) -> str:
    """What all others' figures are of the pass-through's in the same run, which other machines show alike."""
    lines = []
    for (load, target), ours in runs.items():
        bare = runs.get((load, "pass-through"))
        if bare and target not in ("pass-through", "provider itself"):
            rate, cpu, added = (
                median(map(of, ours)) / median(map(of, bare))
                for of in (
                    lambda run: len(run.result.latencies_ms) / run.result.seconds,
                    lambda run: run.server_cpu_ms,
                    lambda run: run.added_ms(50),
                )
            )
            lines.append([load, target, f"{rate:.2f}", f"{cpu:.2f}", f"{added:.2f}"])
    return table(["of the pass-through's", "target", "req/s", "CPU a request", "p50 added"], lines)


def loads(runs: dict[tuple[str, str], list[Measurement]]) -> str:
    """One line a load and target: the median of its runs, all of their errors, the largest memory."""
    return table(
        [
            *("load", "target", "req/s", "p50 ms", "p95 ms", "p99 ms", "p99 of the runs", "errors"),
            *("CPU ms", "Postgres", "provider", "client", "PSS MB", "RSS MB"),
        ],
        (
            [
                load,
                target,
                f"{median(len(run.result.latencies_ms) / run.result.seconds for run in measured):.0f}",
                *(f"{median(run.added_ms(percent) for run in measured):.2f}" for percent in (50, 95, 99)),
                _range([run.added_ms(99) for run in measured]),
                _errors(measured),
                f"{median(run.server_cpu_ms for run in measured):.2f}",
                f"{median(run.postgres_cpu_ms for run in measured):.2f}",
                f"{median(run.provider_cpu_ms for run in measured):.3f}",
                f"{median(run.result.cpu_s * 1000 / max(run.result.requests, 1) for run in measured):.3f}",
                f"{max(run.memory.pss_mb for run in measured):.0f}",
                f"{max(run.memory.rss_mb for run in measured):.0f}",
            ]
            for (load, target), measured in runs.items()
        ),
    )


def stages(spent: dict[str, dict[str, float]]) -> str:
    """One line a stage of a request."""
    whole = spent["whole"]["wall_ms"]
    return table(
        ["stage", "ms", "of it CPU", "share"],
        (
            [stage, f"{ms['wall_ms']:.3f}", f"{ms['cpu_ms']:.3f}", f"{ms['wall_ms'] / whole:.0%}"]
            for stage, ms in spent.items()
        ),
    )


def _range(values: list[float]) -> str:
    return f"{min(values):.1f}–{max(values):.1f}" if len(values) > 1 else "–"


def _errors(measured: list[Measurement]) -> str:
    errors = sum((run.result.errors for run in measured), Counter())
    return ", ".join(f"{count} × {cause}" for cause, count in errors.most_common()) or "0"


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])
