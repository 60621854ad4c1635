"""The compiled policy against the one that is read, to the last bit."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections import Counter
from typing import get_args

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import CATALOGUE
from features.ledger import Terms
from features.months import add_months, month_index
from features.schema import PRODUCTS
from features.types import Vector
from serving.decision.config.policy import (
    Condition,
    CutSettings,
    Policy,
    Restore,
    ReviewSettings,
    Rule,
    Step,
)
from serving.decision.policy.compiled import days, months, numbers, outcome, rules
from serving.decision.policy.dates import local_date
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Action, Outcome, apply, change_of
from serving.decision.policy.prior import Prior, after
from serving.decision.scoring.score import logit
from tests.support.each import each
from tests.support.memory import draw_accounts, follow
from tests.support.policies import DECIDED_AT, POLICY

ACTIONS = get_args(Action)
dates = st.dates(datetime.date(1999, 1, 1), datetime.date(2101, 1, 1))


@given(dates, st.integers(0, 40), st.integers(0, 90))
def test_days_are_those_of_the_calendar(day: datetime.date, later: int, more: int) -> None:
    number = numbers.day_number(day)
    assert numbers.day_of(number) == day
    assert numbers.day_of(days.add_months(number, later)) == add_months(day, later)
    assert numbers.day_of(days.add_days(number, more)) == day + datetime.timedelta(days=more)
    assert math.isnan(days.add_months(math.nan, later))


def seen(found: Outcome) -> tuple[object, ...]:
    return (
        found.action,
        found.new_limit,
        found.suspended,
        found.proposed_limit,
        found.effective_on,
        found.review_on,
    )


def decide(
    account: Account, policy: Policy, today: datetime.date
) -> tuple[tuple[object, ...], Vector]:
    """The outcome by the compiled policy, as :func:`seen`, and the prior that it leaves."""
    number = numbers.numbers_of(policy)
    own = np.full(outcome.OWN_WIDTH, np.nan)
    own[outcome.PROBABILITY] = account.probability_measured
    own[outcome.LOG_ODDS] = account.log_odds_measured
    own[outcome.LOG_ODDS_NOW] = logit(account.probability)
    own[outcome.AS_OF] = month_index(account.as_of)
    own[outcome.TODAY] = numbers.day_number(today)
    prior, out, change = np.empty(12), np.empty(outcome.OUT_WIDTH), np.empty(9)
    numbers.write_prior(account.prior, prior)
    outcome.decide(
        np.array([account.features[feature.name] for feature in CATALOGUE]),
        number.places,
        own,
        prior,
        number.settings,
        PRODUCTS.index(account.product),
        number.products,
        number.steps,
        number.rules,
        number.conditions,
        out,
    )
    outcome.put_in_force(out, own, change, prior)
    proposed = out[outcome.PROPOSED]
    found = (
        ACTIONS[int(out[outcome.ACTION])],
        out[outcome.NEW_LIMIT],
        bool(out[outcome.SUSPENDED]),
        None if np.isnan(proposed) else proposed,
        numbers.day_of(out[outcome.EFFECTIVE]),
        numbers.day_of(out[outcome.REVIEW_ON]),
    )
    return found, prior


def check(account: Account, policy: Policy, decided_at: datetime.datetime) -> Outcome:
    today = local_date(decided_at, policy)
    expected = apply(account, policy, decided_at)
    found, left = decide(account, policy, today)
    context = (account, expected)
    assert found == seen(expected), context
    prior = np.empty(12)
    numbers.write_prior(after(account.prior, change_of(expected, account, "x", today)), prior)
    if prior[0] == 0.0:
        assert left[0] == 0.0, context
    else:
        np.testing.assert_array_equal(left, prior, err_msg=str(context))
    return expected


amount = st.one_of(
    st.sampled_from([0.0, 450.0, 2_000.0, 20_000.0]),
    st.floats(0.0, 200_000.0).map(lambda value: round(value, 2)),
)
share = st.sampled_from([0.0, 0.05, 0.1, 0.5, 1.0])
COMPARISONS = ("at_least", "at_most", "above", "below")


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """The project's policy with other settings and further rules."""
    cut = CutSettings(
        depth=draw(st.sampled_from([0.0, 1.0, 3.0])),
        headroom=draw(share),
        largest_step=draw(st.sampled_from([0.1, 0.5, 1.0])),
        floor=draw(amount),
        rounding=draw(st.sampled_from([0.01, 50.0, 100.0])),
        minimum_cut_share=draw(share),
        minimum_cut_amount=draw(st.sampled_from([0.0, 200.0])),
        minimum_expected_loss=draw(st.sampled_from([0.0, 30.0])),
        again_after_months=draw(st.integers(0, 12)),
        again_if_worse=draw(st.sampled_from([0.0, 0.5])),
    )
    first, second = draw(st.sampled_from([(0.3, 1.0), (0.1, 0.2)]))
    review = ReviewSettings(
        band=draw(st.sampled_from([0.0, 0.1])),
        high_impact_amount=draw(amount),
        high_impact_share=draw(share),
        high_impact_incomes=draw(st.sampled_from([0.5, 4.0])),
        minimum_months=draw(st.sampled_from([0.0, 3.0])),
        stale_months=draw(st.sampled_from([0.0, 3.0])),
    )
    return dataclasses.replace(
        POLICY,
        cut=cut,
        restore=Restore(draw(st.integers(0, 4)), (Step(first, 0.5), Step(second, 1.0))),
        review=review,
        dates=dataclasses.replace(POLICY.dates, effective_after_days=draw(st.integers(0, 40))),
        terms=Terms(monthly_rate=draw(share)),
        rules=(*POLICY.rules, *draw(st.lists(drawn_rules(), max_size=2))),
    )


@st.composite
def drawn_rules(draw: st.DrawFn) -> Rule:
    names = st.sampled_from(["income", "days_past_due_now", "idle_months", "limit_now"])
    condition = Condition(draw(names), draw(st.sampled_from(COMPARISONS)), draw(amount))
    effect = draw(st.sampled_from(["cap", "cap_of", "suspend", "review"]))
    return Rule(
        code=f"drawn_{draw(st.integers(0, 10**9))}",
        cause=draw(st.sampled_from(["risk", "regulation"])),
        when=(condition,),
        en="",
        zh="",
        products=draw(st.sampled_from([None, frozenset(["cash_loan"])])),
        first_month=draw(st.sampled_from([None, datetime.date(2026, 9, 1)])),
        cap=draw(amount) if effect == "cap" else None,
        cap_of="income" if effect == "cap_of" else None,
        times=draw(st.sampled_from([0.5, 6.0])),
        suspend=effect == "suspend",
        review=effect == "review",
    )


@given(policies(), st.integers(0, 2**31 - 1), st.data())
def test_an_account_gets_the_same_in_any_month(
    policy: Policy, seed: int, data: st.DataObject
) -> None:
    """Three accounts for some months; days within a month, risk and debt change in between."""
    random = np.random.default_rng(seed)

    def move(account: Account, month: int) -> Account:
        chance = 1.0 / (1.0 + math.exp(-random.normal(-1.5, 1.5)))
        owed = round(account.features["balance_now"] * float(random.choice([0.5, 1.0, 1.2])), 2)
        return dataclasses.replace(
            account, probability=chance, features={**account.features, "balance_now": owed}
        )

    later = datetime.timedelta(days=int(random.integers(0, 120)))
    for current, _ in follow(draw_accounts(3, seed), policy, 7, move):
        for account in each(current):
            check(account, policy, DECIDED_AT + later)


def test_each_action_is_compared() -> None:
    """The control: what the property above compares is not one thing."""
    actions: Counter[str] = Counter()
    random = np.random.default_rng(3)

    def move(account: Account, month: int) -> Account:
        chance = 1.0 / (1.0 + math.exp(-random.normal(-1.5, 1.5)))
        return dataclasses.replace(account, probability=chance)

    for month, (current, _) in enumerate(follow(draw_accounts(60, 18), POLICY, 10, move)):
        later = add_months(DECIDED_AT.date(), month)
        decided_at = datetime.datetime.combine(later, DECIDED_AT.timetz())
        actions.update(check(account, POLICY, decided_at).action for account in each(current))
    assert set(actions) == set(ACTIONS)
    assert min(actions.values()) > 5, actions


@given(st.floats(0.0, 1.0))
def test_the_log_odds_of_a_probability_have_the_same_bits(probability: float) -> None:
    assert months.logit(probability) == logit(probability)


def test_settings_stand_at_their_places() -> None:
    """Each place of the compiled limits and rules has the field that its name says."""
    assert rules.WIDTH == rules.REVIEWS + 1
    settings = numbers.numbers_of(POLICY).settings
    assert len(settings) == 23
    assert numbers.numbers_of(POLICY) is numbers.numbers_of(POLICY)
    assert numbers.numbers_of(dataclasses.replace(POLICY)) is not numbers.numbers_of(POLICY)


def test_a_prior_of_each_kind_is_written() -> None:
    row = np.empty(12)
    numbers.write_prior(None, row)
    assert row[0] == 0.0
    fields = {field.name for field in dataclasses.fields(Prior)}
    left_out = {"restored_on", "decisions"}
    assert len(fields - left_out) == len(row) - 1
