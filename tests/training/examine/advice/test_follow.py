"""Promises followed through the served decision, against the ledger and against one account."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest

from features.months import add_months, months_between
from features.schema import LONGEST_WINDOW
from features.types import Mask, Rows
from features.window import lay_out
from serving.decision.advice.result import PlanPath
from serving.decision.advice.rollout import Plans, roll_forward
from serving.decision.pipeline import decide
from serving.decision.policy.prior import Change, Prior, after
from serving.decision.result import Decision
from tests.support.each import each
from tests.support.other_plans import with_plans, without_promises, without_steps
from tests.training.conftest import part_of
from training.data.labels import soon_after
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import as_table
from training.data.simulate.shocks import ILLNESS, INCOME_LOSS
from training.examine.advice import follow as follow_module
from training.examine.advice import served
from training.examine.advice.follow import (
    AS_CUSTOMERS_DO,
    CARRY_ON,
    FOLLOWED,
    Conduct,
    FollowedPlans,
    follow_plans,
)
from training.examine.advice.served import InForce, Simulated, change_of
from training.examine.truth.cut_accounts import CutAccounts, plans_from_paths
from training.examine.truth.futures import untreated
from training.examine.truth.interventions import follow as do
from training.examine.truth.interventions import simulate_months, while_followed
from training.examine.truth.population import take_rows

ONCE = Conduct(futures=1, months_after=0)
MASKS = [field.name for field in fields(FollowedPlans)][1:]


@pytest.fixture(scope="module")
def followed(cut_accounts: CutAccounts) -> FollowedPlans:
    return follow_plans(cut_accounts)


def share_kept(found: FollowedPlans) -> float:
    return float(found.kept[:, found.asked].mean())


def exact_months(
    cut: CutAccounts,
) -> Callable[[Simulated, Plans, InForce, SimulationConfig, bool], Simulated]:
    """Months exactly as advice rolls them forward; replaces ``follow.simulate_month``."""
    limits: list[np.ndarray] = []
    suspended: list[np.ndarray] = []
    place_of = {number: place for place, number in enumerate(cut.places.tolist())}

    def simulate(
        simulated: Simulated,
        plans: Plans,
        in_force: InForce,
        config: SimulationConfig,
        exactly: bool = False,
    ) -> Simulated:
        state = simulated.state
        limits.append(in_force.limit)
        suspended.append(in_force.suspended)
        account = np.array([place_of[number] for number in state.accounts.tolist()])
        window = lay_out(cut.statements).take(account)
        terms = cut.bundle.policy.terms
        lived = roll_forward(window, plans, np.array(limits), np.array(suspended), terms)
        columns = {name: values[0] for name, values in lived.items()}
        columns["open"] = np.ones(state.count, dtype=np.bool_)
        months = (*simulated.window, (state.months_done, columns))
        later = replace(state, months_done=state.months_done + 1)
        return replace(simulated, state=later, window=months[-LONGEST_WINDOW:])

    return simulate


class Answers:
    """The answers by account and month, as a witness of :func:`follow_plans` in one future."""

    def __init__(self) -> None:
        self.of: dict[tuple[int, int], Decision] = {}

    def __call__(self, month: int, accounts: Rows, decisions: Sequence[Decision]) -> None:
        for account, decision in zip(accounts.tolist(), decisions, strict=True):
            assert (account, month) not in self.of, "one future"
            self.of[account, month] = decision


def test_followed_to_the_letter_every_answer_is_that_of_the_path(
    cut_accounts: CutAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the months are those that advice projected, the service gives what it promised."""
    monkeypatch.setattr(follow_module, "simulate_month", exact_months(cut_accounts))
    answers = Answers()
    found = follow_plans(cut_accounts, ONCE, answers)
    assert found.kept[0][found.asked].all()
    assert not (found.cut_again | found.proposed_again).any()
    plans = cut_accounts.plans
    for (account, month), decision in each(answers.of.items()):
        foreseen = plans[account].path[month]
        assert decision.as_of == foreseen.month
        assert decision.new_limit == foreseen.limit, (decision.account_id, month)
        assert decision.probability == pytest.approx(foreseen.probability, abs=1e-9)


def promising(plan: PlanPath, month: datetime.date) -> PlanPath:
    """The plan with the promise of the limit that it brings back at last, in this month."""
    limit = max(ahead.limit for ahead in plan.path)
    path = tuple(replace(ahead, limit=limit) for ahead in plan.path)
    return replace(plan, restored=month, path=path)


@pytest.mark.slow
def test_other_plans_do_not_keep_the_promise(
    cut_accounts: CutAccounts, followed: FollowedPlans
) -> None:
    """The controls: no steps, the promise of next month, and a lender that forgets."""
    emptied = follow_plans(without_steps(cut_accounts), ONCE)
    assert np.array_equal(emptied.promised, followed.promised)
    assert share_kept(emptied) < share_kept(followed) - 0.4
    early = add_months(cut_accounts.population.as_of, 1)
    hasty = with_plans(cut_accounts, lambda plan: promising(plan, early))
    assert share_kept(follow_plans(hasty, ONCE)) < share_kept(followed) - 0.4


def test_a_lender_that_forgets_restores_nothing(
    cut_accounts: CutAccounts, followed: FollowedPlans, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(prior: Prior | None, change: Change) -> Prior | None:
        return None

    monkeypatch.setattr(served, "after", forget)
    found = follow_plans(cut_accounts, ONCE)
    assert share_kept(found) < 0.1
    # Those promised the earliest month that the policy allows are soon below the cut-off.
    late = found.promised > cut_accounts.bundle.policy.restore.after_months
    assert late.sum() > 20
    assert (found.cut_again | found.proposed_again)[:, late].mean() > 0.5
    assert (followed.cut_again | followed.proposed_again)[:, late].mean() < 0.25


def test_most_plans_are_kept(followed: FollowedPlans) -> None:
    assert share_kept(followed) > 0.85


def ask_alone(
    cut: CutAccounts, account: int, future: int, conduct: Conduct
) -> list[tuple[Decision, bool]]:
    """The answers to one account asked every month until the last month that may be asked."""
    population, bundle = cut.population, cut.bundle
    config = untreated(population.config)
    place = cut.places[[account]]
    plan = plans_from_paths(cut.plans).take([account])
    nothing = while_followed(plan, np.zeros(1, dtype=np.bool_))
    first = cut.advised[account].decision
    owed = float(population.state.balance[place][0])
    prior = after(None, change_of(first, owed, bundle.policy))
    limit, suspended = first.new_limit, first.suspended
    state, window = population.state.take(place), take_rows(population.months, place)
    promised, target = int(cut.promised[account]), cut.promised_limit[account]
    following, back = True, -1
    answers = []
    for month in range(promised + 1 + conduct.months_after):
        if not following and (back < 0 or month > back + conduct.months_after):
            break
        own = plan if following or conduct.keeps_on else nothing
        if suspended:
            own = replace(own, spending=np.zeros(1), no_cash=np.ones(1))
        ((state, columns),) = simulate_months(
            state, 1, config, future, do(own), np.array([max(limit, 1.0)])
        )
        window.append((state.months_done - 1, {**columns, "credit_limit": np.array([limit])}))
        window = window[-LONGEST_WINDOW:]
        if not columns["open"][0]:
            following &= month < promised
            continue
        names = pl.Series([first.account_id])
        statements = as_table(names, state.traits.cash_loan, window, config)
        as_of = add_months(population.as_of, month + 1)
        decision = decide(statements, bundle, soon_after(as_of), prior)
        answers.append((decision, following))
        balance = float(columns["balance"][0])
        prior = after(decision.prior, change_of(decision, balance, bundle.policy))
        limit, suspended = decision.new_limit, decision.suspended
        is_back = limit >= target and not suspended
        if following and is_back and month + 1 >= promised:
            following, back = False, month
        elif month >= promised:
            following = False
    return answers


@pytest.mark.parametrize("conduct", [AS_CUSTOMERS_DO, Conduct(keeps_on=True)])
def test_the_book_is_followed_as_each_account_by_itself(
    cut_accounts: CutAccounts, conduct: Conduct
) -> None:
    which = [int(place) for place in np.flatnonzero(cut_accounts.promised > 0)[::12]]
    few = part_of(cut_accounts, which)
    seen: dict[int, list[tuple[int, Decision]]] = {}

    def note(month: int, accounts: Rows, decisions: Sequence[Decision]) -> None:
        for account, decision in zip(accounts.tolist(), decisions, strict=True):
            seen.setdefault(account, []).append((month, decision))

    found = follow_plans(few, conduct, note)
    for account in each(range(len(few))):
        alone = [ask_alone(few, account, future, conduct) for future in range(FOLLOWED)]
        expected = [decision for answers in alone for decision, _ in answers]
        assert len(expected) == len(seen[account])
        assert {decision.decision_id for decision in expected} == {
            decision.decision_id for _, decision in seen[account]
        }
        for future, answers in enumerate(alone):
            cuts = [
                following
                for decision, following in answers
                if decision.new_limit < decision.credit_limit
            ]
            if cuts:
                assert found.cut_again[future, account] == any(cuts) or found.cut_after.any()
            steps = [decision.action == "restore" for decision, following in answers if following]
            assert found.kept[future, account] <= any(steps)


def test_what_is_not_promised_is_not_followed(cut_accounts: CutAccounts) -> None:
    pairs = zip(without_promises(cut_accounts).advised, cut_accounts.advised, strict=True)
    mixed = replace(
        cut_accounts, advised=tuple(pair[place % 2] for place, pair in enumerate(pairs))
    )
    found = follow_plans(mixed, ONCE)
    assert (found.promised[::2] == 0).all()
    for name in each(MASKS[1:]):
        mask: Mask = getattr(found, name)
        assert not mask[:, ~found.asked].any(), name
    assert share_kept(found) > 0.8
    silent = follow_plans(without_promises(cut_accounts), ONCE)
    assert not silent.asked.any()
    assert not silent.kept.any()


def test_a_plan_is_followed_whoever_stands_beside(
    cut_accounts: CutAccounts, followed: FollowedPlans
) -> None:
    which = list(range(0, len(cut_accounts), 9))
    alone = follow_plans(part_of(cut_accounts, which))
    for name in each(MASKS):
        mask: Mask = getattr(followed, name)
        assert np.array_equal(getattr(alone, name), mask[..., which]), name


def test_shocks_are_those_until_the_limit_is_back_or_the_month_after_the_promised_one(
    cut_accounts: CutAccounts,
) -> None:
    answers = Answers()
    found = follow_plans(cut_accounts, ONCE, answers)
    plans, config = plans_from_paths(cut_accounts.plans), untreated(cut_accounts.population.config)
    for account in each(np.flatnonzero(found.asked)[::10].tolist()):
        state = cut_accounts.population.state.take(cut_accounts.places[[account]])
        own = [month for asked, month in answers.of if asked == account]
        struck = False
        for _ in range(max(own) + 1):
            before = state
            ((state, _),) = simulate_months(
                state, 1, config, 0, do(plans.take([account])), np.array([1e5])
            )
            is_new = int(state.shock[0]) in (INCOME_LOSS, ILLNESS)
            struck |= is_new and state.shock[0] != before.shock[0]
        assert found.shocked[0, account] == struck
    assert 0.02 < found.shocked.mean() < 0.95


@pytest.mark.slow
def test_more_shocks_are_seen_where_more_strike(cut_accounts: CutAccounts) -> None:
    assert not follow_plans(with_shock_rate(cut_accounts, 0.0), ONCE).shocked.any()
    struck = follow_plans(with_shock_rate(cut_accounts, 10.0), ONCE).shocked
    assert struck.mean() > follow_plans(cut_accounts, ONCE).shocked.mean() + 0.1


def with_shock_rate(cut: CutAccounts, shock_rate: float) -> CutAccounts:
    """The same accounts, with another rate of shocks from now on."""
    config = replace(cut.population.config, shock_rate=shock_rate)
    return replace(cut, population=replace(cut.population, config=config))


@pytest.mark.slow
def test_who_carries_on_is_asked_for_as_long_as_advice_looks_ahead(
    cut_accounts: CutAccounts,
) -> None:
    answers = Answers()
    found = follow_plans(cut_accounts, replace(CARRY_ON, futures=1, months_after=0), answers)
    assert found.asked.all()
    months = cut_accounts.bundle.advice.search.months
    for account in each(range(len(cut_accounts))):
        last = max(month for asked, month in answers.of if asked == account)
        has_ended = found.closed[0, account] | found.written_off[0, account]
        is_over = bool(found.kept[0, account] | has_ended)
        assert last == months - 1 or is_over
    assert max(month for _, month in answers.of) == months - 1


def test_who_is_written_off_has_not_closed_the_account(cut_accounts: CutAccounts) -> None:
    """They count as not restored; as closed accounts they would count nowhere."""
    found = follow_plans(cut_accounts, replace(CARRY_ON, futures=1, months_after=0))
    assert found.written_off.sum() > 10
    assert not (found.written_off & (found.closed | found.kept)).any()


def test_the_promised_limit_is_that_of_the_promised_month(cut_accounts: CutAccounts) -> None:
    limits = cut_accounts.promised_limit
    as_of = cut_accounts.population.as_of
    for account, plan in each(enumerate(cut_accounts.plans)):
        if plan.restored is None:
            assert np.isnan(limits[account])
        else:
            month = plan.path[months_between(as_of, plan.restored) - 1]
            assert limits[account] == month.limit
            assert month.limit <= cut_accounts.cuts[account].limit_before
