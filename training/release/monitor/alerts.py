"""Compare the tables of drift and performance with the bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from training.evaluate.drift import BINS, FIRST_REASON, psi_noise
from training.release.monitor.bounds import Bounds


@dataclass(frozen=True, slots=True)
class Breach:
    """A broken bound: the month, the row's name, the measure, its value and the bound."""

    month: str
    name: str
    measure: str
    value: float
    bound: float


def drift_breaches(
    month: str,
    table: pl.DataFrame,
    sizes: tuple[int, int],
    bounds: Bounds,
) -> list[Breach]:
    """Return the rows of a drift table that are beyond their bound and beyond noise.

    ``table`` is that of :func:`training.evaluate.drift.drift_table`; ``sizes`` are the accounts of
    the reference and of the month.  A month without drift raises an alarm with a probability of
    about ``bounds.false_alarm``.
    """
    # The rows of single reasons are parts of the whole mix's index.
    compared = table.filter((pl.col("kind") != "reason") | (pl.col("name") == FIRST_REASON))
    codes = table.filter(kind="reason").height - 1
    # Bonferroni: the chance of a false alarm is shared by all rows.
    level = 1.0 - bounds.false_alarm / max(compared.height, 1)
    max_psi = {
        "feature": bounds.feature_psi,
        "score": bounds.score_psi,
        "reason": bounds.reason_psi,
    }
    breaches = []
    rows = compared.select("kind", "name", "psi", "wasserstein")
    for kind, name, psi, wasserstein in rows.iter_rows():
        # A numeric column has one more bin than BINS, for unknown values.
        bins = max(codes, 2) if kind == "reason" else BINS + 1
        noise = psi_noise(*sizes, bins, level)
        bound = max(max_psi[kind], noise)
        if psi > bound and name not in bounds.expected_to_move:
            breaches.append(
                Breach(
                    month=month,
                    name=name,
                    measure="psi",
                    value=psi,
                    bound=bound,
                )
            )
        # The distance has no noise level of its own: the score's PSI decides whether it is noise.
        if kind == "score" and psi > noise and wasserstein > bounds.score_wasserstein:
            breach = Breach(
                month=month,
                name=name,
                measure="wasserstein",
                value=wasserstein,
                bound=bounds.score_wasserstein,
            )
            breaches.append(breach)
    return breaches


def performance_breaches(table: pl.DataFrame, bounds: Bounds) -> list[Breach]:
    """Return the rows of a performance table that are beyond their bound and beyond noise.

    ``table`` is that of :class:`training.release.monitor.monitor.MonitorResult`.  A month of fewer
    than ``bounds.min_accounts`` accounts is not judged.
    """
    judged = table.filter(pl.col("accounts") >= bounds.min_accounts)
    breaches: list[Breach] = []
    for row in judged.iter_rows(named=True):
        breaches += _check_row(row, bounds)
    return breaches


def _check_row(row: Mapping[str, Any], bounds: Bounds) -> Iterator[Breach]:
    numbers = [row[column] for column in ("value", "low", "high", "reference")]
    # Null where only one label is present: there is nothing to judge.
    if None in numbers:
        return
    value, low, high, reference = numbers
    month, basis = row["month"], row["basis"]
    if row["measure"] == "auc":
        bound = reference - bounds.auc_drop
        if value < bound and high < reference:
            yield Breach(
                month=month,
                name=f"{basis} auc",
                measure="auc",
                value=value,
                bound=bound,
            )
    # An estimated rate is the mean probability, which differs with the mix of accounts.
    if row["measure"] == "rate" and basis == "realised":
        beyond_noise = not low <= reference <= high
        if beyond_noise and abs(value - reference) > bounds.rate_gap:
            gap = bounds.rate_gap if value > reference else -bounds.rate_gap
            yield Breach(
                month=month,
                name="realised rate",
                measure="rate",
                value=value,
                bound=reference + gap,
            )
