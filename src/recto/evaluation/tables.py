"""What was counted, laid out for a terminal and for a page in Markdown."""

import re
from collections.abc import Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """Rows below their heads; words between backticks are code."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


_NUMBER = re.compile(r"[\d.,]+(?: %|/\d+)?|–")


def percent(share: float) -> str:
    """Write a share of 1."""
    return f"{100 * share:.1f} %"


def plain(table: Table) -> str:
    """Lay out a table for a terminal: numbers to the right, words to the left."""
    lines = [[cell.replace("`", "") for cell in line] for line in (table.heads, *table.rows)]
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    align = [str.rjust if all(map(_NUMBER.fullmatch, column[1:])) else str.ljust for column in columns]
    laid_out = [
        "  ".join(put(cell, width) for put, cell, width in zip(align, line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([table.title, "", *laid_out])


def markdown(table: Table) -> str:
    """Write a table as Markdown has it."""
    lines = [table.heads, ["---"] * len(table.heads), *table.rows]
    return "\n".join([f"**{table.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])
