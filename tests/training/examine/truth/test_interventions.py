from __future__ import annotations

import numpy as np
import pytest

from serving.decision.advice.rollout import Plans
from tests.support.each import each
from training.data.simulate.config import SimulationConfig
from training.data.simulate.state import State
from training.data.simulate.step import begin, step
from training.examine.truth.interventions import Intervention, follow, simulate_months

CONFIG = SimulationConfig(accounts=3000, seed=4)
MONTHS = 8


@pytest.fixture(scope="module")
def state() -> State:
    """The accounts after a year."""
    now = begin(CONFIG, 0, CONFIG.accounts)
    for month in range(12):
        now, _ = step(now, month, CONFIG)
    return now


def plans(**changes: float) -> Plans:
    as_before = {
        "on_time": 0.0,
        "extra": 0.0,
        "spending": np.inf,
        "no_cash": 0.0,
        "no_new_credit": 0.0,
        "repay_elsewhere": 0.0,
        "paid_share": 0.0,
        "paid_now": 0.0,
    }
    values = {
        name: np.full(CONFIG.accounts, value) for name, value in (as_before | changes).items()
    }
    return Plans(**values)


def simulate(
    state: State, change: Intervention | None, future: int = 1, limit: np.ndarray | None = None
) -> list[tuple[State, dict[str, np.ndarray]]]:
    return [
        (after, dict(columns))
        for after, columns in simulate_months(state, MONTHS, CONFIG, future, change, limit)
    ]


def test_a_plan_that_names_nothing_changes_nothing(state: State) -> None:
    pairs = zip(simulate(state, None), simulate(state, follow(plans())), strict=True)
    for (one, columns), (other, same) in each(pairs):
        for name, values in each(columns.items()):
            assert np.array_equal(values, same[name], equal_nan=values.dtype.kind == "f"), name
        assert np.array_equal(one.savings, other.savings)


def test_what_befalls_a_customer_is_the_same_with_a_plan(state: State) -> None:
    change = follow(plans(on_time=1.0, extra=200.0, spending=300.0, no_cash=1.0, no_new_credit=1.0))
    pairs = zip(simulate(state, None), simulate(state, change), strict=True)
    for (without, _), (with_plan, _) in each(pairs):
        for name in ("shock", "severity", "appetite", "reported_income"):
            assert np.array_equal(getattr(without, name), getattr(with_plan, name)), name


def test_who_follows_a_plan_does_what_it_says(state: State) -> None:
    change = follow(plans(on_time=1.0, extra=200.0, spending=300.0, no_cash=1.0, no_new_credit=1.0))
    before = state
    for after, columns in each(simulate(state, change)):
        shown = columns["open"]
        assert (columns["days_past_due"][shown] == 0).all()
        assert (columns["spend"][shown] <= 300.0).all()
        for name in ("cash_advance", "limit_requests", "credit_inquiries"):
            assert (columns[name][shown] == 0).all(), name
        told = np.minimum(
            before.minimum_due + 200.0, np.maximum(before.balance, before.minimum_due)
        )
        assert (columns["payment"][shown] >= told[shown] - 0.01).all()
        before = after


def next_month(
    state: State, **changes: float
) -> tuple[State, State, dict[str, np.ndarray], np.ndarray]:
    """The next month without and with a plan.

    Returns both states, the plan's statements, and which accounts no cap or floor truncates.
    """
    (without, own), (with_plan, told) = (
        simulate(state, change)[0] for change in (None, follow(plans(**changes)))
    )
    most = 2.9 * state.traits.income_level
    whole = (
        own["open"]
        & (without.external_debt > 1000.0)
        & (with_plan.external_debt > 0)
        & (without.savings < most)
    )
    told["more"] = told["payment"] - own["payment"]
    return without, with_plan, told, whole


def test_money_that_is_paid_is_missing_elsewhere(state: State) -> None:
    """Additional payments come out of savings or new debt elsewhere."""
    without, with_plan, told, whole = next_month(state, on_time=1.0, extra=500.0)
    assert (told["more"] >= 0).all()
    assert (told["more"][whole] > 0).sum() > 100
    missing = (without.savings - with_plan.savings) + (
        with_plan.external_debt - without.external_debt
    )
    assert np.abs(missing - told["more"])[whole].max() < 0.01


def test_debt_elsewhere_is_repaid_out_of_the_purse(state: State) -> None:
    without, with_plan, _, whole = next_month(state, repay_elsewhere=400.0)
    rich = whole & (without.savings > 1000.0) & (state.external_debt > 1000.0)
    assert rich.sum() > 50
    assert (without.external_debt - with_plan.external_debt)[rich] == pytest.approx(
        np.full(rich.sum(), 400.0)
    )
    assert (without.savings - with_plan.savings)[rich] == pytest.approx(np.full(rich.sum(), 400.0))


def test_a_limit_is_in_force_where_it_is_given(state: State) -> None:
    given = np.where(np.arange(CONFIG.accounts) % 2 == 0, 700.0, np.nan)
    pairs = zip(simulate(state, None), simulate(state, None, limit=given), strict=True)
    for (_, own), (_, told) in each(pairs):
        assert (told["credit_limit"][told["open"] & ~np.isnan(given)] == 700.0).all()
        assert np.array_equal(own["credit_limit"][1::2], told["credit_limit"][1::2])


def test_what_a_plan_does_to_the_true_risk(state: State) -> None:
    """Measured by outcomes over common futures, of accounts with a balance, not by a model."""
    whose = (
        (state.balance > 500.0)
        & ~state.ended
        & (state.days_past_due < 60)
        & (state.traits.opened_month < 6)
    )

    def risk(**changes: float) -> float:
        shares = []
        for future in range(1, 6):
            worst = np.zeros(CONFIG.accounts)
            for _, columns in simulate_months(state, 6, CONFIG, future, follow(plans(**changes))):
                worst = np.maximum(worst, np.where(columns["open"], columns["days_past_due"], 0))
            shares.append(float((worst[whose] >= 60).mean()))
        return float(np.mean(shares))

    as_before = risk()
    assert as_before > 0.01
    assert risk(on_time=1.0) == 0.0
    assert risk(spending=0.0) < as_before
