"""The true risk of accounts that follow their plan, against each account simulated by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from serving.decision.advice.rollout import Plans
from tests.support.other_plans import with_plans, without_promises
from tests.training.conftest import part_of
from training.data.simulate.state import State
from training.data.simulate.step import Columns
from training.examine.advice import plan_risk
from training.examine.advice.plan_risk import PlanRisk, Schedule, simulate_risk
from training.examine.truth.cut_accounts import CutAccounts, plans_from_paths
from training.examine.truth.futures import HORIZON, untreated
from training.examine.truth.interventions import (
    follow,
    own_ways,
    simulate_months,
    without_drawings,
)

FUTURES = 3
ARMS = ("plan", "limit_back", "carry_on", "on_the_way", "during")


@pytest.fixture(scope="module")
def risks(cut_accounts: CutAccounts) -> PlanRisk:
    return simulate_risk(cut_accounts, FUTURES)


def no_plan(suspended: bool) -> Plans:
    """A plan that changes nothing, except that a suspended account draws nothing."""
    return without_drawings(own_ways(1), np.full(1, suspended))


def default_in(lived: Iterator[tuple[State, Columns]], state: State) -> tuple[State, bool]:
    """The last state, and whether a statement shows 60 days past due or more."""
    worst = 0
    for after, columns in lived:
        state, worst = (
            after,
            max(worst, int(columns["days_past_due"][0]) if columns["open"][0] else 0),
        )
    return state, worst >= 60


def simulate_one(cut: CutAccounts, account: int, future: int) -> dict[str, bool]:
    """The outcome of each arm for one account in one future, simulated by itself."""
    one, promised = cut.cuts[account], int(cut.promised[account])
    months = promised if promised else cut.bundle.advice.search.months
    config, start = (
        untreated(cut.population.config),
        cut.population.state.take(cut.places[[account]]),
    )
    reduced, whole = np.array([max(one.limit_after, 1.0)]), np.array([one.limit_before])
    plan = plans_from_paths(cut.plans).take([account])
    if one.suspended:
        plan = replace(plan, spending=np.zeros(1), no_cash=np.ones(1))
    ways, free = no_plan(one.suspended), no_plan(suspended=False)
    after_plan, during = default_in(
        simulate_months(start, months, config, future, follow(plan), reduced), start
    )
    _, then = default_in(
        simulate_months(after_plan, HORIZON, config, future, follow(ways), reduced), after_plan
    )
    _, back = default_in(
        simulate_months(after_plan, HORIZON, config, future, follow(free), whole), after_plan
    )
    carried, on_the_way = default_in(
        simulate_months(start, months, config, future, follow(ways), reduced), start
    )
    _, later = default_in(
        simulate_months(carried, HORIZON, config, future, follow(ways), reduced), carried
    )
    return {
        "plan": during or then,
        "limit_back": during or back,
        "carry_on": on_the_way or later,
        "on_the_way": on_the_way,
        "during": during,
    }


@pytest.mark.slow
def test_risks_are_those_of_each_account_simulated_by_itself(cut_accounts: CutAccounts) -> None:
    suspended = np.flatnonzero([cut.suspended for cut in cut_accounts.cuts])[:5].tolist()
    which = sorted({*suspended, *range(0, len(cut_accounts), 15)})
    few = part_of(cut_accounts, which)
    silent = replace(few, advised=(*without_promises(few).advised[:4], *few.advised[4:]))
    assert silent.promised[:4].max() == 0 < silent.promised[4:].max()
    found = simulate_risk(silent, FUTURES)
    for account in range(len(silent)):
        slow = [simulate_one(silent, account, future) for future in range(1, FUTURES + 1)]
        for arm in ARMS:
            assert getattr(found, arm)[account] == np.mean([outcome[arm] for outcome in slow]), arm
    assert len({float(value) for value in found.carry_on}) > 2
    assert not np.array_equal(found.carry_on, found.on_the_way)


def with_suspensions(cut: CutAccounts, plans: Plans) -> Plans:
    """The plans, except that suspended accounts draw nothing."""
    return without_drawings(plans, np.array([one.suspended for one in cut.cuts]))


def test_months_are_simulated_under_the_plan_and_then_in_one_s_own_ways(
    cut_accounts: CutAccounts,
) -> None:
    count, state = len(cut_accounts), cut_accounts.population.state.take(cut_accounts.places)
    config, reduced = (
        untreated(cut_accounts.population.config),
        np.array([max(cut.limit_after, 1.0) for cut in cut_accounts.cuts]),
    )
    plans, nothing = (
        plans_from_paths(cut_accounts.plans),
        no_plan(suspended=False).take(np.zeros(count, dtype=np.int64)),
    )
    assert all(
        (getattr(plans, name) != getattr(nothing, name)).any()
        for name in Plans.__dataclass_fields__
    )
    three, never = np.full(count, 3), np.full(count, 1000)
    schedule = Schedule(plan_ends=three, limit_restored=never)
    lived = plan_risk.simulate_plans(cut_accounts, state, np.full(count, 2), schedule, 6)
    for month, (_, columns) in enumerate(lived):
        change = follow(with_suspensions(cut_accounts, plans if month < 3 else nothing))
        ((state, expected),) = simulate_months(state, 1, config, 2, change, reduced)
        for name, values in expected.items():
            assert np.array_equal(columns[name], values, equal_nan=values.dtype.kind == "f"), (
                month,
                name,
            )


def test_on_the_way_ends_with_the_promised_month_and_carrying_on_six_later(
    cut_accounts: CutAccounts, risks: PlanRisk
) -> None:
    count, state = len(cut_accounts), cut_accounts.population.state.take(cut_accounts.places)
    config, reduced = (
        untreated(cut_accounts.population.config),
        np.array([max(cut.limit_after, 1.0) for cut in cut_accounts.cuts]),
    )
    nothing = with_suspensions(
        cut_accounts, no_plan(suspended=False).take(np.zeros(count, dtype=np.int64))
    )
    promised = np.where(
        cut_accounts.promised > 0, cut_accounts.promised, cut_accounts.bundle.advice.search.months
    )
    sums = np.zeros((2, count))
    for future in range(1, FUTURES + 1):
        shown = [
            np.where(columns["open"], columns["days_past_due"], 0) >= 60
            for _, columns in simulate_months(
                state, int(promised.max()) + HORIZON, config, future, follow(nothing), reduced
            )
        ]
        for account in range(count):
            own = [bool(month[account]) for month in shown]
            sums[:, account] += (
                any(own[: promised[account]]),
                any(own[: promised[account] + HORIZON]),
            )
    assert risks.on_the_way == pytest.approx(sums[0] / FUTURES)
    assert risks.carry_on == pytest.approx(sums[1] / FUTURES)


@pytest.mark.parametrize("rows", [1, 20])
def test_risks_do_not_depend_on_how_many_live_together(
    rows: int, cut_accounts: CutAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = part_of(cut_accounts, list(range(0, len(cut_accounts), 9)))
    whole = simulate_risk(few, FUTURES)
    monkeypatch.setattr(plan_risk, "ROWS", rows)
    apart = simulate_risk(few, FUTURES)
    for arm in ARMS:
        assert getattr(apart, arm) == pytest.approx(getattr(whole, arm), abs=1e-12)


def test_who_pays_on_time_does_not_default_meanwhile(
    cut_accounts: CutAccounts, risks: PlanRisk
) -> None:
    assert (plans_from_paths(cut_accounts.plans).on_time == 1).all()
    assert not risks.during.any()
    emptied = simulate_risk(
        with_plans(cut_accounts, lambda course: replace(course, steps=())), FUTURES
    )
    assert emptied.during.mean() > 0.1
    assert np.array_equal(emptied.during, risks.on_the_way)
    assert np.array_equal(emptied.plan, risks.carry_on)


def test_risks_hold_each_other(risks: PlanRisk) -> None:
    for arm in ARMS:
        values = getattr(risks, arm)
        assert ((values >= 0) & (values <= 1)).all()
    assert (risks.carry_on >= risks.on_the_way).all()
    assert (risks.plan >= risks.during).all()
    assert (risks.limit_back >= risks.during).all()
    assert risks.plan.mean() < risks.carry_on.mean() - 0.1


def test_the_cut_is_in_force_until_the_limit_is_back(cut_accounts: CutAccounts) -> None:
    count, months = len(cut_accounts), 6
    restored = np.arange(count) % 5
    state = cut_accounts.population.state.take(np.tile(cut_accounts.places, 2))
    suspended = np.array([cut.suspended for cut in cut_accounts.cuts])
    before, after = (
        np.array([getattr(cut, name) for cut in cut_accounts.cuts])
        for name in ("limit_before", "limit_after")
    )
    futures, nobody = np.repeat([1, 2], count), np.zeros(count, dtype=np.int64)
    schedule = Schedule(plan_ends=nobody, limit_restored=restored)
    drawn = np.zeros(count)
    for month, (_, columns) in enumerate(
        plan_risk.simulate_plans(cut_accounts, state, futures, schedule, months)
    ):
        reduced = month < restored
        limit, spend, cash = (
            columns[name].reshape(2, count) for name in ("credit_limit", "spend", "cash_advance")
        )
        shown = columns["open"].reshape(2, count).astype(np.bool_)
        expected = np.tile(np.where(reduced, np.maximum(after, 1.0), before), (2, 1))
        assert np.array_equal(limit[shown], expected[shown])
        assert not (spend + cash)[:, suspended & reduced].any()
        drawn += (spend + cash).sum(axis=0)
    assert (drawn[suspended] > 0).any(), "the limit is back, and used"
    assert (drawn[~suspended] > 0).mean() > 0.3
