"""do(group := reference level): what would have been, had a customer done one thing as the accounts
do that keep their limit.

Each reason group has a driver, and no act belongs to two: else the largest cause would be the
driver that contains the others. What a customer does in a month is an act: paying on time, repaying
a share of the balance, spending, drawing cash, asking for credit (and being granted it).  A full
line and debt elsewhere are what the time before has left: there the account begins at the
reference's level.  All else follows by the mechanism, on the account's own luck and out of the same
purse.  Only towards the reference: who does better than it is left alone.  (The levels are those
that the served effects take, so that the two ask one question:
:mod:`serving.decision.reasons.effects` answers by the model and the ledger, this by the mechanism
itself.)

Length of history and capacity (income, the limit once granted) have no driver: they are what an
account was opened with. ``hidden`` is no reason group: it takes away the income losses and
illnesses that no statement shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from features.ledger import DAYS_A_MONTH, Terms, minimum_due_of
from serving.decision.reasons.counterfactual import MONTHS_REPLAYED, Levels, year_amount
from training.data.simulate.behaviour import Acts
from training.data.simulate.config import SimulationConfig
from training.data.simulate.shocks import NONE
from training.data.simulate.state import State, round_to_cents
from training.data.simulate.step import Columns, step

Driver = Literal[
    "late_payment", "high_utilization", "overspending", "weak_repayment", "cash_reliance", "credit_seeking",
    "external_debt", "hidden",
]  # fmt: skip
DRIVERS: tuple[Driver, ...] = get_args(Driver)


def relive(
    state: State, months: int, config: SimulationConfig, driver: Driver | None, levels: Levels
) -> State:
    """The state after the next months of the accounts' own history, one driver at its reference
    level (None: as it was).
    """
    *_, (last, _) = replay_without_driver(state, months, config, driver, levels)
    return last


def replay_without_driver(
    state: State, months: int, config: SimulationConfig, driver: Driver | None, levels: Levels
) -> Iterator[tuple[State, Columns]]:
    """Those months one by one: the state after each, and its statements (see
    :func:`training.data.simulate.step`).
    """
    if driver == "hidden":
        config = replace(config, shock_rate=0.0)
        state = replace(
            state, shock=np.full_like(state.shock, NONE), severity=np.zeros_like(state.severity)
        )
    act, beginning = _ACTS.get(driver), _BEGINNINGS.get(driver)
    state = state if beginning is None else beginning(state, levels)
    for month in range(months):
        change = None if act is None else _changing(act, levels, month % MONTHS_REPLAYED)
        state, columns = step(state, state.months_done, config, 0, change)
        yield state, columns


_Act = Callable[[State, Acts, Levels, int], Acts]


def _changing(act: _Act, levels: Levels, month: int) -> Callable[[State, Acts], Acts]:
    return lambda state, acts: act(state, acts, levels, month)


def _on_time(state: State, acts: Acts, levels: Levels, month: int) -> Acts:
    return replace(
        acts,
        payment=np.maximum(acts.payment, state.minimum_due),
        days_late=np.zeros_like(acts.days_late),
    )


def _repaying(state: State, acts: Acts, levels: Levels, month: int) -> Acts:
    share = np.clip(np.nan_to_num(levels.paid_share), 0.0, 1.0)
    return replace(
        acts,
        payment=np.maximum(acts.payment, round_to_cents(share * np.maximum(state.balance, 0.0))),
    )


def _spending(state: State, acts: Acts, levels: Levels, month: int) -> Acts:
    return replace(
        acts, spend=round_to_cents(np.fmin(acts.spend, levels.spend * state.reported_income))
    )


def _drawing(state: State, acts: Acts, levels: Levels, month: int) -> Acts:
    return replace(
        acts,
        cash_advance=round_to_cents(np.fmin(acts.cash_advance, levels.cash * state.credit_limit)),
    )


def _seeking(state: State, acts: Acts, levels: Levels, month: int) -> Acts:
    """Credit that is not asked for is not granted either."""
    requests, inquiries = (
        np.minimum(own, year_amount(level, month)).astype(np.int32)
        for own, level in (
            (acts.limit_requests, levels.limit_requests),
            (acts.credit_inquiries, levels.inquiries),
        )
    )
    borrowed = np.where(inquiries < acts.credit_inquiries, 0.0, acts.borrowed)
    return replace(acts, limit_requests=requests, credit_inquiries=inquiries, borrowed=borrowed)


def _used(state: State, levels: Levels) -> State:
    """The balance, with what is due of it, at most at the reference's share of the limit."""
    balance = np.fmin(state.balance, round_to_cents(levels.used * state.credit_limit))
    due = minimum_due_of(balance, (state.days_past_due // DAYS_A_MONTH).astype(np.int32), Terms())
    return replace(state, balance=balance, minimum_due=np.minimum(state.minimum_due, due))


def _owing(state: State, levels: Levels) -> State:
    """Debt elsewhere at most such that the lender sees the reference's level of it."""
    allowed = np.maximum(
        levels.debt * state.reported_income / state.traits.coverage - state.traits.secured_debt, 0.0
    )
    return replace(state, external_debt=np.fmin(state.external_debt, allowed))


_ACTS: Mapping[Driver | None, _Act] = {
    "late_payment": _on_time,
    "overspending": _spending,
    "weak_repayment": _repaying,
    "cash_reliance": _drawing,
    "credit_seeking": _seeking,
}
_BEGINNINGS: Mapping[Driver | None, Callable[[State, Levels], State]] = {
    "high_utilization": _used,
    "external_debt": _owing,
}
