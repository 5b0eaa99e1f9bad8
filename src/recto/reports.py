"""What an operator reads in a terminal: statistics as a table, what was deleted in a line."""

from collections import Counter
from collections.abc import Iterable, Sequence
from textwrap import fill

from recto.db.pruning import Batch
from recto.db.stats import ModelStats, Stats

WIDTH = 120

_HEADS = (
    *("prompt", "lang", "made", "failed", "cards", "as is", "edited", "rejected", "grounded"),
    *("USD", "tok/kept", "USD/kept", "first s"),
)


def draw(stats: Stats) -> str:
    """Return a table: below each model's name its figures, and what was dropped.

    Up to a million generations it fits into ``WIDTH`` columns.
    """
    since = f"{stats.since:%Y-%m-%d}"
    if not stats.models:
        return f"Nothing was generated since {since} (UTC)."
    rows = [_cells(of_model) for of_model in stats.models]
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
    lines = [f"Since {since} (UTC)", "", _line(_HEADS, widths)]
    name = None
    for of_model, cells in zip(stats.models, rows, strict=True):
        if of_model.model != name:
            name = of_model.model
            lines.append(name[:WIDTH])
        lines.append(_line(cells, widths))
        if of_model.dropped:
            reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(of_model.dropped.items()))
            lines.append(fill(f"dropped: {reasons}", WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8))
    return "\n".join(lines)


def sum_up(batches: Iterable[Batch], *, dry_run: bool) -> str:
    """Return how many rows were deleted, or would be, and how many stay because the app needs them."""
    deleted, kept = Counter[str](), Counter[str]()
    for batch in batches:
        deleted[batch.table] += batch.deleted
        kept[batch.table] += batch.kept
    line = f"{'Would delete' if dry_run else 'Deleted'} {_counts(deleted) or 'nothing'}."
    if any(kept.values()):
        line += f" Kept {_counts(kept)}: the app's rows refer to them."
    return line


def _counts(numbers: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in numbers.items() if number)


def _cells(of_model: ModelStats) -> tuple[str, ...]:
    known, first_ms = of_model.grounding_known, of_model.median_first_proposal_ms
    return (
        of_model.prompt_version or "–",
        of_model.language or "–",
        str(of_model.generations),
        str(of_model.failures),
        str(of_model.proposed),
        str(of_model.accepted_unedited),
        str(of_model.accepted_edited),
        str(of_model.rejected),
        _or_dash(of_model.grounded / known if known else None, ".0%"),
        _or_dash(of_model.cost_usd, ".2f"),
        _or_dash(of_model.tokens_per_kept_card, ".0f"),
        _or_dash(of_model.cost_usd_per_kept_card, ".5f"),
        _or_dash(None if first_ms is None else first_ms / 1000, ".1f"),
    )


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(map(str.rjust, cells, widths))
