"""Counterfactual pasts: do(driver := reference level) on an account's own history.

Each reason group has a driver, and no act belongs to two drivers: otherwise the driver that
contains the others would always be the largest cause.  An act is something that a customer does in
a month: paying on time, repaying a share of the balance, spending, drawing cash, applying for
credit (and getting it).  A full line and debt elsewhere are the result of earlier months; for these
the account starts at the reference's level.  Everything else follows by the simulator's mechanism,
with the account's own random draws and budget.  Levels change only towards the reference: an
account that is already better keeps its own.  Spending, cash and applications are scaled to the
reference's total of the year that the account lived (:mod:`training.examine.truth.kept`), each
month by the same share.  The levels are those of the served effects, so that
both answer one question: :mod:`training.examine.reasons.effects` with the model and the ledger,
this module with the mechanism itself.

Length of history and capacity (income, the limit as granted) have no driver: the account was opened
with them.  ``hidden`` is no reason group: it removes the income losses, which statements show only
once the lender learns of the lower income, and the illnesses, which they never show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from features.ledger import DAYS_A_MONTH, Terms, minimum_due_of
from training.data.simulate.behaviour import Acts
from training.data.simulate.config import SimulationConfig
from training.data.simulate.shocks import NONE
from training.data.simulate.state import State, round_to_cents
from training.data.simulate.step import Columns, step
from training.examine.reasons.levels import Levels
from training.examine.truth.kept import Kept, are_acting, keep_of_year

Driver = Literal[
    "repayment",
    "high_utilization",
    "overspending",
    "cash_reliance",
    "credit_seeking",
    "external_debt",
    "hidden",
]
DRIVERS: tuple[Driver, ...] = get_args(Driver)


def state_without_driver(
    state: State,
    months: int,
    config: SimulationConfig,
    driver: Driver | None,
    levels: Levels,
) -> State:
    """Return the state after replaying ``months`` with one driver at its reference level.

    ``driver`` null = the accounts' own history.
    """
    replayed = replay_without_driver(state, months, config, driver, levels)
    *_, (last, _) = replayed
    return last


def replay_without_driver(
    state: State,
    months: int,
    config: SimulationConfig,
    driver: Driver | None,
    levels: Levels,
) -> Iterator[tuple[State, Columns]]:
    """Yield the state after each replayed month, and the month's statements.

    Statements are as in :func:`training.data.simulate.step.step`.
    """
    if driver == "hidden":
        config = replace(config, shock_rate=0.0)
        state = replace(
            state,
            shock=np.full_like(state.shock, NONE),
            severity=np.zeros_like(state.severity),
        )
    change_start = _STARTS.get(driver)
    if change_start is not None:
        state = change_start(state, levels)
    change_acts = _ACTS.get(driver)
    kept = keep_of_year(state, months, config, levels) if driver in _SCALED else None
    for month in range(months):
        intervention = None
        if change_acts is not None:
            intervention = _intervene(change_acts, _Month(levels, kept, month))
        state, columns = step(state, state.months_done, config, 0, intervention)
        yield state, columns


_ChangeActs = Callable[[State, Acts, "_Month"], Acts]
_ChangeStart = Callable[[State, Levels], State]


@dataclass(frozen=True, slots=True)
class _Month:
    """What the acts of a month are changed by; ``kept`` only for drivers that scale them."""

    levels: Levels
    kept: Kept | None
    number: int  # 0 = the first that is replayed

    @property
    def scaled(self) -> Kept:
        if self.kept is None:
            raise ValueError("expected a driver that scales acts, got one that does not")
        return self.kept


def _intervene(change_acts: _ChangeActs, month: _Month) -> Callable[[State, Acts], Acts]:
    return lambda state, acts: change_acts(state, acts, month)


def _repay(state: State, acts: Acts, month: _Month) -> Acts:
    """Pay in time, at least the minimum due and the reference's share of the balance."""
    share = np.clip(np.nan_to_num(month.levels.paid_share), 0.0, 1.0)
    owed = np.maximum(state.balance, 0.0)
    least = np.maximum(state.minimum_due, round_to_cents(share * owed))
    return replace(
        acts,
        payment=np.maximum(acts.payment, least),
        days_late=np.zeros_like(acts.days_late),
    )


def _limit_spending(state: State, acts: Acts, month: _Month) -> Acts:
    return replace(acts, spend=round_to_cents(acts.spend * month.scaled.spend))


def _limit_cash(state: State, acts: Acts, month: _Month) -> Acts:
    return replace(acts, cash_advance=round_to_cents(acts.cash_advance * month.scaled.cash))


def _limit_applications(state: State, acts: Acts, month: _Month) -> Acts:
    """Limit applications for credit; credit that is not applied for is not granted either."""
    kept, number = month.scaled, month.number
    # An account that does not act keeps its numbers: some are carried into later months.
    acting = are_acting(state)
    most_requests = np.where(acting, kept.limit_requests[number], np.inf)
    most_inquiries = np.where(acting, kept.inquiries[number], np.inf)
    requests = np.minimum(acts.limit_requests, most_requests)
    inquiries = np.minimum(acts.credit_inquiries, most_inquiries)
    fewer_inquiries = inquiries < acts.credit_inquiries
    return replace(
        acts,
        limit_requests=requests.astype(np.int32),
        credit_inquiries=inquiries.astype(np.int32),
        borrowed=np.where(fewer_inquiries, 0.0, acts.borrowed),
    )


def _limit_utilization(state: State, levels: Levels) -> State:
    """Limit the balance, with its minimum due, to the reference's share of the limit."""
    allowed = round_to_cents(levels.used * state.credit_limit)
    balance = np.fmin(state.balance, allowed)
    months_past_due = (state.days_past_due // DAYS_A_MONTH).astype(np.int32)
    due = minimum_due_of(balance, months_past_due, Terms())
    return replace(state, balance=balance, minimum_due=np.minimum(state.minimum_due, due))


def _limit_debt(state: State, levels: Levels) -> State:
    """Limit debt elsewhere so that the lender sees at most the reference's level of it."""
    # The lender sees ``coverage`` of all debt, secured debt included.
    allowed = levels.debt * state.reported_income / state.traits.coverage
    unsecured = np.maximum(allowed - state.traits.secured_debt, 0.0)
    return replace(state, external_debt=np.fmin(state.external_debt, unsecured))


_ACTS: Mapping[Driver | None, _ChangeActs] = {
    "repayment": _repay,
    "overspending": _limit_spending,
    "cash_reliance": _limit_cash,
    "credit_seeking": _limit_applications,
}
_SCALED = ("overspending", "cash_reliance", "credit_seeking")
_STARTS: Mapping[Driver | None, _ChangeStart] = {
    "high_utilization": _limit_utilization,
    "external_debt": _limit_debt,
}
