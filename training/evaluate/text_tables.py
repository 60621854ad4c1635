"""Polars tables as text: Markdown for pages, aligned columns for terminals."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl


def markdown(table: pl.DataFrame) -> str:
    """Format a table in Markdown, a figure and its interval in one cell.

    Columns ``x``, ``x_low`` and ``x_high`` become one.

    >>> figures = {"auc": [0.8], "auc_low": [0.75], "auc_high": [0.85], "accounts": [7]}
    >>> print(markdown(pl.DataFrame(figures)))
    | auc | accounts |
    |---|---|
    | 0.800 [0.750, 0.850] | 7 |
    <BLANKLINE>
    """
    names = _shown_columns(table)
    lines = [names, *_cells(table, names)]
    head, *rows = [f"| {' | '.join(cells)} |\n" for cells in lines]
    return head + "|" + "---|" * len(names) + "\n" + "".join(rows)


def columns(table: pl.DataFrame) -> str:
    """Format a table for a terminal: text left-aligned, figures right-aligned."""
    names = _shown_columns(table)
    rows = [names, *_cells(table, names)]
    aligned = []
    for place, name in enumerate(names):
        cells = [row[place] for row in rows]
        width = max(len(cell) for cell in cells)
        is_text = table.schema[name] == pl.String
        aligned.append([c.ljust(width) if is_text else c.rjust(width) for c in cells])
    lines = zip(*aligned, strict=True)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def with_interval(value: str) -> Mapping[str, str]:
    """Return how to rename the columns ``low`` and ``high`` to be the interval of ``value``."""
    return {"low": f"{value}_low", "high": f"{value}_high"}


def _shown_columns(table: pl.DataFrame) -> list[str]:
    """The columns that are not an end of another column's interval."""
    ends = {f"{name}_{end}" for name in table.columns for end in ("low", "high")}
    return [name for name in table.columns if name not in ends]


def _cells(table: pl.DataFrame, names: list[str]) -> list[list[str]]:
    rows = table.iter_rows(named=True)
    return [[_cell_with_interval(row, name) for name in names] for row in rows]


def _cell_with_interval(row: Mapping[str, object], name: str) -> str:
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    cell = _cell(row[name])
    if low is None or low == high:
        return cell
    return f"{cell} [{_cell(low)}, {_cell(high)}]"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if abs(value) >= 1000 or (abs(value) >= 10 and value.is_integer()):
        return f"{value:,.0f}"
    # Three decimals would show a small rate as 0.000.
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.5f}"
