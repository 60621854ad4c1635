"""Learnt economics as a table and in words."""

from __future__ import annotations

from dataclasses import asdict

import polars as pl

from serving.decision.config.economics import FIFTHS, Estimate, LearntEconomics

ALL = "all"  # utilizations together
FIFTH_NAMES = tuple(f"{20 * fifth} to {20 * (fifth + 1)} %" for fifth in range(FIFTHS))

SCHEMA = {
    "product": pl.String,
    "measure": pl.String,
    "utilization": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "rows": pl.Int64,
    "accounts": pl.Int64,
    "cut_before": pl.Int64,
    "fully_drawn": pl.Int64,
}


def economics_table(learnt: LearntEconomics) -> pl.DataFrame:
    """Return one row for each estimate, with the columns of :data:`SCHEMA`.

    ``measure`` is ``margin`` or ``credit_conversion``; ``utilization`` is ``all`` or a fifth such
    as ``20 to 40 %``; ``low`` and ``high`` are null where the accounts are too few.  ``cut_before``
    and ``fully_drawn`` count the product's rows that were left out.
    """
    rows = []
    for product, one in learnt.items():
        measured = [
            ("margin", ALL, one.margin),
            ("credit_conversion", ALL, one.credit_conversion),
        ]
        for name, estimate in zip(FIFTH_NAMES, one.conversions, strict=True):
            measured.append(("credit_conversion", name, estimate))
        for measure, utilization, estimate in measured:
            row = {
                "product": product,
                "measure": measure,
                "utilization": utilization,
                **asdict(estimate),
                "cut_before": one.cut_before,
                "fully_drawn": one.fully_drawn,
            }
            rows.append(row)
    return pl.DataFrame(rows, SCHEMA)


def describe_economics(learnt: LearntEconomics) -> tuple[str, ...]:
    """Return two lines a product: its margin, and its credit conversion with that of each fifth."""
    lines = []
    for product, one in learnt.items():
        cells = ", ".join(f"{cell.value:.3f}" for cell in one.conversions)
        margin = _describe(one.margin, 4)
        conversion = _describe(one.credit_conversion, 3)
        lines.append(f"margin of {product}: {margin}")
        lines.append(f"credit conversion of {product}: {conversion}; by utilization {cells}")
    return tuple(lines)


def _describe(estimate: Estimate, digits: int) -> str:
    accounts = f"{estimate.accounts:,} accounts"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f} (too few for an interval: {accounts})"
    interval = f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
    return f"{estimate.value:.{digits}f} {interval} ({accounts})"
