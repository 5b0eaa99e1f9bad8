"""The command line: recto dev | migrate | serve | worker | forget | prune | stats | eval | sandbox | token | …."""

import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from threading import Event
from uuid import UUID

import click
import psycopg

from recto import dev, documents, progress, reports
from recto.db import embedded, erasure, migrations, pruning, stats
from recto.evaluation import EvaluationError
from recto.evaluation.command import evaluate
from recto.generate_command import generate
from recto.jobs.worker import work
from recto.root import GUNICORN
from recto.sandbox.predictions import SIGNING_SECRET
from recto.sandbox.server import CHUNKS_PER_SECOND
from recto.sandbox.server import start as start_sandbox
from recto.settings import DatabaseSettings, DevelopmentSettings, SettingsError, WorkerSettings
from recto.telemetry import configure_logging

# What is said in one line instead of a traceback.
_EXPECTED = (
    SettingsError,
    migrations.MigrationError,
    embedded.EmbeddedPostgresError,
    dev.DevelopmentError,
    documents.DocumentError,
    EvaluationError,
    psycopg.OperationalError,
    psycopg.ProgrammingError,  # a login that may not do it, a database that is not migrated
    psycopg.IntegrityError,  # a row of the app's own refers to one that is to be deleted
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="recto", message="%(package)s %(version)s")
def cli() -> None:
    """Turn source texts into flashcard proposals."""


cli.add_command(evaluate)
cli.add_command(generate)


def main() -> None:
    """Run the command line; what can be expected to fail ends with one line on standard error and status 1."""
    try:
        cli()
    except _EXPECTED as error:
        sys.exit(f"recto: {error}")


@cli.command("dev")
@click.option("--port", default=8000, show_default=True, help="Port on the loopback address.")
def dev_command(port: int) -> None:
    """Run everything on this machine: database, provider, service and page."""
    dev.run(DevelopmentSettings.load(), port=port)


@cli.command()
def migrate() -> None:
    """Bring the database at DATABASE_URL up to date, or change nothing. Safe to run twice, and at the same time."""
    settings = DatabaseSettings.load()
    done = migrations.migrate(settings.database_url, schema=settings.database_schema)
    lines = [f"applied {name}" for name in done.files] + done.changes
    click.echo("\n".join(lines) or "The database is up to date.")


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[GUNICORN'S OPTIONS]...")
def serve(options: tuple[str, ...]) -> None:
    """Run the web service until SIGTERM: gunicorn on 127.0.0.1:8000, or as its own options say, such as --bind."""
    os.execv(sys.executable, [sys.executable, "-m", *GUNICORN, *options])  # noqa: S606  our own interpreter


@cli.command()
@click.option("--concurrency", type=click.IntRange(1, 256), default=2, show_default=True, help="Jobs at a time.")
@click.option(
    "--metrics-port", type=click.IntRange(1, 65535), help="Serve this process's metrics on this loopback port."
)
def worker(concurrency: int, metrics_port: int | None) -> None:
    """Run background generations until SIGTERM. Start as many, on as many machines, as you like."""
    settings = WorkerSettings.load()
    configure_logging(settings.log_format)
    work(settings, concurrency=concurrency, metrics_port=metrics_port)


@cli.command()
@click.option("--user", "user_id", type=click.UUID, required=True, help="The user's id.")
def forget(user_id: UUID) -> None:
    """Delete everything that the database at DATABASE_URL keeps of a user: texts, suggestions, costs, usage."""
    erasure.forget(DatabaseSettings.load().database_url, user_id)
    click.echo(f"Nothing is kept of the user {user_id} any more.")


@cli.command()
@click.option("--older-than", "days", type=click.IntRange(min=pruning.LEAST_DAYS), required=True, metavar="DAYS")
@click.option("--app-rows", is_flag=True, help="Also rows without a job, as an app writes into tables that it shares.")
@click.option("--pictures", is_flag=True, help="Also pictures that users have, and their files.")
@click.option("--dry-run", is_flag=True, help="Only count.")
def prune(days: int, dry_run: bool, **wanted: bool) -> None:
    """Delete old jobs, records, debits and costs from the database at DATABASE_URL; Ctrl-C keeps what is done.

    Rows stay that a row of the app's refers to.
    """
    url, before = DatabaseSettings.load().database_url, datetime.now(UTC) - timedelta(days=days)
    batches: list[pruning.Batch] = []
    try:
        with progress.shown("Looking for old rows") as say:
            for batch in pruning.prune(url, before, dry_run=dry_run, **wanted):
                batches.append(batch)
                say(batch.table, batch.share)
    finally:
        click.echo(reports.sum_up(batches, dry_run=dry_run))


@cli.command("stats")
@click.option(
    "--days",
    type=click.IntRange(1, stats.MAX_DAYS),
    default=30,
    show_default=True,
    help="The last days in UTC, today included.",
)
@click.option("--json", "as_json", is_flag=True, help="As GET /stats has it, in place of a table.")
def stats_command(days: int, as_json: bool) -> None:
    """Show what was kept of each model's cards, and what that cost, of all users of the database at DATABASE_URL."""
    found = stats.of_everybody(DatabaseSettings.load().database_url, days=days)
    click.echo(json.dumps(asdict(found), indent=2, default=date.isoformat) if as_json else reports.draw(found))


@cli.command("sandbox")
@click.option("--port", default=8001, show_default=True, help="Port on the loopback address.")
@click.option(
    "--chunks-per-second",
    type=click.FloatRange(min=0),
    default=CHUNKS_PER_SECOND,
    show_default=True,
    help="Pace of streams, in chunks of four characters; 0: at once.",
)
def sandbox_command(port: int, chunks_per_second: float) -> None:
    """Run the sandbox provider alone, for a harness or a client whose settings name it."""
    dev.require_free(port, "sandbox")
    with dev.until_stopped(), start_sandbox(port, chunks_per_second=chunks_per_second) as provider:
        click.echo(f"OPENROUTER_BASE_URL={provider.base_url}")
        click.echo(f"REPLICATE_BASE_URL={provider.replicate_url}")
        click.echo(f"REPLICATE_WEBHOOK_SECRET={SIGNING_SECRET}")
        Event().wait()


@cli.command()
@click.option("--user", "user_id", type=click.UUID, default=dev.USER_ID, show_default=True, help="The user's id.")
def token(user_id: UUID) -> None:
    """Print a day's access token, signed with SUPABASE_JWT_SECRET or the secret of `recto dev`."""
    click.echo(dev.token(DevelopmentSettings.load(), user_id))


if __name__ == "__main__":
    main()
