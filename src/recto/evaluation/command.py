"""The command `recto eval`."""

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click
from pydantic_core import to_json

from recto import documents, runtime
from recto.errors import InvalidRequest
from recto.evaluation import EvaluationError, public
from recto.evaluation.models import Run, compare
from recto.evaluation.offline import offline
from recto.evaluation.scores import Scores, notes, scores, scores_table
from recto.evaluation.tables import plain
from recto.settings import ProviderSettings
from recto.text.options import Options
from recto.text.source import SourceText

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _dollars(text: str) -> Decimal:
    with suppress(InvalidOperation):
        amount = Decimal(text)
        if amount.is_finite() and amount >= 0:
            return amount
    raise click.BadParameter("must be an amount of dollars, such as 0.50.")


@click.command("eval")
@click.option("--squad", type=_FILE, help="A file of SQuAD 1.1 or 2.0: is the sentence with the answer found?")
@click.option("--qgeval", type=_FILE, help="QGEval's instances.json: does `grounded` agree with people?")
@click.option("--models", help="Ask these, separated by commas, with OPENROUTER_API_KEY.")
@click.option("--texts", type=click.Path(exists=True, file_okay=False, path_type=Path), help="About its *.txt, *.md.")
@click.option(
    "--count", type=click.IntRange(min=1), help="How many cards of each text; left to the models if left out."
)
@click.option("--budget-usd", type=_dollars, metavar="USD", help="Which the models never take more than.")
@click.option(
    "--usd-per-million",
    type=_dollars,
    metavar="USD",
    help="A million tokens' price, of models that the provider lists none for; else they are not asked.",
)
@click.option("--json", "as_json", is_flag=True, help="In place of tables.")
def evaluate(
    squad: Path | None,
    qgeval: Path | None,
    models: str | None,
    texts: Path | None,
    count: int | None,
    budget_usd: Decimal | None,
    usd_per_million: Decimal | None,
    as_json: bool,
) -> None:
    """Measure what Recto and the models are worth.

    Without --squad, --qgeval or --models: what is read from spoilt answers, and how good the rules are on the cards
    that come with Recto. That needs no network.
    """
    figures: dict[str, Any] = {}
    blocks: list[str] = []
    if squad:
        figures["squad"] = public.squad(squad)
        blocks.append(plain(public.squad_table(figures["squad"])))
    if qgeval:
        figures["qgeval"] = public.qgeval(qgeval)
        blocks += map(plain, public.qgeval_tables(figures["qgeval"]))
    if models:
        names = list(dict.fromkeys(filter(None, map(str.strip, models.split(",")))))
        if not names or texts is None or budget_usd is None:
            raise click.UsageError("--models takes names, and needs --texts and --budget-usd.")
        figures["models"] = found = _ask(names, texts, count, budget_usd, usd_per_million)
        blocks.append("\n".join([plain(scores_table(found)), "", *notes(found)]).rstrip())
    elif texts or count or budget_usd is not None or usd_per_million is not None:
        raise click.UsageError("--texts, --count, --budget-usd and --usd-per-million go with --models.")
    if not figures:
        told = offline()
        figures, blocks = told.figures, [plain(table) for table in told.tables]
    click.echo(to_json(figures, indent=2).decode() if as_json else "\n\n".join(blocks))


def _ask(
    models: Sequence[str], folder: Path, count: int | None, budget_usd: Decimal, usd_per_million: Decimal | None
) -> list[Scores]:
    # Another model's answer says nothing of this one.
    settings = ProviderSettings.load(openrouter_fallback_models=())
    bounds = runtime.bounds(settings)
    if count and count > bounds.proposals:
        raise click.UsageError(f"--count must be at most {bounds.proposals}, which MAX_PROPOSALS changes.")
    sources = _sources(folder)
    provider = runtime.openrouter(settings, quick_retry=False)
    if status := provider.refusal_of_key():
        raise EvaluationError(f"the provider refuses OPENROUTER_API_KEY (status {status})")
    runs: list[Run] = []
    with suppress(KeyboardInterrupt):  # what was paid for is shown
        for run in compare(
            provider,
            models,
            sources,
            bounds=bounds,
            options=Options(count=count),
            max_tokens=settings.openrouter_max_tokens,
            budget_usd=budget_usd,
            usd_per_million=usd_per_million,
        ):
            runs.append(run)
            click.echo(f"{run.model}, {run.text}: {run.outcome}, {run.kept} cards", err=True)
    return scores(runs, count)


def _sources(folder: Path) -> dict[str, SourceText]:
    """The texts of a folder, by the names of their files."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".txt", ".md"))
    if not files:
        raise EvaluationError(f"{folder} holds no *.txt and no *.md")
    return {file.name: _source(file) for file in files}


def _source(file: Path) -> SourceText:
    try:
        return SourceText(documents.plain(file.read_bytes()))
    except documents.DocumentError as error:
        raise EvaluationError(f"{file}: {error}") from None
    except InvalidRequest as error:
        raise EvaluationError(f"{file}: {error.message}") from None
