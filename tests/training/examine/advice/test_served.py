"""The served decision asked about simulated accounts, and its answers in force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serving.decision.policy.prior import after
from tests.support.each import each
from training.data.labels import soon_after
from training.data.simulate.config import calendar_month
from training.examine.advice import served
from training.examine.advice.follow import first_in_force
from training.examine.advice.served import (
    InForce,
    Simulated,
    ask,
    change_of,
    put_in_force,
    simulate_month,
)
from training.examine.truth.cut_accounts import CutAccounts
from training.examine.truth.futures import untreated
from training.examine.truth.interventions import own_ways


def now(cut: CutAccounts, futures: int = 1) -> Simulated:
    """The accounts of the cohort on the day of decision, in this many futures."""
    places = np.tile(cut.places, futures)
    window = tuple(
        (number, {name: values[places] for name, values in columns.items()})
        for number, columns in cut.population.months
    )
    numbers = np.repeat(np.arange(futures), len(cut))
    return Simulated(cut.population.state.take(places), window, numbers)


def nothing(rows: int) -> InForce:
    """Nothing in force for so many rows."""
    return InForce(np.full(rows, 1e4), np.zeros(rows, dtype=np.bool_), (None,) * rows)


def test_asked_today_without_a_prior_the_answers_are_those_of_the_cohort(
    cut_accounts: CutAccounts,
) -> None:
    count = len(cut_accounts)
    config = untreated(cut_accounts.population.config)
    answers = ask(now(cut_accounts), np.arange(count), nothing(count), config, cut_accounts.bundle)
    assert answers == [advised.decision for advised in cut_accounts.advised]


@pytest.mark.parametrize("rows_a_call", [1, 7, 4000])
def test_answers_do_not_depend_on_who_is_asked_about_together(
    cut_accounts: CutAccounts, monkeypatch: pytest.MonkeyPatch, rows_a_call: int
) -> None:
    monkeypatch.setattr(served, "ROWS_A_CALL", rows_a_call)
    config = untreated(cut_accounts.population.config)
    count = len(cut_accounts)
    twice = first_in_force(cut_accounts).take(np.tile(np.arange(count), 2))
    rows = np.array([2, 3, 5, 8, 13, count + 3, count + 8])
    simulated = now(cut_accounts, 2)
    answers = ask(simulated, rows, twice, config, cut_accounts.bundle)
    names = [cut_accounts.advised[row % count].decision.account_id for row in rows.tolist()]
    assert [answer.account_id for answer in answers] == names
    assert [answer.prior for answer in answers] == [twice.priors[row] for row in rows.tolist()]
    assert answers[1].decision_id == answers[5].decision_id


def test_what_is_in_force_is_what_the_answers_left(cut_accounts: CutAccounts) -> None:
    first = first_in_force(cut_accounts)
    policy = cut_accounts.bundle.policy
    balances = cut_accounts.population.state.balance[cut_accounts.places]
    for row, advised in each(enumerate(cut_accounts.advised)):
        decision = advised.decision
        assert first.limit[row] == decision.new_limit
        assert first.suspended[row] == (decision.action == "suspend")
        prior = first.priors[row]
        assert prior == after(None, change_of(decision, float(balances[row]), policy))
        assert prior is not None
        assert prior.limit_before == decision.credit_limit
        assert prior.balance_before == balances[row]


def test_other_rows_keep_what_is_in_force(cut_accounts: CutAccounts) -> None:
    first = first_in_force(cut_accounts)
    rows = np.array([4])
    changed = replace(cut_accounts.advised[4].decision, new_limit=123.0, suspended=True)
    owed = np.array([10.0])
    left = put_in_force(first, rows, [changed], owed, cut_accounts.bundle.policy)
    others = np.arange(len(cut_accounts)) != 4
    assert np.array_equal(left.limit[others], first.limit[others])
    assert np.array_equal(left.suspended[others], first.suspended[others])
    assert left.priors[:4] == first.priors[:4]
    assert left.priors[5:] == first.priors[5:]
    assert (left.limit[4], left.suspended[4]) == (123.0, True)
    assert first.limit[4] != 123.0, "the argument is not changed"


def test_the_next_statement_shows_the_limit_and_suspended_accounts_draw_nothing(
    cut_accounts: CutAccounts,
) -> None:
    count = len(cut_accounts)
    in_force = first_in_force(cut_accounts)
    limit = in_force.limit.copy()
    limit[0] = 0.0  # a limit of zero has no utilization, and is shown as it is
    in_force = replace(in_force, limit=limit, suspended=np.arange(count) % 2 == 0)
    config = untreated(cut_accounts.population.config)
    later = simulate_month(now(cut_accounts), own_ways(count), in_force, config)
    shown = later.last
    assert np.array_equal(shown["credit_limit"], limit)
    drawn = shown["spend"] + shown["cash_advance"]
    assert not drawn[::2].any()
    assert (drawn[1::2] > 0).mean() > 0.3
    assert later.window[-1][0] == cut_accounts.population.state.months_done
    month = calendar_month(later.state.months_done - 1, config)
    rows = np.flatnonzero(shown["open"])
    [answer, *_] = ask(later, rows, in_force, config, cut_accounts.bundle)
    assert (answer.as_of, answer.decided_at) == (month, soon_after(month))
