"""What a fit says about the rows whose outcome was not observed."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from training.data.config import DataConfig
from training.data.labels import Labelled
from training.data.outcome_counts import no_outcomes
from training.fit.fit import Fitted
from training.fit.tables import describe_left_out, split_table


@pytest.fixture
def censored(data: Labelled) -> Labelled:
    """The session's rows, and the counts of some more that nobody saw to the end."""
    rows = [
        ("train", "cash_loan", "account_left", 30),
        ("train", "pay_later", "account_left", 1200),
        ("test", "cash_loan", "product_ended", 50),
    ]
    more = pl.DataFrame(rows, no_outcomes().schema, orient="row")
    return replace(data, outcomes=pl.concat([data.outcomes, more]))


def test_splits_count_what_was_not_observed(fitted: Fitted, censored: Labelled) -> None:
    table = {row["split"]: row for row in split_table(fitted, censored).iter_rows(named=True)}
    train, valid, test = table["train"], table["valid"], table["test"]
    assert train["censored"] == 1230
    assert train["account_left_pay_later"] == 1200
    assert train["account_left_cash_loan"] == 30
    assert train["share_censored"] == pytest.approx(1230 / (1230 + train["rows"]))
    assert valid["censored"] == 0
    assert valid["share_censored"] == 0.0
    assert test["product_ended_cash_loan"] == test["censored"] == 50


def test_a_fit_says_what_was_not_observed(data: Labelled, censored: Labelled) -> None:
    train, test, labels = describe_left_out(censored, DataConfig(), 1234)
    rows = len(data.rows("train")) + 1230
    assert train == (
        f"train: the outcome of {1230 / rows:.1%} of {rows:,} rows was not observed, left out: "
        "account left 1,230 (cash_loan 30, pay_later 1,200)"
    )
    assert test.endswith("left out: product ended 50 (cash_loan 50)")
    assert labels == "1,234 labels left out: their account has no statement of the month"
    # Weights are for rows that a model is fitted on.
    train, test = describe_left_out(censored, DataConfig(unobserved="weight"), 0)
    assert "not observed, represented by weights: " in train
    assert "not observed, left out: " in test


def test_a_fit_says_nothing_where_all_was_observed(data: Labelled) -> None:
    assert describe_left_out(data, DataConfig(), 0) == ()
