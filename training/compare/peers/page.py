"""A peer comparison as a section of a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

HEAD = [
    "",
    "AUC",
    "log loss",
    "Brier",
    "leaves",
    "fit",
    "one row",
    "explain one row",
    "explain a row of 1,000",
]
TESTED = ["less Clearline", "AUC", "95 %", "p", "p, Holm", "log loss", "95 %", "p", "p, Holm"]
Pairs = Sequence[tuple[str, str]]


def section(
    summary: pl.DataFrame,
    against: pl.DataFrame | None,
    missing: Pairs,
    settings: Pairs,
    rows: int,
) -> str:
    """Return the tables: means over folds, paired differences to ours, settings, missing peers."""
    summary_rows = [_summary_cells(row) for row in summary.iter_rows(named=True)]
    parts = [
        f"{rows:,} rows. Means over folds; times are medians.\n",
        _table(HEAD, summary_rows),
    ]
    if against is not None:
        parts += [
            "Each less ours, fold by fold, with the corrected resampled t-test (Nadeau and Bengio "
            "2003); Holm's p is adjusted for all tests of its column. AUC above 0 and log loss "
            "below 0 are better than ours.\n",
            _table(TESTED, _test_cells(against)),
        ]
    listed = [f"- {name}: {setting}\n" for name, setting in settings]
    parts.append("".join(listed))
    for name, command in missing:
        parts.append(f"Not installed, so not compared: {name} (`{command}`).\n")
    return "\n".join(parts)


def _summary_cells(row: dict[str, float | str | None]) -> list[str]:
    leaves = row["leaves"]
    measures = [f"{row[name]:.4f}" for name in ("auc", "log_loss", "brier")]
    times = [_time(row[name]) for name in ("fit_s", "one_s", "explain_one_s", "explain_many_s")]
    return [
        str(row["contender"]),
        *measures,
        "-" if leaves is None else f"{leaves:,.0f}",
        *times,
    ]


def _test_cells(against: pl.DataFrame) -> list[list[str]]:
    """One row a contender: the cells of AUC, then those of log loss."""
    cells: dict[str, list[str]] = {}
    for row in against.iter_rows(named=True):
        cells.setdefault(row["contender"], []).extend(
            [
                f"{row['difference']:+z.4f}",
                f"{row['low']:+z.4f} to {row['high']:+z.4f}",
                f"{row['p']:.3f}",
                f"{row['p_holm']:.3f}",
            ]
        )
    return [[name, *own] for name, own in cells.items()]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _time(seconds: object) -> str:
    if not isinstance(seconds, float):
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-6:.0f} us"
