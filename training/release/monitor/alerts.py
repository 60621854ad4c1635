"""Compare tables with the bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from training.evaluate.drift import BINS, FIRST_REASON, psi_noise
from training.release.monitor.bounds import Bounds


@dataclass(frozen=True, slots=True)
class Breach:
    """A broken bound: the month, what broke it, in which measure, its value and the bound."""

    month: str
    name: str
    measure: str
    value: float
    bound: float


def drift_breaches(
    month: str, table: pl.DataFrame, sizes: tuple[int, int], bounds: Bounds
) -> list[Breach]:
    """The rows of a :func:`training.evaluate.drift.drift_table` beyond their bound and beyond
    chance.

    ``sizes`` are the accounts of the reference and of the month.  Chance is shared by all that are
    compared (Bonferroni), so that a month without drift raises an alarm about as rarely as
    ``bounds.false_alarm``.
    """
    compared = table.filter((pl.col("kind") != "reason") | (pl.col("name") == FIRST_REASON))
    codes = table.filter(pl.col("kind") == "reason").height - 1
    level = 1.0 - bounds.false_alarm / max(compared.height, 1)
    most = {"feature": bounds.feature_psi, "score": bounds.score_psi, "reason": bounds.reason_psi}
    found = []
    for kind, name, psi, wasserstein in compared.select(
        "kind", "name", "psi", "wasserstein"
    ).iter_rows():
        bins = max(codes, 2) if kind == "reason" else BINS + 1
        bound = max(most[kind], psi_noise(*sizes, bins, level))
        if psi > bound and name not in bounds.expected_to_move:
            found.append(Breach(month, name, "psi", psi, bound))
        # The score's PSI says whether chance would do: the distance is held to its bound where that
        # is above noise alone.
        if (
            kind == "score"
            and wasserstein > bounds.score_wasserstein
            and psi > psi_noise(*sizes, bins, level)
        ):
            found.append(Breach(month, name, "wasserstein", wasserstein, bounds.score_wasserstein))
    return found


def performance_breaches(table: pl.DataFrame, bounds: Bounds) -> list[Breach]:
    """The rows of a performance table (see :mod:`training.release.monitor.monitor`) beyond their
    bound by more than their interval.

    A month of fewer than ``bounds.min_accounts`` is not judged.
    """
    judged = table.filter(pl.col("accounts") >= bounds.min_accounts)
    return [breach for row in judged.iter_rows(named=True) for breach in _breach(row, bounds)]


def _breach(row: dict[str, object], bounds: Bounds) -> Iterator[Breach]:
    values = [row[key] for key in ("value", "low", "high", "reference")]
    if not all(isinstance(value, float) for value in values):
        return
    value, low, high, reference = (float(value) for value in values if isinstance(value, float))
    month, basis = str(row["month"]), str(row["basis"])
    if row["measure"] == "auc" and value < reference - bounds.auc_drop and high < reference:
        yield Breach(month, f"{basis} auc", "auc", value, reference - bounds.auc_drop)
    apart = abs(value - reference) > bounds.rate_gap and not low <= reference <= high
    if row["measure"] == "rate" and basis == "realised" and apart:
        bound = reference + (bounds.rate_gap if value > reference else -bounds.rate_gap)
        yield Breach(month, "realised rate", "rate", value, bound)
