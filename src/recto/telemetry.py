"""What an operator sees: structured log lines and Prometheus metrics. Neither ever holds a text, a token or a key."""

import logging
import os
import sys
import traceback
from collections.abc import Collection
from typing import Literal, NamedTuple

import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from pydantic_core import to_json

from recto.calls import MadeCalls
from recto.errors import UpstreamError
from recto.text.generate import Generation

log: structlog.stdlib.BoundLogger = structlog.get_logger()

OTHER_MODEL = "other"

# Of the statuses of answers, by their first digit: green, cyan, yellow, red.
_COLORS = {"2": 32, "3": 36, "4": 33, "5": 31}

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)

requests_total = Counter("recto_http_requests", "Requests answered.", ("route", "method", "status"))
request_seconds = Histogram("recto_http_request_seconds", "From request to answer.", ("route",), buckets=_SECONDS)
requests_in_flight = Gauge("recto_http_requests_in_flight", "Requests being worked on.", multiprocess_mode="livesum")
upstream_total = Counter("recto_upstream_calls", "Generations asked of the provider.", ("outcome",))
upstream_seconds = Histogram("recto_upstream_seconds", "From prompt to proposals or failure.", buckets=_SECONDS)
# A provider may name any model: those that are not configured are counted as OTHER_MODEL.
tokens_total = Counter("recto_tokens", "Tokens by the provider's own count.", ("direction", "model"))
cost_usd_total = Counter("recto_cost_usd", "US dollars by the provider's own count.", ("model",))
proposals_total = Counter("recto_proposals", "Flashcard proposals answered.")
dropped_total = Counter("recto_proposals_dropped", "Cards that a model wrote and Recto did not keep.", ("reason",))

images_total = Counter("recto_images", "Jobs of pictures that ended.", ("mode", "outcome"))
image_seconds = Histogram(
    "recto_image_seconds",
    "From a picture's submission to its files.",
    buckets=(1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600),
)
webhooks_total = Counter("recto_webhooks", "Webhooks of the image model's provider.", ("verdict",))
look_ups_total = Counter("recto_image_look_ups", "Predictions that were looked up at the provider.", ("by",))
attempts_total = Counter("recto_job_attempts", "Attempts of jobs that ended.", ("kind", "outcome"))


class Gauges(NamedTuple):
    """The jobs in flight, of all users and workers: looked up when it is asked for, counted by no process."""

    jobs_pending: float
    jobs_running: float
    jobs_oldest_pending_seconds: float

    def describe(self) -> list[Metric]:
        """Nothing is known before the first look."""
        return []

    def collect(self) -> list[Metric]:
        """Return the gauges."""
        return [
            GaugeMetricFamily("recto_jobs_pending", "Jobs that wait for a worker.", self.jobs_pending),
            GaugeMetricFamily("recto_jobs_running", "Jobs that are being run, on all machines.", self.jobs_running),
            GaugeMetricFamily(
                "recto_jobs_oldest_pending_seconds",
                "Age of the oldest job that waits.",
                self.jobs_oldest_pending_seconds,
            ),
        ]


def render_metrics(shared: Gauges | None) -> bytes:
    """Return all metrics in Prometheus' text format, summed over gunicorn's processes when there are several."""
    registry = CollectorRegistry()
    if shared:
        registry.register(shared)
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest() + generate_latest(registry)
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def generated(generation: Generation, *, models: Collection[str]) -> dict[str, object]:
    """Count a generation and return what a log line says of it; ``models`` are those that have metrics of their own."""
    upstream_total.labels(generation.failure.log_code if generation.failure else "success").inc()
    upstream_seconds.observe(generation.duration_ms / 1000)
    proposals_total.inc(len(generation.proposals))
    for reason, count in generation.drops.items():
        dropped_total.labels(reason).inc(count)
    return _spent(generation.completion, generation.completion.model, models) | {
        "upstream_ms": generation.duration_ms,
        "generated_count": len(generation.proposals),
        "dropped": dict(generation.drops),
        "incomplete": generation.incomplete,
    }


def image_event(event: str, *, user_id: object, job_id: object, prediction_id: object, status: str) -> None:
    """Log a transition of a picture's job: ids and a status, no prompt and no address."""
    log.info(
        f"image_{event}",
        user_id=str(user_id),
        job_id=str(job_id),
        prediction_id=prediction_id,
        status=status,
    )


def image_ended(mode: str, outcome: str, seconds: float) -> None:
    """Count a picture's job, so many seconds after it was asked for."""
    images_total.labels(mode, outcome).inc()
    if outcome == "stored":
        image_seconds.observe(seconds)


def image_looked_up(by: str) -> None:
    """Count a look-up, by a worker or for a caller."""
    look_ups_total.labels(by).inc()


def attempt_ended(kind: str, outcome: str) -> None:
    """Count an attempt of a job."""
    attempts_total.labels(kind, outcome).inc()


def upstream_failed(error: UpstreamError, *, model: str, models: Collection[str], seconds: float) -> dict[str, object]:
    """Count a failure of the provider after so many seconds and return what a log line says of it.

    ``model`` is the one asked for; ``models`` are those that have metrics of their own.
    """
    upstream_total.labels(error.log_code).inc()
    upstream_seconds.observe(seconds)
    return _spent(error, error.model or model, models) | {
        "error_code": error.log_code,
        "error_message": error.detail,
        "upstream_ms": round(seconds * 1000),
    }


def _spent(outcome: MadeCalls, model: str, models: Collection[str]) -> dict[str, object]:
    for call in outcome.calls:
        label = call.model if call.model in models else OTHER_MODEL
        tokens_total.labels("input", label).inc(call.tokens_input or 0)
        tokens_total.labels("output", label).inc(call.tokens_output or 0)
        cost_usd_total.labels(label).inc(float(call.cost_usd or 0))
    cost_usd = outcome.cost_usd
    return {
        "model": model,
        "tokens_input": outcome.tokens_input,
        "tokens_output": outcome.tokens_output,
        "cost_usd": None if cost_usd is None else float(cost_usd),
    }


def log_failure(error: BaseException) -> None:
    """Log an unforeseen error: its type and where it came from.

    Its message is logged only where it cannot hold what a user sent: the operating system's, and the first line of
    the database's, whose others quote rows.
    """
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    reason = str(error).partition("\n")[0] if isinstance(error, psycopg.Error | OSError) else None
    log.error("unforeseen_error", type=type(error).__qualname__, reason=reason, frames=frames)


def _without_path(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Leave out what a caller typed, and addresses that are as good as a password. The route says enough."""
    event.pop("path", None)
    return event


def _for_a_person(*, colors: bool) -> structlog.typing.Processor:
    """Render a request as one short line, all else in columns."""
    columns = structlog.dev.ConsoleRenderer(colors=colors)

    def render(logger: object, method: str, event: structlog.typing.EventDict) -> str | bytes:
        return _request(event, colors) if event["event"] == "request" else columns(logger, method, event)

    return render


def _request(event: structlog.typing.EventDict, colors: bool) -> str:
    status = str(event["status"])
    if colors:
        status = f"\x1b[{_COLORS[status[0]]}m{status}\x1b[0m"
    words = [event["method"], event["path"], status, f"{event['duration_ms']:.0f} ms"]
    if cards := event.get("generated_count"):
        words.append(f"{cards} card{'s' if cards != 1 else ''}")
    if code := event.get("error_code"):
        words.append(f"{code}: {event['error_message']}")
    return "  ".join(words)


class _LibraryHandler(logging.Handler):
    """Says what libraries warn of in our own form, on one line and without a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join(record.getMessage().split())
        log.log(record.levelno, "library", logger=record.name, message=message)


def configure_logging(log_format: Literal["json", "console"]) -> None:
    """Send one line an event to standard error: JSON, or what a person reads at a terminal."""
    logging.basicConfig(level=logging.WARNING, handlers=[_LibraryHandler()])
    # Its warnings quote addresses, of which a webhook's is secret, and headers, in which a provider may quote a text.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        structlog.configure(
            processors=[
                *shared,
                _without_path,
                structlog.processors.JSONRenderer(serializer=lambda event, **_: to_json(event, fallback=str)),
            ],
            logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=[*shared, _for_a_person(colors=sys.stderr.isatty())],
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        )
