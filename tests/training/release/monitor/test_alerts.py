"""A bound is broken only beyond noise."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from serving.decision.bundle import Bundle
from tests.support.each import each
from training.data.config import DataConfig
from training.data.dataset import Source
from training.evaluate.drift import drift_table
from training.evaluate.holdout import Evaluation, evaluate, select_hold_out
from training.release.monitor.alerts import drift_breaches, performance_breaches
from training.release.monitor.bounds import read_bounds

BOUNDS = read_bounds()
MONTH = "2026-08"
Numbers = tuple[float | None, float | None, float | None, float | None]


@pytest.fixture(scope="module")
def reference(bundle: Bundle, source: Source) -> Evaluation:
    return evaluate("champion", bundle, select_hold_out(source, DataConfig()))


def test_the_noise_of_few_accounts_breaks_no_bound(reference: Evaluation) -> None:
    accounts = len(reference.label)
    places = np.random.default_rng(1).permutation(accounts)[:40]
    few = evaluate("few", reference.bundle, reference.hold_out.take(np.sort(places)))
    table = drift_table(reference, few)
    # The control: without noise taken into account, there would be alarms.
    assert table.filter(pl.col("psi") > BOUNDS.feature_psi).height > 0
    assert drift_breaches(MONTH, table, (accounts, 40), BOUNDS) == []


def test_riskier_accounts_break_both_bounds_of_the_score(reference: Evaluation) -> None:
    riskiest = np.argsort(reference.log_odds)[-600:]
    risky = evaluate("risky", reference.bundle, reference.hold_out.take(np.sort(riskiest)))
    table = drift_table(reference, risky)
    breaches = drift_breaches(MONTH, table, (len(reference.label), 600), BOUNDS)
    broken = {(breach.name, breach.measure) for breach in breaches}
    assert {("log_odds", "psi"), ("log_odds", "wasserstein")} <= broken
    assert all(breach.value > breach.bound for breach in each(breaches))


@pytest.mark.parametrize(
    ("basis", "measure", "numbers", "accounts", "broken"),
    [
        ("estimated", "auc", (0.70, 0.67, 0.73, 0.85), 1000, True),
        # within noise
        ("estimated", "auc", (0.70, 0.55, 0.86, 0.85), 1000, False),
        # within the bound
        ("estimated", "auc", (0.82, 0.81, 0.83, 0.85), 1000, False),
        # better than the reference
        ("estimated", "auc", (0.95, 0.94, 0.96, 0.85), 1000, False),
        # too few accounts
        ("estimated", "auc", (0.70, 0.67, 0.73, 0.85), 100, False),
        ("realised", "auc", (0.70, 0.67, 0.73, 0.85), 1000, True),
        # one label only
        ("realised", "auc", (None, None, None, 0.85), 1000, False),
        ("realised", "rate", (0.10, 0.09, 0.11, 0.05), 1000, True),
        ("realised", "rate", (0.02, 0.01, 0.03, 0.08), 1000, True),
        ("realised", "rate", (0.10, 0.04, 0.16, 0.05), 1000, False),
        # an estimated rate depends on the mix of accounts
        ("estimated", "rate", (0.10, 0.09, 0.11, 0.05), 1000, False),
        # the Brier score has no bound
        ("realised", "brier", (0.10, 0.09, 0.11, 0.05), 1000, False),
    ],
)
def test_performance_is_judged_beyond_the_bound_and_beyond_noise(
    basis: str, measure: str, numbers: Numbers, accounts: int, broken: bool
) -> None:
    """``numbers`` are value, low, high and reference."""
    row = {"month": MONTH, "basis": basis, "accounts": accounts, "measure": measure}
    row |= dict(zip(("value", "low", "high", "reference"), numbers, strict=True))
    breaches = performance_breaches(pl.DataFrame([row]), BOUNDS)
    assert bool(breaches) == broken
