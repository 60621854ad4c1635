from __future__ import annotations

import dataclasses
import datetime
import math
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from features.catalogue import CATALOGUE
from serving.decision.config.policy import read_policy
from serving.decision.config.strict_toml import ConfigError
from serving.decision.policy.limit import Account, certainly_cut, limit_by_model, near_cut_off
from serving.decision.policy.outcome import Outcome, apply, refer_to_reviewer
from serving.decision.scoring.score import logit

TEXT = files("serving.decision.config").joinpath("policy.toml").read_text("utf-8")
POLICY = read_policy(TEXT)
WHEN = datetime.datetime(2026, 10, 5, 9, 30, tzinfo=datetime.UTC)
AS_OF = datetime.date(2026, 9, 1)
limits = st.sampled_from([0.0, 300.0, 1_000.0, 12_345.0, 60_000.0, 400_000.0])
probabilities = st.floats(0.001, 0.999)


def account(
    probability: float, limit: float = 20_000.0, balance: float = 4_000.0, **features: float
) -> Account:
    quiet = {feature.name: 0.0 for feature in CATALOGUE} | {"income": 1e6, "months_observed": 24.0}
    values = quiet | {"limit_now": limit, "balance_now": balance} | features
    return Account("pay_later", AS_OF, probability, values)


def by_model(probability: float, limit: float, balance: float) -> float:
    one = account(probability, limit, balance)
    return limit_by_model(one, POLICY, near_cut_off(one, POLICY))


def test_the_cut_off_is_where_loss_equals_what_keeping_earns() -> None:
    p, e = POLICY.cut_off, POLICY.economics
    assert p * e.loss_given_default == pytest.approx((1 - p) * (e.margin + e.harm))


@given(probabilities, limits, st.floats(-1000, 500_000))
def test_a_new_limit_stays_within_its_bounds(
    probability: float, limit: float, balance: float
) -> None:
    new = by_model(probability, limit, balance)
    assert new <= limit
    if new < limit:
        assert new >= POLICY.cut.floor
        assert new >= max(balance, 0.0) * (1 + POLICY.cut.headroom) - 1e-6
        assert new / POLICY.cut.rounding == pytest.approx(round(new / POLICY.cut.rounding))
        assert limit - new >= max(
            POLICY.cut.minimum_cut_share * limit, POLICY.cut.minimum_cut_amount
        )


@given(probabilities, probabilities, limits, st.floats(0, 100_000))
def test_a_riskier_account_never_gets_a_larger_limit(
    one: float, other: float, limit: float, balance: float
) -> None:
    low, high = sorted((one, other))
    assume(not any(near_cut_off(account(p), POLICY) for p in (low, high)))
    # Expected loss grows with the probability, so the accounts too small to cut are the less risky
    # ones.
    assert by_model(high, limit, balance) <= by_model(low, limit, balance)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"minimum_cut_share": 0.0, "minimum_cut_amount": 0.0},
        {"floor": 0.0, "minimum_cut_amount": 0.0},
        {"floor": 9e3},
        {"tolerated_share": 0.95},
        {"headroom": 0.3},
    ],
)
@pytest.mark.parametrize("conversion", [0.0, 0.6, 1.0])
def test_what_is_surely_cut_is_cut(changes: dict[str, float], conversion: float) -> None:
    policy = dataclasses.replace(
        POLICY,
        cut=dataclasses.replace(POLICY.cut, **changes),
        economics=dataclasses.replace(POLICY.economics, credit_conversion=conversion),
    )
    random = np.random.default_rng(0)
    probability, limit = 0.02 * 40.0 ** random.random(5000), 100.0 * 200.0 ** random.random(5000)
    balance = limit * random.uniform(-0.1, 1.2, 5000)
    sure = certainly_cut(probability, limit, balance, policy)
    assert sure.any()
    for row in np.flatnonzero(sure).tolist():
        outcome = apply(
            account(float(probability[row]), float(limit[row]), float(balance[row])), policy, WHEN
        )
        assert outcome.by_model, (probability[row], limit[row], balance[row])


def test_most_of_what_is_cut_is_surely_cut() -> None:
    """Else asking about it first would be for nothing."""
    drawn = np.random.default_rng(0).uniform([0.05, 500, 0], [0.95, 60_000, 60_000], (2000, 3))
    sure = certainly_cut(drawn[:, 0], drawn[:, 1], drawn[:, 2], POLICY)
    told = [apply(account(*row), POLICY, WHEN).by_model for row in drawn.tolist()]
    assert sure.sum() > 0.9 * sum(told) > 900


def test_the_largest_tolerated_limit_on_the_grid_is_taken() -> None:
    p, limit, balance = 0.3, 20_000.0, 1_000.0
    e, cut = POLICY.economics, POLICY.cut

    def loss(at: float, probability: float) -> float:
        return probability * e.loss_given_default * (balance + e.credit_conversion * (at - balance))

    tolerated = cut.tolerated_share * loss(limit, POLICY.cut_off)
    grid = [cut.floor + step * cut.rounding for step in range(196)]
    assert by_model(p, limit, balance) == max(at for at in grid if loss(at, p) <= tolerated)


def test_keep_reduce_suspend_review() -> None:
    def outcome(
        probability: float, limit: float = 20_000.0, balance: float = 4_000.0, **features: float
    ) -> Outcome:
        return apply(account(probability, limit, balance, **features), POLICY, WHEN)

    kept = outcome(0.05)
    assert (kept.action, kept.new_limit, kept.effective_on, kept.review_on) == (
        "keep",
        20_000.0,
        None,
        None,
    )
    reduced = outcome(0.25)
    assert (reduced.action, reduced.by_model) == ("reduce", True)
    assert (reduced.effective_on, reduced.review_on) == (
        datetime.date(2026, 10, 8),
        datetime.date(2027, 1, 5),
    )
    suspended = outcome(0.7)
    assert (suspended.action, suspended.new_limit) == ("suspend", 4_000.0)
    near = outcome(POLICY.cut_off)
    assert (near.action, near.new_limit, near.review_because) == (
        "review",
        20_000.0,
        ("near_cut_off",),
    )
    assert near.proposed_limit is not None
    assert near.proposed_limit < 20_000.0
    assert near.review_on == datetime.date(2026, 10, 10)
    assert outcome(0.3, 200_000.0).review_because == ("high_impact",)
    assert outcome(0.3, months_observed=2.0).review_because == ("short_history",)
    stale = dataclasses.replace(account(0.3), as_of=datetime.date(2026, 6, 1))
    assert apply(stale, POLICY, WHEN).review_because == ("stale_data",)
    by_rule = dataclasses.replace(
        account(0.01, days_past_due_now=60.0), as_of=datetime.date(2026, 6, 1)
    )
    assert apply(by_rule, POLICY, WHEN).review_because == ("stale_data",)
    assert (
        apply(
            dataclasses.replace(account(0.01), as_of=datetime.date(2026, 6, 1)), POLICY, WHEN
        ).action
        == "keep"
    )


def test_a_fully_drawn_account_cannot_be_cut_but_can_be_suspended() -> None:
    assert apply(account(0.4, 5_000.0, 5_000.0), POLICY, WHEN).action == "keep"
    assert apply(account(0.9, 5_000.0, 4_900.0), POLICY, WHEN).new_limit == 4_900.0
    over = apply(account(0.9, 5_000.0, 5_400.0), POLICY, WHEN)
    assert (over.action, over.new_limit, over.by_model) == ("suspend", 5_000.0, True)


def test_a_large_cut_by_a_rule_is_a_persons_too() -> None:
    idle = apply(account(0.01, 300_000.0, 0.0, idle_months=12.0), POLICY, WHEN)
    assert (idle.action, idle.proposed_limit, idle.review_because) == (
        "review",
        2_000.0,
        ("high_impact",),
    )
    assert apply(account(0.01, 30_000.0, 0.0, idle_months=12.0), POLICY, WHEN).action == "reduce"


def test_a_regulatory_cap_decides_by_itself_from_its_month_on() -> None:
    capped = dataclasses.replace(account(0.01, income=2_000.0), product="cash_loan")
    outcome = apply(capped, POLICY, WHEN)
    assert (outcome.action, outcome.new_limit, outcome.by_model) == ("reduce", 12_000.0, False)
    assert [hit.rule.cause for hit in outcome.hits] == ["regulation"]
    assert (
        apply(dataclasses.replace(capped, as_of=datetime.date(2025, 9, 1)), POLICY, WHEN).action
        == "keep"
    )
    assert apply(dataclasses.replace(capped, product="pay_later"), POLICY, WHEN).action == "keep"
    unknown = dataclasses.replace(account(0.01, income=math.nan), product="cash_loan")
    assert apply(unknown, POLICY, WHEN).action == "keep"


def test_a_cap_never_goes_below_what_is_drawn() -> None:
    capped = dataclasses.replace(
        account(0.01, 20_000.0, 15_050.0, income=2_000.0), product="cash_loan"
    )
    assert apply(capped, POLICY, WHEN).new_limit == 15_100.0


def test_rule_and_model_share_a_decision_where_the_model_goes_further() -> None:
    both = apply(
        dataclasses.replace(account(0.4, income=3_000.0, balance=0.0), product="cash_loan"),
        POLICY,
        WHEN,
    )
    assert [hit.rule.code for hit in both.hits] == ["income_multiple_cap"]
    assert both.by_model
    assert both.new_limit < 18_000.0


def test_past_due_suspends_whatever_the_model_says() -> None:
    outcome = apply(account(0.01, days_past_due_now=60.0), POLICY, WHEN)
    assert (outcome.action, outcome.by_model) == ("suspend", False)
    assert [hit.rule.code for hit in outcome.hits] == ["account_past_due"]


def test_hand_over_keeps_the_limit_and_adds_its_grounds() -> None:
    outcome = apply(account(0.25), POLICY, WHEN)
    handed = refer_to_reviewer(outcome, ("unmapped_reason",), 20_000.0, POLICY, WHEN)
    assert (handed.action, handed.new_limit, handed.proposed_limit) == (
        "review",
        20_000.0,
        outcome.new_limit,
    )
    assert handed.review_because == ("unmapped_reason",)
    assert handed.effective_on is None


@given(probabilities)
def test_logit_is_the_inverse_of_the_logistic(probability: float) -> None:
    assert 1 / (1 + math.exp(-logit(probability))) == pytest.approx(probability)


BROKEN = [
    ("floor = 500.0", "", "cut\\]: missing key 'floor'"),
    ("floor = 500.0", "floor = 500.0\nflor = 1.0", "unknown key 'flor', did you mean 'floor'"),
    (
        "floor = 500.0",
        'floor = "500"',
        "policy.toml: \\[cut\\] floor: expected a number of at least 0, got '500'",
    ),
    (
        "margin = 0.06",
        "margin = 1.06",
        "economics\\] margin: expected a number from 0 to 1, got 1.06",
    ),
    ("margin = 0.06", "margin = nan", "economics\\] margin: expected a number"),
    (
        'cause = "regulation"',
        'cause = "whim"',
        "rules\\[1\\]\\] cause: expected one of .* got 'whim'",
    ),
    (
        "at_least = 60",
        "at_leest = 60",
        "rules\\[0\\].when\\[0\\]\\]: expected a feature and one of",
    ),
    (
        "effect = { suspend = true }",
        "effect = { vanish = true }",
        "rules\\[0\\].effect\\]: expected cap",
    ),
    (
        'from = "2025-10"',
        'from = "October"',
        "rules\\[1\\]\\] from: expected a month .* got 'October'",
    ),
    ("notice_within_days = 30", "", "dates\\]: missing key 'notice_within_days'"),
    (
        "notice_within_days = 30",
        "notice_within_days = -1",
        "dates\\] notice_within_days: expected a number of at least 0, got -1",
    ),
    ("[economics]", "[economics", "policy.toml: expected TOML"),
    ("rounding = 100.0", "rounding = 0", "cut\\] rounding: expected a number above 0, got 0"),
]


@pytest.mark.parametrize(
    ("old", "new", "message"), BROKEN, ids=[new or "missing" for _, new, _ in BROKEN]
)
def test_a_broken_policy_names_the_key(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=message):
        read_policy(TEXT.replace(old, new, 1))


def test_every_number_of_the_policy_is_commented() -> None:
    lines = TEXT.split("[[rules]]")[0].splitlines()
    for place, line in enumerate(lines):
        if "=" in line and not line.startswith("#") and not line.startswith("version"):
            above = next(
                other
                for other in reversed(lines[:place])
                if "=" not in other or other.startswith("#")
            )
            assert above.startswith("#"), line
