"""One month of a block of accounts: shock, limit, acts, ledger, statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace

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
)
from training.data.simulate.config import SimulationConfig, calendar_month
from training.data.simulate.draws import Draws, Event
from training.data.simulate.lender import set_limits
from training.data.simulate.population import draw_traits, first_state, state_income
from training.data.simulate.shocks import draw_shocks
from training.data.simulate.state import Numbers, State, round_to_cents

Column = NDArray[np.float64] | NDArray[np.int32] | NDArray[np.bool_]
Columns = Mapping[str, Column]
CHARGED_OFF_DAYS = 180
_MAX_SAVINGS = 3.0  # monthly incomes; the rest repays debts elsewhere or buys things
_CLOSING = 0.004  # monthly chance that an account with no balance is closed
# Fields of an account that is not yet open, which a step leaves as they are.
_WAITING = tuple(
    field.name
    for field in fields(State)
    if field.name not in ("seed", "months_done", "accounts", "traits", "ended")
)


def begin(
    config: SimulationConfig,
    first_account: int,
    count: int,
) -> State:
    """Return the state of accounts before month 0, after the warm-up.

    The accounts are ``first_account`` .. ``first_account + count - 1``.  ValueError if they are not
    all within ``config.accounts``.

    >>> begin(SimulationConfig(accounts=10), 3, 4).months_done
    0
    """
    is_within = first_account >= 0 and first_account + count <= config.accounts
    if count < 1 or not is_within:
        raise ValueError(
            f"expected accounts within 0 to {config.accounts}, got {count} from {first_account}"
        )
    traits = draw_traits(first_account, count, config)
    state = first_state(traits, first_account, config)
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
    """Return the state after a month, and the month's statements.

    The statements are arrays by column, with one entry an account (NaN = unknown): the columns of a
    statement except ``account_id``, ``month`` and ``product``, and ``open``, bool: whether the
    account has a statement.

    Args:
        state: The state at the end of the month before.
        month_number: Its ``months_done``.
        config: The config of the simulation, with the seed of the state.
        future: Another number than 0 draws another future from the same state; one for all
            accounts, or one for each.
        change: Returns the acts that replace those of the month; see
            :mod:`training.examine.truth.interventions`.
        limit: Replaces the lender's limit where it is not NaN.

    Raises ValueError for another month or seed than those of the state.
    """
    if month_number != state.months_done:
        raise ValueError(
            f"expected month number {state.months_done}, which follows the state, "
            f"got {month_number}"
        )
    if config.seed != state.seed:
        raise ValueError(
            f"expected the seed {state.seed} that the state was made with, got {config.seed}"
        )
    draws = Draws(config.seed, month_number, future, state.accounts)
    means = draw_shocks(state, draws, config)
    purse = fill_purse(state, means, draws)
    in_force = set_limits(state, month_number, draws, config)
    if limit is not None:
        in_force = np.where(np.isnan(limit), in_force, limit)
    # After the lender: customers know the limit of the month when they act.
    month = calendar_month(month_number, config)
    acts = act(state, purse, in_force, month, draws)
    if change is not None:
        acts = change(state, acts)
    moved = _post(state, purse, in_force, acts, draws)
    active, after = _open_and_close(state, moved, month_number, draws)
    return after, _statement(after, acts, active, draws, config)


def _post(
    state: State,
    purse: Purse,
    limit: Vector,
    acts: Acts,
    draws: Draws,
) -> State:
    """Post the acts: to the account by the ledger, to the customer's own books by addition."""
    now = Standing(
        state.balance,
        state.minimum_due,
        state.days_past_due,
    )
    behaviour = Behaviour(
        acts.spend,
        acts.cash_advance,
        acts.payment,
        acts.days_late,
    )
    after = next_standing(now, behaviour, Terms())
    raised = acts.borrowed + acts.cash_advance
    available = purse.free + purse.kept_share * raised
    left = available - acts.payment - acts.repaid
    max_savings = _MAX_SAVINGS * state.traits.income_level
    surplus = np.maximum(left - max_savings, 0.0)
    # Money that was lacking was not paid elsewhere either, and is owed there.
    lacking = np.maximum(-left, 0.0)
    carried = (1.0 + EXTERNAL_RATE - EXTERNAL_INSTALMENT) * state.external_debt
    owed_more = carried + acts.borrowed + lacking
    debt = owed_more - surplus - acts.repaid
    # The lender learns of a lower income once a year on average, so late.
    is_updated = draws.happens(Event.INCOME_UPDATE, 1.0 / 12.0)
    stated_income = state_income(purse.means.income)
    is_cut = limit < state.credit_limit
    is_late = after.days_past_due > 0
    good_months = np.where(is_late, 0, state.good_months + 1)
    months_since_cut = np.where(is_cut, 0, state.months_since_cut + 1)
    return replace(
        state,
        shock=purse.means.shock,
        severity=purse.means.severity,
        appetite=purse.appetite,
        strain=0.6 * state.strain + 0.4 * purse.pressure,
        savings=np.clip(left, 0.0, max_savings),
        external_debt=np.maximum(debt, 0.0),
        reported_income=np.where(is_updated, stated_income, state.reported_income),
        credit_limit=limit,
        balance=after.balance,
        minimum_due=after.minimum_due,
        days_past_due=after.days_past_due,
        good_months=good_months.astype(np.int32),
        months_since_cut=months_since_cut.astype(np.int32),
        limit_requests=acts.limit_requests,
    )


def _open_and_close(
    state: State,
    moved: State,
    month_number: int,
    draws: Draws,
) -> tuple[Mask, State]:
    """Return (which accounts have a statement this month, the state after it).

    An account that is not open yet stays as it was.
    """
    is_open = state.traits.opened_month <= month_number
    if month_number < 0:
        moved = _granted_again(state, moved)
        closes = np.zeros(state.count, dtype=np.bool_)
    else:
        # Not in the first months: a new account has had no time for a balance.
        is_settled = state.traits.opened_month < month_number - 3
        is_quiet = (state.balance <= 0) & is_settled
        closes = is_quiet & draws.happens(Event.CLOSE, _CLOSING)
    is_charged_off = moved.days_past_due >= CHARGED_OFF_DAYS
    ends = is_open & (closes | is_charged_off)
    values = {}
    for name in _WAITING:
        before = getattr(state, name)
        value = np.where(is_open, getattr(moved, name), before)
        values[name] = value.astype(before.dtype, copy=False)
    after = replace(
        moved,
        months_done=month_number + 1,
        ended=state.ended | ends,
        **values,
    )
    # A charged-off account has the statement that shows it; a closed one has none.
    has_statement = is_open & ~state.ended & ~closes
    return has_statement, after


def _granted_again(state: State, moved: State) -> State:
    """Clear lines that were lost in the warm-up, so that no account ends before its statements."""
    is_lost = moved.days_past_due >= CHARGED_OFF_DAYS
    days_past_due = np.where(is_lost, 0, moved.days_past_due)
    # Debts elsewhere are settled too, down to half an income: otherwise the line is lost again.
    settled_debt = 0.5 * state.traits.income_level
    return replace(
        moved,
        balance=np.where(is_lost, 0.0, moved.balance),
        minimum_due=np.where(is_lost, 0.0, moved.minimum_due),
        days_past_due=days_past_due.astype(np.int32),
        external_debt=np.where(is_lost, settled_debt, moved.external_debt),
        ended=state.ended,
    )


def _statement(
    after: State,
    acts: Acts,
    active: Mask,
    draws: Draws,
    config: SimulationConfig,
) -> Columns:
    traits = after.traits
    misses_income = draws.happens(Event.INCOME_MISSING, config.month_unknown)
    misses_debt = draws.happens(Event.DEBT_MISSING, config.month_unknown)
    sees_income = traits.income_known & ~misses_income
    sees_debt = traits.debt_known & ~misses_debt
    # The lender cannot tell secured debt from the debt that strains the customer.
    all_debt = after.external_debt + traits.secured_debt
    debt = round_to_cents(traits.coverage * all_debt)
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
        "external_debt": np.where(sees_debt, debt, np.nan),
        "income": np.where(sees_income, after.reported_income, np.nan),
    }
