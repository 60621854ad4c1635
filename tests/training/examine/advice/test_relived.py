"""The half-year lived again, against the history and against the statements."""

from __future__ import annotations

import numpy as np
import pytest

from features.window import lay_out
from serving.decision.advice.ahead.habits import HABIT_MONTHS, Habits, observe_habits
from tests.support.each import each
from training.data.simulate.behaviour import Acts
from training.data.simulate.state import State
from training.examine.advice.relived import live_again, recall_acts, take_habits
from training.examine.truth.cut_accounts import CutAccounts
from training.examine.truth.futures import untreated
from training.examine.truth.interventions import simulate_months


@pytest.fixture(scope="module")
def recalled(cut_accounts: CutAccounts) -> Habits:
    return recall_acts(cut_accounts)


def test_what_is_recalled_is_what_the_statements_show(
    cut_accounts: CutAccounts, recalled: Habits
) -> None:
    """Advice reads the same acts from the statements, but for what was borrowed elsewhere."""
    observed = observe_habits(lay_out(cut_accounts.statements))
    assert np.array_equal(recalled.length, observed.length)
    rows = np.arange(HABIT_MONTHS)[:, None]
    is_own = rows >= HABIT_MONTHS - recalled.length
    for name in each(("spend", "cash_advance", "payment", "limit_requests", "credit_inquiries")):
        own, shown = getattr(recalled, name), getattr(observed, name)
        assert own[is_own] == pytest.approx(shown[is_own]), name
        assert own[is_own].sum() > 0, name
    assert (recalled.debt_change >= 0).all()


def one_month(cut: CutAccounts, recalled: Habits, limit: float) -> tuple[State, Acts]:
    """The state after the first month lived again under a limit, and its acts."""
    count = len(cut)
    habit = recalled.repeat(0, np.zeros(count, dtype=np.int64))
    limits = np.full(count, limit)
    again = live_again(habit, limits, np.zeros(count, dtype=np.bool_))
    seen: list[Acts] = []

    def note(state: State, acts: Acts) -> Acts:
        seen.append(again(state, acts))
        return seen[-1]

    state, config = cut.population.state.take(cut.places), untreated(cut.population.config)
    ((after, _),) = simulate_months(state, 1, config, 0, note, limits)
    return after, seen[0]


def test_the_first_month_is_the_oldest_of_the_half_year(
    cut_accounts: CutAccounts, recalled: Habits
) -> None:
    state = cut_accounts.population.state.take(cut_accounts.places)
    _, acts = one_month(cut_accounts, recalled, 1e6)
    draws = state.days_past_due < 30
    assert draws.any()
    for account in each(range(len(cut_accounts))):
        oldest = HABIT_MONTHS - int(recalled.length[account])
        owed = max(float(state.balance[account]), 0.0)
        share = recalled.paid_share[oldest, account]
        paid = recalled.payment[oldest, account] if np.isnan(share) else share * owed
        assert acts.payment[account] == pytest.approx(min(paid, owed), abs=0.006)
        assert acts.credit_inquiries[account] == recalled.credit_inquiries[oldest, account]
        spent = recalled.spend[oldest, account] if draws[account] else 0.0
        assert acts.spend[account] == pytest.approx(spent, abs=0.006)


def test_nobody_draws_more_than_the_limit_leaves(
    cut_accounts: CutAccounts, recalled: Habits
) -> None:
    state = cut_accounts.population.state.take(cut_accounts.places)
    _, acts = one_month(cut_accounts, recalled, 3_000.0)
    left = np.maximum(state.balance - acts.payment, 0.0)
    room = np.maximum(3_000.0 - left, 0.0)
    drawn = acts.spend + acts.cash_advance
    assert (drawn <= room + 0.02).all()
    assert (drawn > 0).any()


def test_a_suspended_account_draws_nothing(cut_accounts: CutAccounts, recalled: Habits) -> None:
    count = len(cut_accounts)
    habit = recalled.repeat(0, np.zeros(count, dtype=np.int64))
    again = live_again(habit, np.full(count, 1e6), np.ones(count, dtype=np.bool_))
    state, config = (
        cut_accounts.population.state.take(cut_accounts.places),
        untreated(cut_accounts.population.config),
    )
    ((_, statement),) = simulate_months(state, 1, config, 0, again, np.full(count, 1e6))
    assert statement["spend"].max() == statement["cash_advance"].max() == 0.0


def test_rows_of_habits_are_taken_with_their_lengths(recalled: Habits) -> None:
    rows = np.array([2, 0, 2])
    taken = take_habits(recalled, rows)
    assert np.array_equal(taken.length, recalled.length[rows])
    assert np.array_equal(taken.spend, recalled.spend[:, rows])
