"""What the levels leave of an account's own year: shares of its totals.

Spending, cash and applications are scaled to the reference's total of a year.  So an account that
spends as much as the reference in few months is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.types import Mask, Vector
from features.window import Months
from training.data.simulate.behaviour import Acts
from training.data.simulate.config import SimulationConfig
from training.data.simulate.state import State
from training.data.simulate.step import step
from training.examine.reasons.levels import (
    MONTHS_REPLAYED,
    Levels,
    kept_counts,
    kept_share,
    year_total,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of the year as it was; 1, and all counts, where a level is unknown.

    ``spend`` and ``cash`` are shares of each month, float64 (accounts,).  ``limit_requests`` and
    ``inquiries`` are counts, float64 (months, accounts), the oldest first.
    """

    spend: Vector
    cash: Vector
    limit_requests: Months
    inquiries: Months


def keep_of_year(state: State, months: int, config: SimulationConfig, levels: Levels) -> Kept:
    """Live the months after ``state`` as they were, and return what the levels leave of them."""
    lived: list[tuple[State, Acts]] = []

    def watch(before: State, acts: Acts) -> Acts:
        lived.append((before, acts))
        return acts

    for _ in range(months):
        state, _ = step(state, state.months_done, config, 0, watch)
    states = [before for before, _ in lived]
    all_acts = [acts for _, acts in lived]
    # Months before the account was opened, or after it ended, have no acts.
    acting = [are_acting(before) for before in states]
    acted = np.array(acting, dtype=np.float64)

    def total(things: Sequence[State] | Sequence[Acts], name: str) -> Vector:
        return year_total(year(things, name))

    def year(things: Sequence[State] | Sequence[Acts], name: str) -> Months:
        values = [getattr(thing, name) for thing in things]
        return np.array(values, dtype=np.float64) * acted

    may_spend = levels.spend * total(states, "reported_income")
    may_draw = levels.cash * total(states, "credit_limit")
    years = year_total(acted) / MONTHS_REPLAYED
    return Kept(
        spend=kept_share(
            total(all_acts, "spend"),
            may_spend,
        ),
        cash=kept_share(
            total(all_acts, "cash_advance"),
            may_draw,
        ),
        limit_requests=kept_counts(
            year(all_acts, "limit_requests"),
            levels.limit_requests * years,
        ),
        inquiries=kept_counts(
            year(all_acts, "credit_inquiries"),
            levels.inquiries * years,
        ),
    )


def are_acting(state: State) -> Mask:
    """Whether the acts of the month after ``state`` count, bool (accounts,)."""
    acting: Mask = (state.traits.opened_month <= state.months_done) & ~state.ended
    return acting
