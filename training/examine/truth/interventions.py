"""What a customer would do because a plan says so: do(...) in the sense of Pearl (Causality, 2009),
on a month's acts.

Only the acts change.  Shocks, income, wishes and every random number of the month are what they
would have been, so that a future with an intervention and the same future without it differ by the
intervention alone (common random numbers).  What follows from the acts follows: money that goes
into a payment is missing from the purse, and what the purse lacks is owed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from features.types import Vector
from serving.decision.advice.rollout import Plans
from training.data.simulate.behaviour import Acts
from training.data.simulate.config import SimulationConfig
from training.data.simulate.state import Numbers, State, round_to_cents
from training.data.simulate.step import Columns, step

Change = Callable[[State, Acts], Acts]


def following(plans: Plans, exactly: bool = False) -> Change:
    """The acts of customers who follow plans, one an account; what a plan does not name is their
    own.

    They pay at least what the plan tells; ``exactly``: and no more, however much they would have.
    """

    def change(state: State, acts: Acts) -> Acts:
        owed, due = np.maximum(state.balance, 0.0), state.minimum_due
        on_time, no_credit = plans.on_time > 0, plans.no_new_credit > 0
        told = np.minimum(
            np.maximum(due + plans.extra, plans.paid_share * owed), np.maximum(owed, due)
        )
        paid = told if exactly else np.maximum(acts.payment, told)
        return replace(
            acts,
            spend=round_to_cents(np.minimum(acts.spend, plans.spending)),
            cash_advance=np.where(plans.no_cash > 0, 0.0, acts.cash_advance),
            payment=round_to_cents(np.where(on_time, paid, acts.payment)),
            days_late=np.where(on_time, 0, acts.days_late).astype(np.int32),
            limit_requests=np.where(no_credit, 0, acts.limit_requests).astype(np.int32),
            credit_inquiries=np.where(no_credit, 0, acts.credit_inquiries).astype(np.int32),
            borrowed=np.where(no_credit, 0.0, acts.borrowed),
            repaid=round_to_cents(np.minimum(plans.repay_elsewhere, state.external_debt)),
        )

    return change


def live_on(
    state: State,
    months: int,
    config: SimulationConfig,
    future: int | Numbers,
    change: Change | None = None,
    limit: Vector | None = None,
) -> Iterator[tuple[State, Columns]]:
    """The next months of a block, one by one: the state after each and its statements (see
    :func:`training.data.simulate.step`).

    ``future`` other than 0 is another future; the same number is the same one whatever is changed.
    ``limit`` is in force instead of the simulated lender's, CNY; NaN = its own.
    """
    for month in range(state.months_done, state.months_done + months):
        state, columns = step(state, month, config, future, change, limit)
        yield state, columns
