"""What models are worth: sums over what came of asking them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median

from recto.evaluation.models import NOT_ASKED, OVER_BUDGET, PRICE_UNKNOWN, SUCCEEDED, Run
from recto.evaluation.tables import Table


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one model. ``texts``: those that it was asked about. ``failures``: by code; some brought cards all the same.

    ``wanted``: the cards that were asked for, None if that was left to the model. ``first_ms``, ``last_ms``: medians
    of the times from the question to the first and the last card. ``in_language``: of ``language_known`` texts those
    whose cards are in the text's. ``untold``: the calls whose cost is not known and not in ``cost_usd``. ``not_asked``:
    the other texts, by reason.
    """

    model: str
    texts: int
    failures: dict[str, int]
    written: int
    read: int
    kept: int
    wanted: int | None
    grounded: int
    leaks: int
    duplicates: int
    language_known: int
    in_language: int
    first_ms: float | None
    last_ms: float | None
    cost_usd: float
    cost_usd_per_kept_card: float | None
    untold: int
    not_asked: dict[str, list[str]]


def scores(runs: Sequence[Run], count: int | None) -> list[Scores]:
    """Sum up what came of each model, of which ``count`` cards a text were asked."""
    return [
        _scores(model, [run for run in runs if run.model == model], count)
        for model in dict.fromkeys(run.model for run in runs)
    ]


def _scores(model: str, runs: Sequence[Run], count: int | None) -> Scores:
    asked = [run for run in runs if run.outcome not in NOT_ASKED]
    written, kept = sum(run.written for run in asked), sum(run.kept for run in asked)
    cost_usd = sum((run.cost_usd for run in asked), Decimal())
    languages = [run.keeps_language for run in asked if run.keeps_language is not None]
    not_asked = {reason: [run.text for run in runs if run.outcome == reason] for reason in (OVER_BUDGET, PRICE_UNKNOWN)}
    return Scores(
        model=model,
        texts=len(asked),
        failures=dict(Counter(run.outcome for run in asked if run.outcome != SUCCEEDED)),
        written=written,
        read=written - sum(run.unread for run in asked),
        kept=kept,
        wanted=None if count is None else count * len(asked),
        grounded=sum(run.grounded for run in asked),
        leaks=sum(run.leaks for run in asked),
        duplicates=sum(run.duplicates for run in asked),
        language_known=len(languages),
        in_language=sum(languages),
        first_ms=_median(run.first_ms for run in asked),
        last_ms=_median(run.last_ms for run in asked),
        cost_usd=float(cost_usd),
        cost_usd_per_kept_card=float(cost_usd / kept) if kept else None,
        untold=sum(run.untold for run in asked),
        not_asked={reason: texts for reason, texts in not_asked.items() if texts},
    )


def _median(times: Iterable[int | None]) -> float | None:
    known = [time for time in times if time is not None]
    return median(known) if known else None


_HEADS = (
    *("model", "texts", "failed", "read", "cards", "grounded", "leaks", "twice", "lang"),
    *("first s", "last s", "USD", "USD/kept"),
)


def scores_table(rows: Sequence[Scores]) -> Table:
    """Lay out ``scores``."""
    return Table("Models", _HEADS, [_cells(row) for row in rows])


def notes(rows: Iterable[Scores]) -> list[str]:
    """Say in lines what the table has no room for: why models failed, and what they were not asked."""
    return [note for row in rows for note in _notes(row)]


def _notes(row: Scores) -> list[str]:
    lines = []
    if row.failures:
        lines.append(f"{row.model} failed: " + ", ".join(f"{code} ({n})" for code, n in row.failures.items()))
    if row.untold:
        lines.append(f"{row.model}: what {row.untold} of its calls took was not told, and is not in its dollars")
    if texts := row.not_asked.get(OVER_BUDGET):
        lines.append(f"{row.model} was not asked, for want of budget: {', '.join(texts)}")
    if PRICE_UNKNOWN in row.not_asked:
        lines.append(f"{row.model} was not asked: its price is not known; --usd-per-million says one")
    return lines


def _cells(row: Scores) -> tuple[str, ...]:
    return (
        row.model,
        str(row.texts),
        str(sum(row.failures.values())),
        _share(row.read, row.written),
        str(row.kept) if row.wanted is None else f"{row.kept}/{row.wanted}",
        _share(row.grounded, row.kept),
        _share(row.leaks, row.written),
        _share(row.duplicates, row.written),
        _share(row.in_language, row.language_known),
        "–" if row.first_ms is None else f"{row.first_ms / 1000:.1f}",
        "–" if row.last_ms is None else f"{row.last_ms / 1000:.1f}",
        f"{row.cost_usd:.4f}",
        "–" if row.cost_usd_per_kept_card is None else f"{row.cost_usd_per_kept_card:.5f}",
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"
