"""The command `recto generate`."""

import sys
from contextlib import ExitStack
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

import click

from recto import documents, progress, results, runtime
from recto.errors import RectoError, UpstreamError
from recto.sandbox.server import start as start_sandbox
from recto.settings import SANDBOX_KEY, ProviderSettings
from recto.text.chapter import Chapter
from recto.text.chapter import write as write_chapter
from recto.text.deck import MAX_COUNT, batch_size, without_cards
from recto.text.generate import Generation
from recto.text.generate import generate as run_pipeline
from recto.text.options import STYLES, Options
from recto.text.source import MAX_CHARACTERS, SourceText

_FORMATS = {".json": "json", ".csv": "csv", ".apkg": "anki"}


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["json", "csv", "anki"]),
    help="Without it the ending of --output's name tells: .json, .csv or .apkg; JSON otherwise.",
)
@click.option("--output", "-o", type=click.File("wb", lazy=True), default="-", help="Instead of standard output.")
@click.option("--model", help="Instead of OPENROUTER_MODEL.")
@click.option("--count", type=click.IntRange(min=1), help="How many cards; else what the text has facts for.")
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

    FILE is text, or by its ending a PDF, EPUB, DOCX or HTML. One of more than 10,000 characters is asked section by
    section; its headings become sub-decks of the Anki deck.
    """
    output_format = output_format or _FORMATS.get(Path(output.name).suffix.lower(), "json")
    if output_format == "anki" and _is_terminal(output.name):
        raise click.ClickException(
            "An Anki deck is not for the eye; redirect the output, or name a file with --output."
        )
    with ExitStack() as started:
        if use_sandbox:
            provider = started.enter_context(start_sandbox())
            settings = ProviderSettings.load(
                openrouter_api_key=SANDBOX_KEY,
                openrouter_base_url=provider.base_url,
                openrouter_model=model or "sandbox/extractive",
            )
        else:
            settings = ProviderSettings.load(**({"openrouter_model": model} if model else {}))
        chapter = None
        try:
            options = Options(**wanted)
            source = SourceText(_read(file), settings.deck_max_characters)
            if source.length > MAX_CHARACTERS:
                chapter = _write_chapter(settings, source, options)
                generation = chapter.generation
            else:
                generation = _ask(settings, source, options)
        except UpstreamError as error:
            raise click.ClickException(_told(error)) from None
        except RectoError as error:
            raise click.ClickException(error.message) from None
    output.write(results.render(generation, output_format, deck, options, chapter))
    if chapter:
        _say_what_is_missing(chapter)


def _ask(settings: ProviderSettings, source: SourceText, options: Options) -> Generation:
    bounds = runtime.bounds(settings)
    if options.count and options.count > bounds.proposals:
        raise click.UsageError(f"--count must be at most {bounds.proposals}, which MAX_PROPOSALS changes.")
    with progress.shown("Asking " + settings.openrouter_model):
        return run_pipeline(
            runtime.openrouter(settings), source, model=settings.openrouter_model, bounds=bounds, options=options
        )


def _write_chapter(settings: ProviderSettings, source: SourceText, options: Options) -> Chapter:
    bounds = runtime.bounds(settings)
    count = options.count or min(ceil(source.length / MAX_CHARACTERS) * bounds.proposals, MAX_COUNT)
    if count > MAX_COUNT:
        raise click.UsageError(f"--count must be at most {MAX_COUNT}.")
    with progress.shown("Asking " + settings.openrouter_model) as say:
        for chapter in write_chapter(
            runtime.openrouter(settings),
            source,
            count,
            model=settings.openrouter_model,
            bounds=bounds,
            options=options,
            at_once=batch_size(bounds, settings.openrouter_max_tokens),
        ):
            done = sum(part.outcome is not None for part in chapter.parts)
            words = f"{done} of {len(chapter.parts)} sections, {len(chapter.proposals)} of {count} cards"
            say(words, done / len(chapter.parts))
    return chapter


def _say_what_is_missing(chapter: Chapter) -> None:
    """Name the sections without a card. Raises ``ClickException`` for the failure that ended it, if one did."""
    ended_by = chapter.failure.code if chapter.failure else None
    for number, part, reason in without_cards(chapter.parts, ended_by):
        printable = "".join(filter(str.isprintable, part.title or ""))
        title = f' "{printable}"' if printable else ""
        click.echo(f"No card came of section {number}{title}: {reason}.", err=True)
    if chapter.failure:
        written = f"{len(chapter.proposals)} of {chapter.count} cards were written"
        raise click.ClickException(f"{_told(chapter.failure)}; {written}")


def _told(error: UpstreamError) -> str:
    return f"{error.message} ({error.log_code}: {error.detail})"


def _read(file: Path) -> str:
    if file == Path("-"):
        return documents.plain(sys.stdin.buffer.read())
    with progress.shown(f"Reading {file.name}"):
        return documents.read(file)


def _is_terminal(name: str) -> bool:
    if name == "-":
        return sys.stdout.isatty()
    path = Path(name)
    if not path.is_char_device():
        return False
    with path.open("wb") as device:
        return device.isatty()
