"""Margin and conversion at the cut-off, against planted lines and against a search by bisection."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from features.build import Features
from features.types import Vector
from serving.decision.config.economics import LearntEconomics, numbers_of
from serving.decision.config.policy import Policy, read_policy
from serving.decision.scoring.score import logit
from tests.support.each import each
from tests.support.policies import POLICY_TEXT
from training.data.labels import Labelled
from training.fit.economics.at_cut_off import SHRINK_NEAR, move_to_cut_offs
from training.fit.economics.learn import learn_economics

POLICY = read_policy(POLICY_TEXT)
RATE = POLICY.terms.monthly_rate
AS_OF = datetime.date(2025, 6, 1)
LIMIT, BALANCE = 10_000.0, 1_000.0
AMOUNTS = {
    "credit_limit": pl.Float64,
    "balance": pl.Float64,
    "cut": pl.Float64,
    "default": pl.Float64,
    "balance_at_default": pl.Float64,
    "unpaid": pl.Float64,
    "shortfall": pl.Float64,
    "cash": pl.Float64,
}
Line = Callable[[Vector], Vector]


def falling(log_odds: Vector) -> Vector:
    """A conversion that falls with the risk: the riskiest accounts are in arrears already."""
    return np.clip(0.30 - 0.10 * log_odds, 0.0, 1.0)


def rising(log_odds: Vector) -> Vector:
    """A margin that rises with the risk: risky accounts carry balances."""
    return np.clip(0.04 + 0.006 * log_odds, 0.0, 1.0)


def book(count: int, conversion: Line = falling, margin: Line = rising) -> Labelled:
    """Accounts whose default, drawings and charges follow their log-odds, in random order."""
    random = np.random.default_rng(4)
    log_odds = random.normal(-2.5, 1.2, count)
    has_default = random.random(count) < 1.0 / (1.0 + np.exp(-log_odds))
    unused = LIMIT - BALANCE
    accounts = [f"a{place}" for place in range(count)]
    drawn = np.where(has_default, BALANCE + conversion(log_odds) * unused, np.nan)
    rows = pl.DataFrame({"account_id": accounts}).with_columns(
        product=pl.lit("pay_later"), as_of=pl.lit(AS_OF)
    )
    amounts = rows.hstack(
        pl.DataFrame(
            {
                "credit_limit": [LIMIT] * count,
                "balance": [BALANCE] * count,
                "cut": [None] * count,
                "default": [3.0 if own else None for own in has_default.tolist()],
                "balance_at_default": drawn.tolist(),
                "unpaid": (margin(log_odds) * LIMIT / RATE).tolist(),
                "shortfall": [0.0] * count,
                "cash": [0.0] * count,
            },
            AMOUNTS,
            nan_to_null=True,
        )
    )
    order = random.permutation(count).tolist()
    features = Features(rows[order], ("log_odds",), log_odds[order][:, None])
    label = has_default[order].astype(np.float64)
    return Labelled(features, label, np.full(count, "train"), amounts=amounts)


def move(data: Labelled, policy: Policy = POLICY) -> LearntEconomics:
    pooled = learn_economics(data, policy.terms)
    return move_to_cut_offs(pooled, data, data.features.values[:, 0], policy)


def cut_off(learnt: LearntEconomics, policy: Policy = POLICY) -> float:
    economics = replace(policy.economics, learnt=numbers_of(learnt))
    return replace(policy, economics=economics).cut_off("pay_later")


def cut_off_of_lines(conversion: Line, margin: Line) -> float:
    """The probability at which a unit of unused limit loses what it earns, by bisection."""
    economics = POLICY.economics

    def value(probability: float) -> float:
        at = np.array([logit(probability)])
        lost = probability * economics.loss_given_default * float(conversion(at)[0])
        return lost - (1.0 - probability) * (float(margin(at)[0]) + economics.harm)

    low, high = 0.01, 0.95
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if value(middle) < 0 else (low, middle)
    return low


def flat(share: float) -> Line:
    return lambda log_odds: np.full(len(log_odds), share)


@pytest.mark.parametrize(
    ("conversion", "margin"),
    [(falling, rising), (flat(0.3), rising), (falling, flat(0.01))],
)
def test_a_cut_at_the_cut_off_is_worth_nothing(conversion: Line, margin: Line) -> None:
    expected = cut_off_of_lines(conversion, margin)
    planted = book(40_000, conversion, margin)
    learnt = move(planted)
    assert cut_off(learnt) == pytest.approx(expected, abs=0.004)
    # The control: by the numbers of all accounts it is another one.
    assert abs(cut_off(learn_economics(planted, POLICY.terms)) - expected) > 0.008
    at = np.array([logit(expected)])
    one = learnt["pay_later"]
    assert one.credit_conversion.value == pytest.approx(float(conversion(at)[0]), abs=0.01)
    assert one.margin.value == pytest.approx(float(margin(at)[0]), abs=0.002)
    for estimate in each([one.credit_conversion, one.margin]):
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high


def test_the_cut_off_is_that_of_the_policy_s_own_harm() -> None:
    """Accounts near another cut-off draw and earn other amounts."""
    planted = book(20_000)
    economics = replace(POLICY.economics, harm=0.2)
    harmed = move(planted, replace(POLICY, economics=economics))["pay_later"]
    one = move(planted)["pay_later"]
    assert harmed.credit_conversion.value < one.credit_conversion.value - 0.03
    assert harmed.margin.value > one.margin.value + 0.003


def test_fifths_and_counts_stay() -> None:
    planted = book(5_000)
    pooled, moved = learn_economics(planted, POLICY.terms)["pay_later"], move(planted)["pay_later"]
    assert moved.conversions == pooled.conversions
    assert moved.credit_conversion.rows == pooled.credit_conversion.rows
    assert (moved.cut_before, moved.fully_drawn) == (pooled.cut_before, pooled.fully_drawn)


def test_few_accounts_near_the_cut_off_change_little() -> None:
    planted = book(300)
    pooled, moved = learn_economics(planted, POLICY.terms)["pay_later"], move(planted)["pay_later"]
    defaulted = pooled.credit_conversion.accounts
    most = defaulted / (defaulted + SHRINK_NEAR)
    shift = moved.credit_conversion.value - pooled.credit_conversion.value
    assert abs(shift) <= most * max(pooled.credit_conversion.value, 1.0)
    assert 0.0 < cut_off({"pay_later": moved}) < 1.0


def test_rows_that_the_fit_left_out_count_not() -> None:
    """A fit may leave out treated rows: they have amounts, and no log-odds."""
    planted = book(4_000)
    most = planted.take(np.arange(3_000))
    kept = most.features.accounts["account_id"]
    assert planted.amounts is not None
    fewer = replace(
        most, amounts=planted.amounts.filter(pl.col("account_id").is_in(kept.implode()))
    )
    pooled = learn_economics(planted, POLICY.terms)
    log_odds = most.features.values[:, 0]
    moved = move_to_cut_offs(pooled, most, log_odds, POLICY)["pay_later"]
    expected = move_to_cut_offs(pooled, fewer, log_odds, POLICY)["pay_later"]
    assert moved.credit_conversion.value == pytest.approx(expected.credit_conversion.value)
    assert moved.margin.value == pytest.approx(expected.margin.value)


def test_where_nothing_is_drawn_the_cut_off_is_1() -> None:
    assert cut_off(move(book(500, flat(0.0)))) == 1.0


def test_without_amounts_nothing_is_moved() -> None:
    unfollowed = replace(book(100), amounts=None)
    assert move_to_cut_offs({}, unfollowed, unfollowed.features.values[:, 0], POLICY) == {}
