"""One month of a block of accounts: shock, limit, acts, ledger, statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from features.ledger import Behaviour, Standing, Terms, next_standing
from features.types import Mask, Vector
from training.data.simulate.behaviour import (
    EXTERNAL_INSTALMENT,
    EXTERNAL_RATE,
    Acts,
    Purse,
    act,
    fill_purse,
    move_appetite,
)
from training.data.simulate.config import SimulationConfig, calendar_month
from training.data.simulate.draws import Draws, Event
from training.data.simulate.lender import set_limits
from training.data.simulate.population import draw_traits, first_state
from training.data.simulate.shocks import Means, draw_shocks
from training.data.simulate.state import Numbers, State, round_to_cents

Columns = Mapping[str, NDArray[np.float64] | NDArray[np.int32] | NDArray[np.bool_]]
CHARGED_OFF_DAYS = 180
# monthly incomes kept at hand; what is more goes into debts elsewhere and into things
_SAVINGS_MOST = 3.0
_CLOSING = 0.004  # monthly chance that an account with no balance is closed


def begin(config: SimulationConfig, first_account: int, count: int) -> State:
    """The accounts ``first_account`` .. ``first_account + count - 1`` as they stand before month 0,
    the warm-up behind them.

    ValueError where the range does not lie within ``config.accounts``.

    >>> begin(SimulationConfig(accounts=10), 3, 4).months_done
    0
    """
    if first_account < 0 or count < 1 or first_account + count > config.accounts:
        raise ValueError(
            f"expected accounts within 0 to {config.accounts}, got {count} from {first_account}"
        )
    state = first_state(draw_traits(first_account, count, config), first_account, config)
    for month_number in range(-config.warm_up_months, 0):
        state, _ = step(state, month_number, config)
    return state


def step(
    state: State,
    month_number: int,
    config: SimulationConfig,
    future: int | Numbers = 0,
    change: Callable[[State, Acts], Acts] | None = None,
    limit: Vector | None = None,
) -> tuple[State, Columns]:
    """The state after a month, and that month's statements.

    The columns are those of the statement but ``account_id``, ``month`` and ``product``, each with
    one entry an account (NaN = unknown), and ``open``, bool: whether there is a statement at all.
    ``future`` other than 0 draws another future from the same state; one for all, or one an
    account.  ``change`` makes other acts of the month's own, and ``limit`` is in force instead of
    the lender's where it is not NaN: see :mod:`training.examine.truth.interventions`.  ValueError
    where the state is not that of the end of the month before, or was made with another seed.
    """
    if month_number != state.months_done:
        raise ValueError(
            f"expected month number {state.months_done}, which follows the state, got {month_number}"
        )
    if config.seed != state.seed:
        raise ValueError(
            f"expected the seed {state.seed} that the state was made with, got {config.seed}"
        )
    draws = Draws(config.seed, month_number, future, state.accounts)
    means = draw_shocks(state, draws, config)
    appetite = move_appetite(state, draws)
    purse = fill_purse(state, means, appetite)
    lenders = set_limits(state, month_number, draws, config)
    in_force = lenders if limit is None else np.where(np.isnan(limit), lenders, limit)
    acts = act(state, purse, appetite, in_force, calendar_month(month_number, config), draws)
    acts = acts if change is None else change(state, acts)
    moved = _settle(state, means, appetite, purse, in_force, acts, draws)
    active, after = _living(state, moved, month_number, draws)
    return after, _statement(after, acts, active, draws, config)


def _settle(
    state: State,
    means: Means,
    appetite: Vector,
    purse: Purse,
    limit: Vector,
    acts: Acts,
    draws: Draws,
) -> State:
    """The books after the acts: this account's by the ledger, the customer's own by addition."""
    now = Standing(state.balance, state.minimum_due, state.days_past_due)
    after = next_standing(
        now, Behaviour(acts.spend, acts.cash_advance, acts.payment, acts.days_late), Terms()
    )
    income = state.traits.income_level
    left = (
        purse.free + purse.kept * (acts.borrowed + acts.cash_advance) - acts.payment - acts.repaid
    )
    surplus = np.maximum(left - _SAVINGS_MOST * income, 0.0)
    # What the purse lacked was not paid elsewhere either and is owed there.
    lacked = np.maximum(-left, 0.0)
    debt = (
        (1.0 + EXTERNAL_RATE - EXTERNAL_INSTALMENT) * state.external_debt
        + acts.borrowed
        + lacked
        - surplus
        - acts.repaid
    )
    update = draws.happens(Event.INCOME_UPDATE, 1.0 / 12.0)
    reported = np.where(
        update, np.maximum(np.round(means.income, -2), 100.0), state.reported_income
    )
    return replace(
        state,
        shock=means.shock,
        severity=means.severity,
        appetite=appetite,
        strain=0.6 * state.strain + 0.4 * purse.pressure,
        savings=np.clip(left, 0.0, _SAVINGS_MOST * income),
        external_debt=np.maximum(debt, 0.0),
        reported_income=reported,
        credit_limit=limit,
        balance=after.balance,
        minimum_due=after.minimum_due,
        days_past_due=after.days_past_due,
        good_months=np.where(after.days_past_due > 0, 0, state.good_months + 1).astype(np.int32),
        months_since_cut=np.where(limit < state.credit_limit, 0, state.months_since_cut + 1).astype(
            np.int32
        ),
        limit_requests=acts.limit_requests,
    )


def _living(state: State, moved: State, month_number: int, draws: Draws) -> tuple[Mask, State]:
    """(who has a statement this month, the state after it): who has not opened waits, who has ended
    stays as he was.
    """
    opened = state.traits.opened_month <= month_number
    if month_number < 0:
        # Nobody ends unseen: a line lost in the warm-up is granted anew, clean.
        lost = moved.days_past_due >= CHARGED_OFF_DAYS
        moved = replace(
            moved,
            balance=np.where(lost, 0.0, moved.balance),
            minimum_due=np.where(lost, 0.0, moved.minimum_due),
            days_past_due=np.where(lost, 0, moved.days_past_due).astype(np.int32),
            external_debt=np.where(lost, 0.5 * state.traits.income_level, moved.external_debt),
            ended=state.ended,
        )
        closes = np.zeros(state.count, dtype=np.bool_)
    else:
        quiet = (state.balance <= 0) & (state.traits.opened_month < month_number - 3)
        closes = quiet & draws.happens(Event.CLOSE, _CLOSING)
    active = opened & ~state.ended & ~closes
    ended = state.ended | (opened & (closes | (moved.days_past_due >= CHARGED_OFF_DAYS)))
    kept = {
        name: np.where(opened, getattr(moved, name), getattr(state, name)).astype(
            getattr(state, name).dtype, copy=False
        )
        for name in _CARRIED
    }
    return active, replace(moved, months_done=month_number + 1, ended=ended, **kept)


_CARRIED = tuple(
    name
    for name in State.__dataclass_fields__
    if name not in ("seed", "months_done", "accounts", "traits", "ended")
)


def _statement(
    after: State, acts: Acts, active: Mask, draws: Draws, config: SimulationConfig
) -> Columns:
    traits = after.traits
    income_seen = traits.income_known & ~draws.happens(Event.INCOME_MISSING, config.month_unknown)
    debt_seen = traits.debt_known & ~draws.happens(Event.DEBT_MISSING, config.month_unknown)
    debt = round_to_cents(traits.coverage * (after.external_debt + traits.secured_debt))
    return {
        "open": active,
        "credit_limit": after.credit_limit,
        "balance": after.balance,
        "spend": acts.spend,
        "cash_advance": acts.cash_advance,
        "payment": acts.payment,
        "minimum_due": after.minimum_due,
        "days_past_due": after.days_past_due,
        "limit_requests": acts.limit_requests,
        "credit_inquiries": acts.credit_inquiries,
        "external_debt": np.where(debt_seen, debt, np.nan),
        "income": np.where(income_seen, after.reported_income, np.nan),
    }
