from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.decision.config.policy import Policy
from serving.decision.policy.limit import (
    Account,
    certainly_cut,
    cut_offs_of,
    limit_by_model,
    limits_by_model,
    lines_of,
    lines_of_accounts,
    near_cut_off,
)
from serving.decision.policy.outcome import apply_many
from serving.decision.scoring.score import logit
from tests.support.each import each
from tests.support.policies import DECIDED_AT, POLICY, change_policy, make_account

credit_limits = st.sampled_from([0.0, 300.0, 1_000.0, 12_345.0, 60_000.0, 400_000.0])
probabilities = st.floats(0.001, 0.999)
CUT_SETTINGS: list[dict[str, float]] = [
    {},
    {"minimum_cut_share": 0.0, "minimum_cut_amount": 0.0},
    {"minimum_expected_loss": 0.0},
    {"floor": 0.0, "minimum_cut_amount": 0.0},
    {"floor": 9e3},
    {"tolerated_share": 0.95},
    {"headroom": 0.3},
]
all_policies = pytest.mark.parametrize(
    "policy",
    [change_policy(conversion, **cut) for conversion in (0.0, 0.6, 1.0) for cut in CUT_SETTINGS],
    ids=lambda policy: f"{policy.economics.credit_conversion}-{policy.cut}",
)


def scalar_limit(account: Account, policy: Policy, near: bool) -> tuple[float, str]:
    """The formula for one account in plain Python, and the branch that decided."""
    limit, balance = account.features["limit_now"], max(account.features["balance_now"], 0.0)
    economics, cut = policy.economics, policy.cut
    fifth = 4 if limit <= 0 else min(int(min(balance / limit, 1.0) * 5), 4)
    conversion = economics.of(account.product).conversions[fifth]
    exposure = balance + conversion * max(limit - balance, 0.0)
    loss = account.probability * economics.loss_given_default * exposure
    if account.probability <= policy.cut_off(account.product) and not near:
        return limit, "below the cut-off"
    if loss < cut.minimum_expected_loss:
        return limit, "small loss"
    cut_off = policy.cut_off(account.product)
    tolerated = cut.tolerated_share * cut_off * exposure / account.probability
    spare = max(tolerated - balance, 0.0)
    room = spare / conversion if conversion > 0 else limit
    least = math.ceil(balance * (1.0 + cut.headroom) / cut.rounding - 1e-9) * cut.rounding
    least = max(least, cut.floor)
    highest = math.floor((balance + room) / cut.rounding + 1e-9) * cut.rounding
    new_limit = min(max(highest, least), limit)
    if limit - new_limit < max(cut.minimum_cut_share * limit, cut.minimum_cut_amount):
        return limit, "small cut"
    return new_limit, "tolerated" if highest >= least else "lowest"


def draw_accounts(count: int, seed: int = 0) -> list[Account]:
    """Accounts with limits of 100 to 20,000, from overpaid to overdrawn; some on round numbers."""
    random = np.random.default_rng(seed)
    probability = 0.02 * 40.0 ** random.random(count)
    limit = 100.0 * 200.0 ** random.random(count)
    balance = limit * random.uniform(-0.1, 1.2, count)
    is_round = random.random(count) < 0.3
    limit = np.where(is_round, np.round(limit, -2), limit)
    balance = np.where(is_round, np.round(balance, -2), balance)
    columns = np.column_stack([probability, limit, balance])
    return [make_account(*row) for row in columns.tolist()]


@all_policies
def test_the_limits_are_those_of_the_scalar_formula_to_the_last_bit(policy: Policy) -> None:
    accounts = draw_accounts(3_000)
    limits, near = limits_by_model(accounts, policy)
    branches = Counter[str]()
    for account, limit, is_near in each(zip(accounts, limits.tolist(), near.tolist(), strict=True)):
        gap = abs(logit(account.probability) - logit(policy.cut_off(account.product)))
        assert is_near == (gap < policy.review.band)
        expected, branch = scalar_limit(account, policy, is_near)
        assert limit == expected, (account, branch)
        branches[branch] += 1
    assert near.any()
    assert branches["below the cut-off"] > 100


def test_the_drawn_accounts_reach_every_branch() -> None:
    near = limits_by_model(draw_accounts(3_000), POLICY)[1].tolist()
    drawn = zip(draw_accounts(3_000), near, strict=True)
    branches = Counter(scalar_limit(account, POLICY, is_near)[1] for account, is_near in drawn)
    assert set(branches) == {
        "below the cut-off",
        "small loss",
        "small cut",
        "tolerated",
        "lowest",
    }


def test_an_account_alone_gets_the_limit_that_it_gets_among_others() -> None:
    accounts = draw_accounts(500, seed=1)
    together, _ = limits_by_model(accounts, POLICY)
    alone = np.array([limits_by_model([account], POLICY)[0][0] for account in accounts])
    assert alone.tobytes() == together.tobytes()


def test_a_probability_of_0_is_never_cut_and_of_1_always() -> None:
    limit, balance = np.full(4, 20_000.0), np.array([0.0, -5.0, 1_000.0, 20_000.0])
    nobody = np.zeros(4, dtype=np.bool_)
    lines = lines_of(["pay_later"] * 4, limit, balance, POLICY)
    assert (limit_by_model(np.zeros(4), lines, nobody, POLICY) == limit).all()
    certain = limit_by_model(np.ones(4), lines, nobody, POLICY)
    assert (certain[:3] < limit[:3]).all()
    assert certain[3] == limit[3]  # the limit is drawn in full


def by_model(probability: float, limit: float, balance: float) -> float:
    limits, _ = limits_by_model([make_account(probability, limit, balance)], POLICY)
    return float(limits[0])


def test_the_cut_off_is_where_loss_equals_what_keeping_earns() -> None:
    p, economics = POLICY.cut_off("pay_later"), POLICY.economics
    earned = (1 - p) * (economics.of("pay_later").margin + economics.harm)
    assert p * economics.loss_given_default == pytest.approx(earned)


@given(probabilities, credit_limits, st.floats(-1000, 500_000))
def test_a_new_limit_stays_within_its_bounds(
    probability: float, limit: float, balance: float
) -> None:
    new, cut = by_model(probability, limit, balance), POLICY.cut
    assert new <= limit
    if new < limit:
        assert new >= cut.floor
        assert new >= max(balance, 0.0) * (1 + cut.headroom) - 1e-6
        assert new / cut.rounding == pytest.approx(round(new / cut.rounding))
        assert limit - new >= max(cut.minimum_cut_share * limit, cut.minimum_cut_amount)


@given(probabilities, probabilities, credit_limits, st.floats(0, 100_000))
def test_a_riskier_account_never_gets_a_larger_limit(
    one: float, other: float, limit: float, balance: float
) -> None:
    low, high = sorted((one, other))
    log_odds = np.array([logit(low), logit(high)])
    cut_offs = cut_offs_of(["pay_later"] * 2, POLICY)
    assume(not near_cut_off(log_odds, cut_offs, POLICY).any())
    # Expected loss grows with the probability, so an account that is too small to cut is the less
    # risky one.
    assert by_model(high, limit, balance) <= by_model(low, limit, balance)


def test_the_largest_tolerated_limit_on_the_grid_is_taken() -> None:
    limit, balance = 20_000.0, 1_000.0
    economics, cut = POLICY.economics, POLICY.cut
    conversion = economics.of("pay_later").conversions[0]

    def loss(at: float, probability: float) -> float:
        exposure = balance + conversion * (at - balance)
        return probability * economics.loss_given_default * exposure

    tolerated = cut.tolerated_share * loss(limit, POLICY.cut_off("pay_later"))
    grid = [cut.floor + step * cut.rounding for step in range(196)]
    expected = max(at for at in grid if loss(at, 0.3) <= tolerated)
    assert by_model(0.3, limit, balance) == expected


@all_policies
def test_a_certain_cut_is_a_cut(policy: Policy) -> None:
    accounts = draw_accounts(3_000)
    certain = certainly_cut_of(accounts, policy)
    cut = [account for account, sure in zip(accounts, certain, strict=True) if sure]
    for account, outcome in zip(each(cut), apply_many(cut, policy, DECIDED_AT), strict=True):
        assert outcome.by_model, account


def test_nine_tenths_of_the_cuts_are_certain() -> None:
    """A bound that finds fewer would save the advice search little."""
    drawn = np.random.default_rng(0).uniform([0.05, 500, 0], [0.95, 60_000, 60_000], (2_000, 3))
    accounts = [make_account(*row) for row in drawn.tolist()]
    certain = certainly_cut_of(accounts, POLICY)
    cut = [outcome.by_model for outcome in apply_many(accounts, POLICY, DECIDED_AT)]
    assert sum(certain) > 0.9 * sum(cut) > 900


def certainly_cut_of(accounts: list[Account], policy: Policy) -> list[bool]:
    probability = np.array([account.probability for account in accounts])
    lines = lines_of_accounts(accounts, policy)
    certain: list[bool] = certainly_cut(probability, lines, policy).tolist()
    return certain


@given(probabilities)
def test_logit_is_the_inverse_of_the_logistic(probability: float) -> None:
    assert 1 / (1 + math.exp(-logit(probability))) == pytest.approx(probability)
