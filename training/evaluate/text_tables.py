"""Tables as text: in Markdown for a page, and in columns for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl


def markdown(table: pl.DataFrame) -> str:
    """A cell holds a figure with its interval: columns ``x``, ``x_low`` and ``x_high`` are one.

    >>> print(markdown(pl.DataFrame({"auc": [0.8], "auc_low": [0.75], "auc_high": [0.85], "accounts": [7]})))
    | auc | accounts |
    |---|---|
    | 0.800 [0.750, 0.850] | 7 |
    <BLANKLINE>
    """
    head, *rows = (f"| {' | '.join(cells)} |\n" for cells in _cells(table))
    return head + "|" + "---|" * (head.count(" | ") + 1) + "\n" + "".join(rows)


def columns(table: pl.DataFrame) -> str:
    """The same for a terminal: text to the left, figures to the right, two spaces between."""
    rows = _cells(table)
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    texts = [table.schema[name] == pl.String for name in rows[0]]
    aligned = (
        [
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, texts, strict=True)
        ]
        for row in rows
    )
    return "\n".join("  ".join(row).rstrip() for row in aligned)


def with_interval(value: str) -> Mapping[str, str]:
    """How to rename the bare columns ``low`` and ``high`` so that they are the interval of
    ``value``.
    """
    return {"low": f"{value}_low", "high": f"{value}_high"}


def _cells(table: pl.DataFrame) -> list[list[str]]:
    """The names of the columns shown, and each row's cells."""
    ends = {f"{name}_{end}" for name in table.columns for end in ("low", "high")}
    shown = [name for name in table.columns if name not in ends]
    return [
        shown,
        *([_with_interval(row, name) for name in shown] for row in table.iter_rows(named=True)),
    ]


def _with_interval(row: Mapping[str, object], name: str) -> str:
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    cell = _cell(row[name])
    return cell if low is None or low == high else f"{cell} [{_cell(low)}, {_cell(high)}]"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if abs(value) >= 1000 or (abs(value) >= 10 and value.is_integer()):
        return f"{value:,.0f}"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.5f}"
