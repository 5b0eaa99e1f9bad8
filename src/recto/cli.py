"""The command line: recto dev | migrate | worker | forget | stats | sandbox | token | generate."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import date
from itertools import cycle
from pathlib import Path
from threading import Event, Thread
from typing import Any, BinaryIO
from uuid import UUID

import click
import psycopg

from recto import dev, documents, exports, reports, runtime
from recto.db import embedded, erasure, migrations, stats
from recto.errors import RectoError, UpstreamError
from recto.jobs.worker import work
from recto.sandbox.predictions import SIGNING_SECRET
from recto.sandbox.server import CHUNKS_PER_SECOND
from recto.sandbox.server import start as start_sandbox
from recto.settings import DatabaseSettings, DevelopmentSettings, ProviderSettings, SettingsError, WorkerSettings
from recto.telemetry import configure_logging
from recto.text.generate import Generation
from recto.text.generate import generate as run_pipeline
from recto.text.options import STYLES, Options
from recto.text.source import SourceText

# What is said in one line instead of a traceback.
_EXPECTED = (
    SettingsError,
    migrations.MigrationError,
    embedded.EmbeddedPostgresError,
    dev.DevelopmentError,
    documents.DocumentError,
    psycopg.OperationalError,
    psycopg.ProgrammingError,  # a login that may not do it, a database that is not migrated
    psycopg.IntegrityError,  # a row of the app's own refers to one that is to be deleted
)

_FORMATS = {".json": "json", ".csv": "csv", ".apkg": "anki"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Turn source texts into flashcard proposals."""


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


@cli.command()
@click.option("--concurrency", type=click.IntRange(1, 256), default=2, show_default=True, help="Jobs at a time.")
@click.option("--metrics-port", type=int, help="Serve this process's metrics on this port of the loopback address.")
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


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["json", "csv", "anki"]),
    help="Without it the ending of --output's name tells: .json, .csv or .apkg; JSON otherwise.",
)
@click.option("--output", "-o", type=click.File("wb", lazy=True), default="-", help="Instead of standard output.")
@click.option("--model", help="Instead of OPENROUTER_MODEL.")
@click.option("--count", type=click.IntRange(min=1), help="How many cards; as many as there are facts for if left out.")
@click.option("--language", help="In which language, a BCP 47 tag such as pl; the text's own if left out.")
@click.option("--focus", help='What to ask about: "dates", "the Calvin cycle".')
@click.option("--style", type=click.Choice(STYLES), default=STYLES[0], show_default=True, help="Of the cards.")
@click.option("--deck", default="Recto", show_default=True, help="The Anki deck's name.")
@click.option("--sandbox", "use_sandbox", is_flag=True, help="Ask the built-in sandbox instead of a language model.")
def generate(
    file: Path,
    output_format: str | None,
    output: BinaryIO,
    model: str | None,
    deck: str,
    use_sandbox: bool,
    **wanted: Any,
) -> None:
    """Make flashcards of FILE, or of standard input for "-". Needs neither a server nor a database.

    FILE is text, or by its ending a PDF, EPUB, DOCX or HTML.
    """
    output_format = output_format or _FORMATS.get(Path(output.name).suffix.lower(), "json")
    if output_format == "anki" and _is_terminal(output.name):
        raise click.UsageError("An Anki deck is not for the eye; redirect the output, or name a file with --output.")
    with ExitStack() as started:
        if use_sandbox:
            provider = started.enter_context(start_sandbox())
            settings = ProviderSettings.load(
                openrouter_api_key="sandbox",
                openrouter_base_url=provider.base_url,
                openrouter_model=model or "sandbox/extractive",
            )
        else:
            settings = ProviderSettings.load(**({"openrouter_model": model} if model else {}))
        try:
            bounds, options = runtime.bounds(settings), Options(**wanted)
            if options.count and options.count > bounds.proposals:
                raise click.UsageError(f"--count must be at most {bounds.proposals}, which MAX_PROPOSALS changes.")
            source = SourceText(_read(file))
            with _spinner("Asking " + settings.openrouter_model):
                generation = run_pipeline(
                    runtime.openrouter(settings),
                    source,
                    model=settings.openrouter_model,
                    bounds=bounds,
                    options=options,
                )
        except UpstreamError as error:
            raise click.ClickException(f"{error.message} ({error.log_code}: {error.detail})") from None
        except RectoError as error:
            raise click.ClickException(error.message) from None
    output.write(_render(generation, output_format, deck, options))


def _read(file: Path) -> str:
    if file == Path("-"):
        return documents.plain(sys.stdin.buffer.read())
    with _spinner(f"Reading {file.name}"):
        return documents.read(file)


def _is_terminal(name: str) -> bool:
    if name == "-":
        return sys.stdout.isatty()
    path = Path(name)
    if not path.is_char_device():
        return False
    with path.open("wb") as device:
        return device.isatty()


def _render(generation: Generation, output_format: str, deck: str, options: Options) -> bytes:
    cards = [(proposal.front, proposal.back) for proposal in generation.proposals]
    match output_format:
        case "csv":
            return exports.to_csv(cards).encode()
        case "anki":
            return exports.to_anki(cards, deck, clozes=range(len(cards)) if options.style == "cloze" else ())
    completion = generation.completion
    report = {
        "generation_id": None,  # nothing is recorded
        "flashcards_proposals": [
            {"temp_id": f"temp-{number}", "front": front, "back": back, "source": "ai-full"}
            for number, (front, back) in enumerate(cards, 1)
        ],
        "generated_count": len(cards),
        "dropped": dict(generation.drops),
        "incomplete": generation.incomplete,
        "language": generation.language if options.language else None,
        "model": completion.model,
        "tokens_input": completion.tokens_input,
        "tokens_output": completion.tokens_output,
        "cost_usd": None if completion.cost_usd is None else float(completion.cost_usd),
        "generation_duration": generation.duration_ms,
    }
    return (json.dumps(report, ensure_ascii=False, indent=2) + "\n").encode()


@contextmanager
def _spinner(text: str) -> Iterator[None]:
    """Show that something goes on, if somebody looks."""
    if not sys.stderr.isatty():
        yield
        return
    done = Event()

    def spin() -> None:
        for frame in cycle("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"):
            click.echo(f"\r{frame} {text} … ", nl=False, err=True)
            if done.wait(0.1):
                click.echo("\r\x1b[K", nl=False, err=True)
                return

    spinner = Thread(target=spin)
    spinner.start()
    try:
        yield
    finally:
        done.set()
        spinner.join()


if __name__ == "__main__":
    main()
