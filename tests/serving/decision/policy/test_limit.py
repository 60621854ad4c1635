from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.ledger import Behaviour, Standing, minimum_due_of, next_standing
from features.types import Vector
from serving.decision.config.economics import FIFTHS
from serving.decision.config.policy import Policy
from serving.decision.policy.limit import (
    Account,
    limit_by_model,
    limits_by_model,
    lines_of,
    lines_of_accounts,
)
from serving.decision.policy.outcome import apply_many
from serving.decision.scoring.score import logit
from tests.support.each import each
from tests.support.policies import DECIDED_AT, POLICY, change_policy, make_account

PRODUCTS = ("pay_later", "cash_loan")
products = st.sampled_from(PRODUCTS)
credit_limits = st.sampled_from([0.0, 300.0, 1_000.0, 12_345.0, 60_000.0, 400_000.0])
probabilities = st.floats(0.001, 0.999)
balances = st.floats(-1_000, 500_000)
spends = st.sampled_from([0.0, 35.0, 900.0, 20_000.0])
CUT_SETTINGS: list[dict[str, float]] = [
    {},
    {"minimum_cut_share": 0.0, "minimum_cut_amount": 0.0},
    {"minimum_expected_loss": 0.0},
    {"floor": 0.0, "minimum_cut_amount": 0.0, "largest_step": 1.0},
    {"floor": 9e3},
    {"depth": 0.0, "largest_step": 1.0},
    {"depth": 7.0},
    {"headroom": 0.3, "largest_step": 0.2},
]
POLICIES = [
    change_policy(conversion, **cut) for conversion in (None, 0.0, 0.6, 1.0) for cut in CUT_SETTINGS
]
all_policies = pytest.mark.parametrize(
    "policy",
    POLICIES,
    ids=lambda policy: f"{policy.economics.credit_conversion}-{policy.cut}",
)


def scalar_limit(account: Account, policy: Policy) -> tuple[float, str]:
    """The formula for one account in plain Python, and the branch that decided."""
    limit, owed = account.features["limit_now"], max(account.features["balance_now"], 0.0)
    cut, lgd = policy.cut, policy.economics.loss_given_default
    cut_off = policy.cut_off(account.product)
    probability = account.probability
    if probability <= cut_off:
        return limit, "below the cut-off"
    fifth = 4 if limit <= 0 else min(math.floor(owed / limit * FIFTHS), 4)
    conversion = policy.economics.of(account.product).conversions[fifth]
    exposure = owed + conversion * max(limit - owed, 0.0)
    share = cut_off / (cut_off + cut.depth * (probability - cut_off))
    at_cut_off = cut_off * lgd * exposure
    loss = max(share * at_cut_off, cut.minimum_expected_loss)
    spare = max(loss / (probability * lgd) - owed, 0.0)
    highest = owed + (spare / conversion if conversion > 0 else limit)
    next_balance = owed + policy.terms.monthly_rate * owed + account.features["spend_mean_6"]
    lowest = max(owed * (1 + cut.headroom), next_balance, cut.floor)
    lowest = max(lowest, limit - cut.largest_step * limit)
    highest = math.floor(highest / cut.rounding + 1e-9) * cut.rounding
    lowest = math.ceil(lowest / cut.rounding - 1e-9) * cut.rounding
    new_limit = min(max(highest, lowest), limit)
    if limit - new_limit < max(cut.minimum_cut_share * limit, cut.minimum_cut_amount):
        return limit, "small cut"
    if highest < lowest:
        return new_limit, "lowest"
    return new_limit, "small loss" if share * at_cut_off < loss else "tolerated"


def draw_accounts(count: int, seed: int = 0) -> list[Account]:
    """Accounts with limits of 100 to 20,000, from overpaid to overdrawn; some on round numbers."""
    random = np.random.default_rng(seed)
    probability = 0.02 * 40.0 ** random.random(count)
    limit = 100.0 * 200.0 ** random.random(count)
    balance = limit * random.uniform(-0.1, 1.2, count)
    spend = np.where(random.random(count) < 0.5, 0.2 * limit * random.random(count), 0.0)
    is_round = random.random(count) < 0.3
    limit = np.where(is_round, np.round(limit, -2), limit)
    balance = np.where(is_round, np.round(balance, -2), balance)
    columns = np.column_stack([probability, limit, balance, spend])
    accounts = []
    for place, (drawn, own_limit, owed, spent) in enumerate(columns.tolist()):
        account = make_account(drawn, own_limit, owed, spend_mean_6=spent)
        accounts.append(replace(account, product=PRODUCTS[place % 2]))
    return accounts


@all_policies
def test_the_limits_are_those_of_the_scalar_formula_to_the_last_bit(policy: Policy) -> None:
    accounts = draw_accounts(3_000)
    limits, near = limits_by_model(accounts, policy)
    branches = Counter[str]()
    for account, limit, is_near in each(zip(accounts, limits.tolist(), near.tolist(), strict=True)):
        gap = abs(logit(account.probability) - logit(policy.cut_off(account.product)))
        assert is_near == (gap < policy.review.band)
        expected, branch = scalar_limit(account, policy)
        assert limit == expected, (account, branch)
        branches[branch] += 1
    assert branches["below the cut-off"] > 100


def test_the_drawn_accounts_reach_every_branch() -> None:
    branches = Counter(scalar_limit(account, POLICY)[1] for account in draw_accounts(3_000))
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
    lines = lines_of(["pay_later"] * 4, limit, balance, np.zeros(4), POLICY)
    assert (limit_by_model(np.zeros(4), lines, POLICY) == limit).all()
    certain = limit_by_model(np.ones(4), lines, POLICY)
    assert (certain[:3] < limit[:3]).all()
    assert certain[3] == limit[3]  # the limit is drawn in full


def by_model(account: Account, policy: Policy = POLICY) -> float:
    limits, _ = limits_by_model([account], policy)
    return float(limits[0])


@pytest.mark.parametrize("product", PRODUCTS)
def test_at_the_cut_off_a_unit_of_unused_limit_loses_what_keeping_it_earns(product: str) -> None:
    p, own = POLICY.cut_off(product), POLICY.economics.of(product)
    lost = p * POLICY.economics.loss_given_default * own.credit_conversion
    assert lost == pytest.approx((1 - p) * (own.margin + POLICY.economics.harm))
    assert 0 < p < 1


def test_the_cut_off_is_of_the_product() -> None:
    """A cash loan's unused limit is drawn less, so its accounts are cut from a higher one."""
    assert POLICY.cut_off("cash_loan") > POLICY.cut_off("pay_later") > 0.1


@given(probabilities, credit_limits, balances)
def test_where_nothing_is_drawn_nothing_is_cut(
    probability: float, limit: float, balance: float
) -> None:
    """The cut-off is 1: no cut by the model would avoid a loss.  Only a suspension remains."""
    policy = change_policy(conversion=0.0)
    account = make_account(probability, limit, balance)
    assert policy.cut_off("pay_later") == 1.0
    assert by_model(account, policy) == limit
    outcome = apply_many([account], policy, DECIDED_AT)[0]
    assert outcome.suspends == (probability >= policy.suspend.probability)


def lines_and_limit(
    product: str, probability: float, limit: float, balance: float, spend: float
) -> tuple[Account, float]:
    account = make_account(probability, limit, balance, spend_mean_6=spend)
    own = replace(account, product=product)
    return own, by_model(own)


@given(products, probabilities, credit_limits, balances, spends)
def test_a_new_limit_stays_within_its_bounds(
    product: str, probability: float, limit: float, balance: float, spend: float
) -> None:
    _, new = lines_and_limit(product, probability, limit, balance, spend)
    cut, owed = POLICY.cut, max(balance, 0.0)
    assert new <= limit
    if new < limit:
        assert new >= cut.floor
        assert new >= owed * (1 + cut.headroom) - 1e-6
        assert new >= (1 - cut.largest_step) * limit - 1e-6
        assert new / cut.rounding == pytest.approx(round(new / cut.rounding))
        assert limit - new >= max(cut.minimum_cut_share * limit, cut.minimum_cut_amount)


@given(products, probabilities, credit_limits, balances, spends)
def test_no_cut_makes_an_account_over_its_limit_next_month(
    product: str, probability: float, limit: float, balance: float, spend: float
) -> None:
    """Even one that pays nothing, spends as usual and is charged interest."""
    _, new = lines_and_limit(product, probability, limit, balance, spend)
    owed = max(balance, 0.0)
    next_balance = owed + POLICY.terms.monthly_rate * owed + spend
    assert new == limit or next_balance <= new + 1e-6


@given(credit_limits, balances, st.sampled_from([0, 30, 60, 90]))
def test_a_suspension_leaves_room_for_a_month_s_interest_and_fees(
    limit: float, balance: float, days_late: int
) -> None:
    """By the ledger, of an account that pays nothing."""
    account = make_account(0.9, limit, balance, days_past_due_now=float(max(days_late, 5)))
    outcome = apply_many([account], POLICY, DECIDED_AT)[0]
    assert outcome.suspends
    proposed = outcome.new_limit if outcome.proposed_limit is None else outcome.proposed_limit
    days, nothing = np.array([days_late], dtype=np.int32), np.zeros(1)
    due = minimum_due_of(np.array([balance]), days // 30, POLICY.terms)
    acts = Behaviour(nothing, nothing, nothing, np.zeros(1, dtype=np.int32))
    after = next_standing(Standing(np.array([balance]), due, days), acts, POLICY.terms)
    assert proposed == limit or after.balance[0] <= proposed + 0.01


@given(products, probabilities, probabilities, credit_limits, balances, spends)
def test_a_riskier_account_never_gets_a_larger_limit(
    product: str, one: float, other: float, limit: float, balance: float, spend: float
) -> None:
    low, high = sorted((one, other))
    _, of_low = lines_and_limit(product, low, limit, balance, spend)
    _, of_high = lines_and_limit(product, high, limit, balance, spend)
    assert of_high <= of_low


@pytest.mark.parametrize(
    "policy", POLICIES[: len(CUT_SETTINGS)], ids=lambda policy: str(policy.cut)
)
def test_the_limit_is_continuous_in_the_probability(policy: Policy) -> None:
    """No jump is larger than the smallest cut that is made, and a step of the rounding.

    The probabilities are a billionth apart around every place where the limit changes, which is
    found by bisection.
    """
    cut, accounts = policy.cut, draw_accounts(60, seed=3)
    limit = np.array([account.features["limit_now"] for account in accounts])
    most = np.maximum(cut.minimum_cut_share * limit, cut.minimum_cut_amount) + 2 * cut.rounding
    low, high = np.full(60, 0.001), np.full(60, 0.999)
    while (high - low).max() > 1e-9:
        # Into the half with the larger fall: it holds a jump, if there is one.
        middle = (low + high) / 2
        above, between, below = (limits_at(accounts, at, policy) for at in (low, middle, high))
        lower = above - between > between - below
        low, high = np.where(lower, low, middle), np.where(lower, middle, high)
    jumps = limits_at(accounts, low, policy) - limits_at(accounts, high, policy)
    for account, jump, largest in each(zip(accounts, jumps, most, strict=True)):
        assert jump <= largest, account
    assert (jumps > 0).sum() >= 3


def limits_at(accounts: list[Account], probability: Vector, policy: Policy) -> Vector:
    """The limits of the accounts, each with its own probability."""
    moved = [replace(a, probability=p) for a, p in zip(accounts, probability, strict=True)]
    limits, _ = limits_by_model(moved, policy)
    return limits


def test_a_cliff_would_be_found() -> None:
    """The control: a policy that tolerates half of the loss at once has a jump at the cut-off."""
    account = make_account(0.3)
    at = POLICY.cut_off("pay_later")
    lines = lines_of_accounts([account], POLICY)
    halved = replace(lines, cut_off=lines.cut_off * 0.5)
    limit = account.features["limit_now"]
    just_above = limit_by_model(np.array([at * (1 + 1e-9)]), halved, POLICY)
    assert limit - just_above[0] > POLICY.cut.minimum_cut_share * limit + 2 * POLICY.cut.rounding


def test_the_largest_tolerated_limit_on_the_grid_is_taken() -> None:
    limit, balance, at_risk = 20_000.0, 1_000.0, 0.3
    policy = change_policy(None, largest_step=1.0)
    cut, cut_off = policy.cut, policy.cut_off("pay_later")
    conversion = policy.economics.of("pay_later").conversions[0]

    def loss(at: float, probability: float) -> float:
        exposure = balance + conversion * (at - balance)
        return probability * policy.economics.loss_given_default * exposure

    share = cut_off / (cut_off + cut.depth * (at_risk - cut_off))
    tolerated = share * loss(limit, cut_off)
    grid = [cut.floor + step * cut.rounding for step in range(196)]
    expected = max(at for at in grid if loss(at, at_risk) <= tolerated)
    assert cut.floor < expected < limit
    assert by_model(make_account(at_risk, limit, balance), policy) == expected


def test_a_second_cut_is_measured_against_the_limit_before_the_first() -> None:
    """What is tolerated is that of the limit from before; the step begins at the limit in force."""
    account = make_account(0.59, limit=20_000.0, balance=1_000.0)
    lines = lines_of_accounts([account], POLICY)
    first = limit_by_model(np.array([0.59]), lines, POLICY)
    assert first[0] == 10_000.0  # half of it, the largest step
    again = limit_by_model(np.array([0.59]), replace(lines, in_force=first), POLICY)
    free = change_policy(None, largest_step=1.0)
    assert again[0] == by_model(account, free) < first[0]


@given(probabilities)
def test_logit_is_the_inverse_of_the_logistic(probability: float) -> None:
    assert 1 / (1 + math.exp(-logit(probability))) == pytest.approx(probability)


def test_logit_is_infinite_at_the_ends() -> None:
    assert (logit(0.0), logit(1.0)) == (-math.inf, math.inf)
