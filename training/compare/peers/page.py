"""What was compared, as a section of a Markdown page."""

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
    summary: pl.DataFrame, against: pl.DataFrame | None, missing: Pairs, told: Pairs, rows: int
) -> str:
    """The tables of a comparison: means over folds, paired differences to ours, how each was set,
    and who was not there.
    """
    parts = [
        f"{rows:,} rows. Means over folds; times are medians.\n",
        _table(HEAD, [_summary(r) for r in summary.iter_rows(named=True)]),
    ]
    if against is not None:
        parts += [
            "Each less ours, fold by fold, with the corrected resampled t-test (Nadeau and Bengio 2003); Holm's p is raised for"
            " all tests of its column. AUC above 0 and log loss below 0 are better than ours.\n",
            _table(TESTED, _tested(against)),
        ]
    parts += ["".join(f"- {name}: {how}\n" for name, how in told)]
    parts += [f"Not installed, so not compared: {name} (`{how}`).\n" for name, how in missing]
    return "\n".join(parts)


def _summary(row: dict[str, float | str | None]) -> list[str]:
    leaves = row["leaves"]
    return [
        str(row["contender"]),
        *(f"{row[name]:.4f}" for name in ("auc", "log_loss", "brier")),
        "-" if leaves is None else f"{leaves:,.0f}",
        *(_time(row[name]) for name in ("fit_s", "one_s", "explain_one_s", "explain_many_s")),
    ]


def _tested(against: pl.DataFrame) -> list[list[str]]:
    by_name: dict[str, list[str]] = {}
    for row in against.iter_rows(named=True):
        cells = [
            f"{row['difference']:+.4f}",
            f"{row['low']:+.4f} to {row['high']:+.4f}",
            f"{row['p']:.3f}",
            f"{row['p_holm']:.3f}",
        ]
        by_name.setdefault(row["contender"], []).extend(cells)
    return [[name, *cells] for name, cells in by_name.items()]


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [head, ["---"] * len(head), *rows])


def _time(seconds: object) -> str:
    if not isinstance(seconds, float):
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-6:.0f} us"
