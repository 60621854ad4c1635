"""Interventions: the customer follows a plan, do(...) in the sense of Pearl (Causality, 2009).

An intervention changes only a month's acts.  Shocks, income, intentions and every random number of
the month stay, so a future with an intervention differs from the same future without it by the
intervention alone (common random numbers).  Consequences follow: money that goes into a payment is
missing for other spending, and the customer borrows elsewhere what is then missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import numpy as np

from features.types import Mask, Vector
from serving.decision.advice.rollout import Plans, planned_payment
from training.data.simulate.behaviour import Acts
from training.data.simulate.config import SimulationConfig
from training.data.simulate.state import Numbers, State, round_to_cents
from training.data.simulate.step import Columns, step

Intervention = Callable[[State, Acts], Acts]


def follow(plans: Plans, exactly: bool = False) -> Intervention:
    """Return the intervention do(plan), with one plan for each account.

    Acts that a plan does not name are the customer's own.  Customers pay at least what the plan
    states; with ``exactly`` they never pay more, even if they would have.
    """

    def intervene(state: State, acts: Acts) -> Acts:
        owed = np.maximum(state.balance, 0.0)  # an overpaid account owes nothing
        due = state.minimum_due
        planned = planned_payment(owed, due, plans)
        paid = planned if exactly else np.maximum(acts.payment, planned)
        on_time = plans.on_time > 0
        no_cash = plans.no_cash > 0
        no_credit = plans.no_new_credit > 0
        spend = np.minimum(acts.spend, plans.spending)
        # Amounts of a plan apply to payments on time: a plan without it names no payment.
        payment = np.where(on_time, paid, acts.payment)
        days_late = np.where(on_time, 0, acts.days_late)
        requests = np.where(no_credit, 0, acts.limit_requests)
        inquiries = np.where(no_credit, 0, acts.credit_inquiries)
        repaid = np.minimum(plans.repay_elsewhere, state.external_debt)
        return replace(
            acts,
            spend=round_to_cents(spend),
            cash_advance=np.where(no_cash, 0.0, acts.cash_advance),
            payment=round_to_cents(payment),
            days_late=days_late.astype(np.int32),
            limit_requests=requests.astype(np.int32),
            credit_inquiries=inquiries.astype(np.int32),
            borrowed=np.where(no_credit, 0.0, acts.borrowed),
            repaid=round_to_cents(repaid),
        )

    return intervene


def own_ways(customers: int) -> Plans:
    """Return plans that change nothing, one a customer."""
    values = {field.name: np.zeros(customers) for field in fields(Plans)}
    values["spending"] = np.full(customers, np.inf)
    return Plans(**values)


def while_followed(plans: Plans, followed: Mask) -> Plans:
    """Return the plans where they are followed, and the customers' own ways elsewhere."""
    elsewhere = own_ways(len(plans))
    values = {}
    for field in fields(Plans):
        planned, own = getattr(plans, field.name), getattr(elsewhere, field.name)
        values[field.name] = np.where(followed, planned, own)
    return Plans(**values)


def without_drawings(plans: Plans, suspended: Mask) -> Plans:
    """Return the plans, in which nothing is drawn on suspended accounts."""
    return replace(
        plans,
        spending=np.where(suspended, 0.0, plans.spending),
        no_cash=np.where(suspended, 1.0, plans.no_cash),
    )


def simulate_months(
    state: State,
    months: int,
    config: SimulationConfig,
    future: int | Numbers,
    intervention: Intervention | None = None,
    limit: Vector | None = None,
) -> Iterator[tuple[State, Columns]]:
    """Yield the state after each of the next months, and the month's statements.

    Statements are as in :func:`training.data.simulate.step.step`.  Future 0 is the history's own
    continuation; equal numbers have equal random draws whatever is changed.  ``limit`` is in force
    instead of the simulated lender's, CNY; NaN = the lender's.
    """
    for month in range(state.months_done, state.months_done + months):
        state, columns = step(state, month, config, future, intervention, limit)
        yield state, columns
