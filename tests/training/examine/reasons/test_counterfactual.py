from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.ledger import Terms
from features.schema import check
from features.window import lay_out
from tests.support.accounts import window
from tests.support.year_replay import (
    FREE,
    HALF_A_CENT,
    LEVELS,
    NUMBERS,
    YEAR,
    YearReplay,
    levels_drawn,
    minimum_due,
    next_standing,
    terms_drawn,
)
from training.examine.reasons.counterfactual import replay_year
from training.examine.reasons.effects import DRIVEN, Driven
from training.examine.reasons.levels import Levels


def levels(count: int, **known: float) -> Levels:
    """These levels for every trajectory; the others are unknown."""
    names = [field.name for field in dataclasses.fields(Levels)]
    return Levels(**{name: np.full(count, known.get(name, np.nan)) for name in names})


def replay_each_change(
    statements: pl.DataFrame,
    level: Mapping[str, float],
    terms: Terms,
    instalment_share: float,
) -> dict[str, NDArray[Any]]:
    """One account as it was, then with one behaviour changed each, in the order of DRIVEN."""
    count = 1 + len(DRIVEN)
    given_to = {name: 1 + DRIVEN.index(group) for group, names in LEVELS.items() for name in names}
    trajectory = np.arange(count)
    only = Levels(
        **{
            name: np.where(
                trajectory == place,
                level[name],
                np.nan,
            )
            for name, place in given_to.items()
        }
    )
    on_time = np.array([False, *(group == "repayment" for group in DRIVEN)])
    windows = lay_out(statements).take(np.zeros(count, dtype=np.int64))
    return replay_year(windows, only, on_time, terms, instalment_share)


def same_to_the_cent(some: NDArray[Any], others: NDArray[Any]) -> bool:
    return np.allclose(
        some,
        others,
        rtol=0.0,
        atol=HALF_A_CENT,
        equal_nan=True,
    )


@pytest.mark.slow
@pytest.mark.integration
@settings(max_examples=150)
@given(window(), levels_drawn, terms_drawn, st.sampled_from([0.0, 0.05, 0.4]))
def test_a_year_is_replayed_by_the_rules(
    drawn: pl.DataFrame,
    level: dict[str, float],
    terms: Terms,
    share: float,
) -> None:
    statements = check(drawn)
    rows = statements.to_dicts()
    columns = replay_each_change(statements, level, terms, share)
    for place, group in enumerate([None, *DRIVEN]):
        expected = YearReplay(rows, group, level, terms, share).statements()
        for name in NUMBERS:
            values = np.array([row[name] for row in expected], dtype=np.float64)
            assert same_to_the_cent(columns[name][::-1, place], values), (group, name)


@pytest.mark.integration
@settings(max_examples=150)
@given(window(), terms_drawn, st.sampled_from([0.0, 0.05]))
def test_a_year_without_a_change_is_the_year_as_it_was(
    drawn: pl.DataFrame,
    terms: Terms,
    share: float,
) -> None:
    """With any statements and any terms: minimum due, charges and days are the lender's own."""
    statements = check(drawn)
    was = lay_out(statements)
    unknown = levels(1)
    again = replay_year(
        was,
        unknown,
        np.zeros(1, dtype=np.bool_),
        terms,
        share,
    )
    for name in NUMBERS:
        assert np.array_equal(again[name], was[name], equal_nan=True), name


@settings(max_examples=60)
@given(
    window(),
    st.sampled_from([Terms(), Terms(minimum_share=0.5), Terms(0.05, 0.1, 0.02, 0.5, 500.0)]),
)
def test_an_account_that_was_never_late_is_not_changed_by_paying_on_time(
    drawn: pl.DataFrame, terms: Terms
) -> None:
    """The terms may ask for more than the lender did."""
    statements = check(drawn.with_columns(pl.lit(0, dtype=pl.Int32).alias("days_past_due")))
    was = lay_out(statements)
    again = replay_year(
        was,
        levels(1),
        np.ones(1, dtype=np.bool_),
        terms,
        0.05,
    )
    for name in NUMBERS:
        assert np.array_equal(again[name], was[name], equal_nan=True), name


def test_only_a_change_changes_the_year_of_simulated_accounts(windows: pl.DataFrame) -> None:
    was = lay_out(check(windows))
    accounts = len(was.months_observed)
    nobody = np.zeros(accounts, dtype=np.bool_)
    again = replay_year(
        was,
        levels(accounts),
        nobody,
        Terms(),
        0.05,
    )
    for name in NUMBERS:
        assert same_to_the_cent(again[name], was[name]), name
    for changed in (
        replay_year(was, levels(accounts, used=0.1), nobody, Terms(), 0.05),
        replay_year(was, levels(accounts), ~nobody, Terms(), 0.05),
    ):
        assert not same_to_the_cent(changed["balance"], was["balance"])


def test_months_before_the_year_and_unknown_values_are_not_changed(
    windows: pl.DataFrame,
) -> None:
    was = lay_out(check(windows))
    accounts = len(was.months_observed)
    zero = {field.name: 0.0 for field in dataclasses.fields(Levels)}
    again = replay_year(
        was, levels(accounts, **zero), np.ones(accounts, dtype=np.bool_), Terms(), 0.05
    )
    for name in NUMBERS:
        assert np.array_equal(again[name][YEAR:], was[name][YEAR:], equal_nan=True)
        assert np.array_equal(np.isnan(again[name]), np.isnan(was[name]))
    assert not same_to_the_cent(again["balance"][YEAR - 1], was["balance"][YEAR - 1])


@dataclasses.dataclass(frozen=True)
class Books:
    """The money of a year, (months, acts), the oldest month first."""

    owed_in_all: NDArray[Any]  # here and elsewhere
    at_hand: NDArray[Any]  # that has to be left
    borrowed: NDArray[Any]  # elsewhere, in the month
    paid_off: NDArray[Any]  # whether nothing is owed here after the payment
    cash: NDArray[Any]
    spent_less: NDArray[Any]  # since the beginning


ACTS: tuple[Driven, ...] = (
    "repayment",
    "overspending",
    "cash_reliance",
    "credit_seeking",
)
PLENTY = 1e7  # debt elsewhere, more than a year can repay


def books(
    statements: pl.DataFrame,
    level: Mapping[str, float],
    terms: Terms,
    share: float,
) -> Books:
    """The books of each act, from the statements alone: money in, money out and charges."""
    months = min(YEAR, statements.height - 1)
    columns = replay_each_change(statements, level, terms, share)
    acting = [1 + DRIVEN.index(group) for group in ACTS]
    new = {name: columns[name][: months + 1, acting][::-1] for name in NUMBERS}
    was = {
        name: statements[name].to_numpy()[-months - 1 :][:, None].astype(np.float64)
        for name in NUMBERS
    }
    less_debt = was["external_debt"] - new["external_debt"]
    balance, due = new["balance"][:-1], new["minimum_due"][:-1]
    payment, cash, spend = new["payment"][1:], new["cash_advance"][1:], new["spend"][1:]
    interest = terms.monthly_rate * np.maximum(balance - payment, 0.0)
    late_fee = terms.late_fee * np.maximum(due - payment, 0.0)
    interest_elsewhere = terms.monthly_rate * less_debt[:-1]
    charges = interest + terms.cash_fee * cash + late_fee - interest_elsewhere
    flows = was["cash_advance"][1:] - was["payment"][1:] + charges
    # As much as was drawn and not paid, for whatever the money was used.
    must_be_owed = was["balance"][0] + np.cumsum(flows + spend, axis=0)
    owed = new["balance"][1:] - less_debt[1:]
    return Books(
        owed_in_all=owed,
        at_hand=owed - must_be_owed,
        borrowed=less_debt[:-1] * (1.0 + terms.monthly_rate - share) - less_debt[1:],
        paid_off=payment >= np.maximum(balance, 0.0) - 0.02,
        cash=cash,
        spent_less=np.cumsum(was["spend"][1:] - spend, axis=0),
    )


def fully_known(drawn: pl.DataFrame, terms: Terms) -> pl.DataFrame:
    """The acts of a window, with the ledger's statements from the first one on."""
    known = drawn.with_columns(pl.col(name).fill_null(123) for name in NUMBERS)
    rows = known.with_columns(external_debt=pl.lit(PLENTY)).to_dicts()
    first = rows[0]
    first["minimum_due"] = minimum_due(
        first["balance"],
        first["days_past_due"] // 30,
        terms,
    )
    standing = (first["balance"], first["minimum_due"], first["days_past_due"])
    for row in rows[1:]:
        days_late = row["days_past_due"] if row["days_past_due"] < 30 else 0
        acts = (row["spend"], row["cash_advance"], row["payment"], days_late)
        standing = next_standing(standing, acts, terms)
        row["balance"], row["minimum_due"], row["days_past_due"] = standing
    return check(pl.DataFrame(rows, schema=drawn.schema))


@pytest.mark.slow
@pytest.mark.integration
@settings(max_examples=120)
@given(
    window(),
    levels_drawn,
    st.sampled_from([(FREE, 0.0), (Terms(), 0.0), (FREE, 0.05), (Terms(), 0.05)]),
)
def test_money_comes_from_somewhere_and_goes_somewhere(
    drawn: pl.DataFrame,
    level: dict[str, float],
    charged: tuple[Terms, float],
) -> None:
    """Money at hand is never negative; with any left, nothing is borrowed, owed here or drawn."""
    cent_a_month = 0.01 * YEAR + 1e-6
    money = books(
        fully_known(drawn, charged[0]),
        level,
        *charged,
    )
    assert (money.at_hand >= -cent_a_month).all()
    assert (money.at_hand[money.borrowed > cent_a_month] <= cent_a_month).all()
    holding = money.at_hand > cent_a_month
    assert money.paid_off[holding].all()
    assert (money.cash[holding] <= cent_a_month).all()


@pytest.mark.integration
@settings(max_examples=120)
@given(window(), levels_drawn)
def test_only_spending_less_lowers_the_total_debt(
    drawn: pl.DataFrame, level: dict[str, float]
) -> None:
    statements = fully_known(drawn, FREE)
    # Without interest and fees, the total debt is what was drawn and not paid, less what was not
    # bought.
    money = books(statements, level, FREE, 0.0)
    was = {
        name: statements[name].to_numpy()[-len(money.cash) :]
        for name in ("spend", "cash_advance", "payment")
    }
    start = statements["balance"].to_numpy()[-min(YEAR, statements.height - 1) - 1]
    flows = was["spend"] + was["cash_advance"] - was["payment"]
    in_all = start + np.cumsum(flows) if len(money.cash) else np.zeros(0)
    net = money.owed_in_all - money.at_hand
    assert np.allclose(net, in_all[:, None] - money.spent_less, rtol=0.0, atol=1e-6)
    spending = ACTS.index("overspending")
    assert (np.delete(money.spent_less, spending, axis=1) == 0).all()
    assert (np.delete(money.owed_in_all, spending, axis=1) >= in_all[:, None] - 1e-6).all()


@pytest.mark.slow
def test_each_behaviour_moves_money_in_its_own_direction(windows: pl.DataFrame) -> None:
    """Paying more moves debt from here to elsewhere; only spending less makes it smaller."""
    level = {
        "paid_share": 0.5,
        "spend": 0.01,
        "debt": 0.0,
        "cash": 0.0,
        "used": 0.0,
        "limit_requests": 0.0,
        "inquiries": 0.0,
    }
    seen = dict.fromkeys(ACTS, 0)
    for account in windows.partition_by("account_id", maintain_order=True)[:300]:
        money = books(fully_known(account, FREE), level, FREE, 0.0)
        for place, group in enumerate(ACTS):
            spent_less, borrowed = money.spent_less[:, place], money.borrowed[:, place]
            if group == "overspending":
                seen[group] += bool((spent_less > 1.0).any())
            else:
                seen[group] += bool((borrowed > 1.0).any())
                assert (spent_less == 0).all()
    assert min(seen[group] for group in ACTS if group != "credit_seeking") > 20
    assert seen["credit_seeking"] == 0
