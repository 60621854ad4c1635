from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_series_equal

import features.catalogue.feature as declaration
import features.program.evaluate as evaluation
import features.window as window_module
from features.build import build
from features.schema import COLUMNS, check
from features.types import Matrix, Vector
from features.window import STORED_COLUMNS, lay_out
from serving.decision.bundle import Bundle
from serving.decision.scoring.score import Calibration, Scorer, log_odds_of, logit
from tests.support.accounts import quiet_account, window
from tests.support.each import each
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import label_accounts
from training.evaluate.holdout import select_hold_out
from training.evaluate.metrics import wilson
from training.evaluate.nudges import (
    AMOUNTS,
    ANY,
    MOVED,
    NEAR,
    SIZES,
    THOUSANDTH,
    Size,
    measure_nudges,
    measure_nudges_of,
    nudge_column,
)
from training.fit.config import FitConfig
from training.fit.fit import fit
from training.release.gate_config import load_gates

EVERY_MONTH, LAST_MONTH = slice(None), slice(1)


@pytest.mark.integration
@given(
    window(),
    st.sampled_from(AMOUNTS),
    st.sampled_from(SIZES),
    st.sampled_from([1, -1]),
    st.sampled_from([EVERY_MONTH, LAST_MONTH]),
)
def test_a_nudge_changes_one_column_by_its_size_and_keeps_the_schema(
    drawn: pl.DataFrame, column: Any, size: Size, sign: int, months: slice
) -> None:
    before = lay_out(check(drawn))
    after = nudge_column(before, column, size, sign, months)
    for name in each(set(STORED_COLUMNS) - {column.name}):
        assert np.array_equal(before[name], after[name], equal_nan=True)
    was, now = before[column.name], after[column.name]
    assert np.array_equal(np.isnan(was), np.isnan(now))
    untouched = np.ones(len(was), dtype=np.bool_)
    untouched[months] = False
    assert np.array_equal(was[untouched], now[untouched], equal_nan=True)
    change = sign * (now - was)[months]
    most = (size.amount + size.share * np.abs(was))[months]
    known = ~np.isnan(change)
    assert (change[known] >= 0).all()
    assert (change[known] <= most[known] + 0.005 + 1e-9).all()
    # What is written back as statements is still accepted, to the fen.
    nudged = now[::-1, 0]
    kept = check(drawn).with_columns(pl.Series(column.name, nudged).fill_nan(None))
    accepted = check(kept)[column.name]
    # A drawn amount may differ from its two decimals in the last bit.
    assert_series_equal(accepted.round(2), accepted, check_exact=False, abs_tol=1e-6)


def test_every_amount_of_the_statement_is_nudged(bundle: Bundle, windows: pl.DataFrame) -> None:
    table = measure_nudges_of(check(windows), bundle)
    amounts = [column.name for column in COLUMNS if column.kind == "amount"]
    assert table.select("nudge", "column").rows() == [
        (size.name, name) for size in SIZES for name in [*amounts, ANY]
    ]


def test_the_table_is_that_of_changed_statements(bundle: Bundle, windows: pl.DataFrame) -> None:
    """The oracle: the statements themselves are changed, checked, built and scored."""
    statements = check(windows)

    def score(changed: pl.DataFrame) -> Vector:
        matrix = build(check(changed)).matrix(bundle.features)
        return log_odds_of(matrix, bundle.scorer)

    log_odds = score(statements)
    products = build(statements).accounts["product"].cast(pl.String).to_list()
    cut_off = np.array([logit(bundle.policy.cut_off(product)) for product in products])
    near = np.abs(log_odds - cut_off) <= NEAR
    largest = np.zeros(near.sum())
    is_last = pl.col("month") == pl.col("month").max().over("account_id")
    for sign in (1, -1):
        for rows in (pl.lit(value=True), is_last):
            moved = (pl.col("payment") * (1 + sign * 0.01)).round(2)
            payment = pl.when(rows).then(moved).otherwise("payment")
            change = np.abs(score(statements.with_columns(payment=payment)) - log_odds)
            largest = np.maximum(largest, change[near])
    table = measure_nudges(lay_out(statements), log_odds, bundle)
    row = table.filter(nudge="1 %", column="payment").row(0, named=True)
    assert row["accounts"] == near.sum() > 10
    assert row["largest"] == pytest.approx(largest.max(), abs=1e-9)
    assert row["moved"] == np.mean(largest > MOVED)
    assert (row["moved_low"], row["moved_high"]) == wilson(row["moved"], row["accounts"])


class Edge:
    """A model with one split, at an income of 5,000: 0.3 log-odds."""

    def __init__(self, place: int, lowest: float) -> None:
        self.place = place
        self.lowest = lowest

    def predict(self, matrix: Matrix, **_: object) -> Vector:
        is_low: Vector = (matrix[:, self.place] < 5000.0).astype(np.float64)
        return self.lowest + 0.3 * is_low


def with_edge(bundle: Bundle, above_cut_off: float) -> Bundle:
    """The bundle with a model whose lower log-odds lie that far above the cut-off."""
    lowest = logit(bundle.policy.cut_off("pay_later")) + above_cut_off
    model = Edge(bundle.features.index("income"), lowest)
    scorer = Scorer(cast(Any, model), Calibration(1.0, 0.0), {})
    return replace(bundle, scorer=scorer)


def test_a_planted_edge_is_found_and_its_cuts_are_counted(bundle: Bundle) -> None:
    incomes = [4000.0, 4999.99, 5000.0, 5000.0, 5000.5, 6000.0]
    large = {"credit_limit": 50_000.0, "balance": 10_000.0}
    accounts = [
        quiet_account(6, f"a{place}").with_columns(pl.lit(income).alias("income"))
        for place, income in enumerate(incomes)
    ]
    limits = [pl.lit(amount).alias(name) for name, amount in large.items()]
    statements = check(pl.concat(accounts).with_columns(limits))
    table = measure_nudges_of(statements, with_edge(bundle, above_cut_off=-0.2))
    found = {
        size.name: table.filter(nudge=size.name, column="income").row(0, named=True)
        for size in SIZES
    }
    moved = {name: round(row["moved"] * len(incomes)) for name, row in found.items()}
    assert moved == {"0.01 CNY": 3, "1 CNY": 4, "0.1 %": 4, "1 %": 4}
    assert [row["largest"] for row in found.values()] == pytest.approx([0.3] * len(SIZES))
    # Those at 5,000 are below the cut-off, and above it with a fen less.
    assert (found["0.01 CNY"]["new_cuts"], found["0.01 CNY"]["undone_cuts"]) == (2, 1)
    others = table.filter(~pl.col("column").is_in(["income", ANY]))
    assert others["moved"].to_list() == [0.0] * others.height
    assert table.filter(column=ANY)["moved"].to_list() == [row["moved"] for row in found.values()]


def test_without_an_account_near_the_cut_off_nothing_is_measured(bundle: Bundle) -> None:
    statements = check(quiet_account(6))
    table = measure_nudges_of(statements, with_edge(bundle, above_cut_off=NEAR + 0.1))
    assert table["accounts"].unique().to_list() == [0]
    assert table["moved"].null_count() == table["largest"].null_count() == table.height


def share_moved(bundle: Bundle, source: Source) -> float:
    """The share of accounts near the cut-off that 0.1 % of the worst amount moves; default fit."""
    fitted = fit(label_accounts(source, DataConfig()), FitConfig())
    model = replace(bundle, scorer=Scorer(fitted.booster, fitted.calibration, {}))
    table = measure_nudges_of(select_hold_out(source, DataConfig()).statements, model)
    by_column = table.filter(pl.col("nudge") == THOUSANDTH.name, pl.col("column") != ANY)
    return float(cast(float, by_column["moved"].max()))


@pytest.mark.slow
def test_a_fitted_model_has_no_knife_edges(
    bundle: Bundle, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert share_moved(bundle, source) <= 0.02
    # The control: features that are not rounded, and flags that compare to the cent.
    monkeypatch.setattr(evaluation, "PROGRAMS", evaluation.Programs())
    monkeypatch.setattr(declaration, "STEPS", {})
    monkeypatch.setattr(window_module, "SLACK", 0.0)
    monkeypatch.setattr(window_module, "LITTLE", 0.005)
    assert share_moved(bundle, source) > load_gates().nudges.max_moved
