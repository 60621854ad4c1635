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
    head = _markdown_row(names)
    dashes = "---|" * len(names)
    rule = f"|{dashes}\n"
    cells = _cells(table, names)
    rows = [_markdown_row(row) for row in cells]
    return head + rule + "".join(rows)


def _markdown_row(cells: list[str]) -> str:
    joined = " | ".join(cells)
    return f"| {joined} |\n"


def columns(table: pl.DataFrame) -> str:
    """Format a table for a terminal: text left-aligned, figures right-aligned."""
    names = _shown_columns(table)
    rows = [names, *_cells(table, names)]
    aligned = []
    for place, name in enumerate(names):
        cells = [row[place] for row in rows]
        width = max(len(cell) for cell in cells)
        is_text = table.schema[name] == pl.String
        align = str.ljust if is_text else str.rjust
        aligned.append([align(cell, width) for cell in cells])
    lines = []
    for row in zip(*aligned, strict=True):
        line = "  ".join(row)
        lines.append(line.rstrip())
    return "\n".join(lines)


def with_interval(value: str) -> Mapping[str, str]:
    """Return how to rename the columns ``low`` and ``high`` to be the interval of ``value``."""
    return {
        "low": f"{value}_low",
        "high": f"{value}_high",
    }


def _shown_columns(table: pl.DataFrame) -> list[str]:
    """The columns that are not an end of another column's interval."""
    lows = {f"{name}_low" for name in table.columns}
    highs = {f"{name}_high" for name in table.columns}
    ends = lows | highs
    return [name for name in table.columns if name not in ends]


def _cells(table: pl.DataFrame, names: list[str]) -> list[list[str]]:
    rows = table.iter_rows(named=True)
    return [_row_cells(row, names) for row in rows]


def _row_cells(row: Mapping[str, object], names: list[str]) -> list[str]:
    return [_cell_with_interval(row, name) for name in names]


def _cell_with_interval(row: Mapping[str, object], name: str) -> str:
    low = row.get(f"{name}_low")
    high = row.get(f"{name}_high")
    cell = _cell(row[name])
    # Equal ends are no interval: the first of compared models differs from itself by exactly 0.
    if low is None or low == high:
        return cell
    interval = f"[{_cell(low)}, {_cell(high)}]"
    return f"{cell} {interval}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    is_amount = size >= 1000
    is_count = size >= 10 and value.is_integer()
    if is_amount or is_count:
        return f"{value:z,.0f}"
    # Three decimals would show a small rate as 0.000.
    is_small = 0 < size < 0.01
    return f"{value:z.5f}" if is_small else f"{value:z.3f}"
