"""Who goes on with what the reasons named: the half-year before the cut, lived again.

Left to itself the simulator lets most customers change: shocks pass, late payments age, spending
returns to its level.  Here the customer's own acts of the last months before the decision come
again, month by month in their order: what was bought and drawn, which share of the balance was
paid and how late, the applications, and what was borrowed elsewhere.  Advice repeats the same for
*carrying on* (:mod:`serving.decision.advice.ahead.habits`), from what statements show.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from features.ledger import DAYS_A_MONTH
from features.types import Mask, Rows, Vector
from features.window import lay_out
from serving.decision.advice.ahead.habits import HABIT_MONTHS, HabitMonth, Habits
from training.data.simulate.behaviour import Acts
from training.data.simulate.state import State, round_to_cents
from training.examine.truth.cut_accounts import CutAccounts
from training.examine.truth.interventions import Intervention, simulate_months
from training.examine.truth.population import LOOKBACK


def recall_acts(cohort: CutAccounts) -> Habits:
    """Return the acts of the cohort's last months, at most HABIT_MONTHS, as they were simulated.

    ``debt_change`` is what was borrowed elsewhere.
    """
    population = cohort.population
    seen: list[dict[str, Vector]] = []

    def note(state: State, acts: Acts) -> Acts:
        owed = np.maximum(state.balance, 0.0)
        share = np.divide(
            acts.payment,
            owed,
            out=np.full_like(owed, np.nan),
            where=owed > 0.0,
        )
        seen.append(
            {
                "spend": acts.spend,
                "cash_advance": acts.cash_advance,
                "payment": acts.payment,
                "paid_share": np.minimum(share, 1.0),
                "days_late": acts.days_late.astype(np.float64),
                "limit_requests": acts.limit_requests.astype(np.float64),
                "credit_inquiries": acts.credit_inquiries.astype(np.float64),
                "debt_change": acts.borrowed,
            }
        )
        return acts

    before = population.state_before.take(cohort.places)
    for _ in simulate_months(before, LOOKBACK, population.config, 0, note):
        pass
    last = seen[-HABIT_MONTHS:]
    observed = lay_out(cohort.statements).months_observed
    columns = {name: np.array([month[name] for month in last]) for name in last[0]}
    return Habits(length=np.minimum(observed, len(last)).astype(np.int64), **columns)


def take_habits(habits: Habits, rows: Rows) -> Habits:
    """Return the habits of these accounts by position; repeats are allowed."""
    columns = {
        name: getattr(habits, name)[:, rows] for name in Habits.__slots__ if name != "length"
    }
    return Habits(length=habits.length[rows], **columns)


def live_again(habit: HabitMonth, limit: Vector, suspended: Mask) -> Intervention:
    """Return the intervention do(the acts of this month of habits).

    ``limit``, CNY, and ``suspended`` are in force.  An account in arrears or suspended draws
    nothing, and nobody draws more than the limit leaves.
    """

    def intervene(state: State, acts: Acts) -> Acts:
        owed = np.maximum(state.balance, 0.0)
        by_share = np.nan_to_num(habit.paid_share) * owed
        as_before = np.where(np.isnan(habit.paid_share), habit.payment, by_share)
        payment = np.minimum(as_before, owed)
        is_blocked = suspended | state.ended | (state.days_past_due >= DAYS_A_MONTH)
        unused = limit - np.maximum(state.balance - payment, 0.0)
        room = np.where(is_blocked, 0.0, np.maximum(unused, 0.0))
        cash = np.minimum(habit.cash_advance, room)
        spend = np.minimum(habit.spend, room - cash)
        return replace(
            acts,
            spend=round_to_cents(spend),
            cash_advance=round_to_cents(cash),
            payment=round_to_cents(payment),
            days_late=habit.days_late.astype(np.int32),
            limit_requests=habit.limit_requests.astype(np.int32),
            credit_inquiries=habit.credit_inquiries.astype(np.int32),
            borrowed=habit.debt_change,
        )

    return intervene
