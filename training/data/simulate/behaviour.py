"""The acts of a customer in a month: borrow elsewhere, draw cash, pay, buy.

Income comes in and living goes out; the rest has to carry the instalments elsewhere and the minimum
due here.  If it does not, the customer seeks credit, takes cash from the line, pays less, and
misses a payment last: trouble shows in use, cash, inquiries and debt months before it shows as a
late payment.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from features.ledger import DAYS_A_MONTH
from features.types import Mask, Vector
from training.data.simulate.draws import Draws, Event
from training.data.simulate.shocks import NONE, Means
from training.data.simulate.state import State, Whole, round_to_cents

EXTERNAL_RATE = 0.016  # interest a month on debt elsewhere
EXTERNAL_INSTALMENT = 0.05  # of the debt elsewhere, due each month
# Spending by calendar month, from January; its mean is near 1.
_SEASON = (1.10, 0.92, 0.95, 0.95, 1.00, 1.02, 0.96, 0.97, 1.00, 1.03, 1.02, 1.03)
# What festivals add to it for the impulsive, by calendar month.
_FESTIVAL = {
    1: 0.15,  # New Year
    2: 0.10,
    6: 0.28,  # 618
    10: 0.05,
    11: 0.40,  # Double 11
    12: 0.06,
}
_ELSEWHERE = 0.18  # ordinary purchases outside the account, as a share of income_level
_APPETITE_KEPT = 0.95  # of last month's appetite
# Pressure rises from 0 if the money left after the minimum due is below so many monthly incomes.
_NEAR = 0.6


@dataclass(frozen=True, slots=True)
class Acts:
    """The acts of a month, which an intervention may replace; amounts in CNY >= 0, whole cents."""

    spend: Vector
    cash_advance: Vector
    payment: Vector
    days_late: Whole  # 0 to 29, of a payment that is enough
    limit_requests: Whole
    credit_inquiries: Whole
    borrowed: Vector  # from other lenders
    repaid: Vector  # to other lenders beyond the instalments; 0 unless an intervention sets it


@dataclass(frozen=True, slots=True)
class Purse:
    """A customer's month before any credit."""

    means: Means
    appetite: Vector  # logarithm of spending wishes relative to ordinary ones
    # CNY: income and savings less living, costs and instalments elsewhere; may be negative
    free: Vector
    gap: Vector  # CNY >= 0: the part of the minimum due that ``free`` does not cover
    # 0 = ample, _NEAR = the minimum due takes all, above = a gap; at most 2
    pressure: Vector

    @property
    def kept_share(self) -> Vector:
        """Share of money borrowed or drawn that is kept for payments; the rest is spent at once."""
        return np.clip(self.pressure / _NEAR, 0.2, 1.0)


def fill_purse(state: State, means: Means, draws: Draws) -> Purse:
    """Return the month before any credit: income and savings less living and instalments."""
    traits = state.traits
    appetite = _move_appetite(state, draws)
    thrift = np.where(means.shock == NONE, 1.0, 0.8)  # a shock cuts living back by a fifth
    # A cash loan buys nothing: its customers make their ordinary purchases elsewhere too.
    elsewhere = np.where(
        traits.cash_loan,
        _ELSEWHERE + traits.spend_share,
        _ELSEWHERE,
    )
    mood = np.exp(0.5 * appetite)
    living_share = traits.living + elsewhere * mood
    living = thrift * living_share * traits.income_level
    instalments = EXTERNAL_INSTALMENT * state.external_debt
    outflow = living + means.costs + instalments
    inflow = state.savings + means.income
    free = inflow - outflow
    after_minimum = free - state.minimum_due
    left_in_incomes = after_minimum / traits.income_level
    return Purse(
        means=means,
        appetite=appetite,
        free=free,
        gap=np.maximum(state.minimum_due - free, 0.0),
        pressure=np.clip(_NEAR - left_in_incomes, 0.0, 2.0),
    )


def _move_appetite(state: State, draws: Draws) -> Vector:
    """Move spending wishes: a slow wave around each customer's own level."""
    impulsiveness = state.traits.impulsiveness
    level = 0.10 * impulsiveness
    # The more impulsive the customer, the larger the month's step: 0.08 to 0.20.
    steepness = expit(1.2 * impulsiveness)
    scale = 0.08 + 0.12 * steepness
    noise = scale * draws.normal(Event.APPETITE)
    # An autoregressive process of order 1: it returns to the level over some 20 months.
    deviation = _APPETITE_KEPT * (state.appetite - level)
    moved: Vector = level + deviation + noise
    return np.clip(moved, -1.5, 1.5)


def act(
    state: State,
    purse: Purse,
    limit: Vector,
    month: datetime.date,
    draws: Draws,
) -> Acts:
    """Return the month's acts under these credit limits."""
    in_arrears = state.days_past_due >= DAYS_A_MONTH
    is_blocked = in_arrears | state.ended  # no cash and no purchases in arrears
    borrowed, inquiries = _borrow(state, purse, in_arrears, draws)

    owed = np.maximum(state.balance, 0.0)
    room = np.maximum(limit - owed, 0.0)
    lacking = np.maximum(purse.gap - borrowed, 0.0)
    wanted_cash = _draw_cash(state, purse, lacking, room, draws)
    cash = np.where(is_blocked, 0.0, wanted_cash)

    raised = borrowed + cash
    able = purse.free + purse.kept_share * raised
    payment = _pay(state, able, in_arrears, draws)

    # The payment frees the line before the month's purchases are made.
    still_owed = np.maximum(state.balance - payment, 0.0)
    room = np.maximum(limit - still_owed - cash, 0.0)
    wish = _wish_to_buy(state, purse, month, draws)
    bought = np.minimum(wish, 0.98 * room)
    spend = np.where(is_blocked, 0.0, bought)
    return Acts(
        spend=round_to_cents(spend),
        cash_advance=round_to_cents(cash),
        payment=payment,
        days_late=_days_late(state, draws),
        limit_requests=_request_limits(state, purse, limit, draws),
        credit_inquiries=inquiries,
        borrowed=borrowed,
        repaid=np.zeros_like(borrowed),
    )


def _request_limits(
    state: State,
    purse: Purse,
    limit: Vector,
    draws: Draws,
) -> Whole:
    """Draw the requests for a higher limit: from use of the line, impulse and pressure."""
    owed = np.maximum(state.balance, 0.0)
    used = np.minimum(owed / limit, 1.2)
    impulse = 0.3 * state.traits.impulsiveness
    need = 2.0 * purse.pressure
    log_ratio = 1.4 * used + impulse + need
    mean_requests = 0.005 * np.exp(log_ratio)
    return draws.poisson(Event.REQUEST, mean_requests, most=5)


def _days_late(state: State, draws: Draws) -> Whole:
    discipline = 0.9 * state.traits.discipline
    strain = 0.7 * state.strain
    log_odds = -4.6 - discipline + strain
    is_late = draws.happens(Event.LATE, expit(log_odds))
    # Squared, because most late payments are only some days late.
    share_of_month = draws.uniform(Event.DAYS_LATE) ** 2
    days = 1 + np.floor(29 * share_of_month)
    return np.where(is_late, days, 0).astype(np.int32)


def _borrow(
    state: State,
    purse: Purse,
    in_arrears: Mask,
    draws: Draws,
) -> tuple[Vector, Whole]:
    """Return (CNY borrowed elsewhere, credit inquiries).

    Customers seek credit from need or appetite; the more they owe, the less is granted.
    """
    traits = state.traits
    income, debt = traits.income_level, state.external_debt
    burden = np.minimum(debt / income, 6.0)
    appetite = 0.6 * purse.appetite
    impulse = 0.3 * traits.impulsiveness
    need = 5.0 * purse.pressure
    log_odds_seek = -5.0 + appetite + impulse + need + 0.15 * burden
    seeks = draws.happens(Event.SEEK, expit(log_odds_seek))

    log_odds_access = 0.9 * traits.access - 0.2
    ceiling = income * 6.0 * expit(log_odds_access)
    filled = np.minimum(debt / ceiling, 1.5)
    log_odds_granted = 3.0 - 4.0 * filled
    is_granted = draws.happens(Event.GRANTED, expit(log_odds_granted))

    incomes_wanted = 0.3 + 1.2 * draws.uniform(Event.BORROWED)
    wanted = np.maximum(1.3 * purse.gap, income * incomes_wanted)
    available = np.maximum(1.15 * ceiling - debt, 0.0)
    lent = np.minimum(wanted, available)
    is_lent = seeks & ~in_arrears & is_granted
    borrowed = np.where(is_lent, lent, 0.0)
    return round_to_cents(borrowed), _draw_inquiries(seeks, purse, draws)


def _draw_inquiries(
    seeks: Mask,
    purse: Purse,
    draws: Draws,
) -> Whole:
    # Each application to a lender is an inquiry; under pressure customers apply to several.
    mean_applications = 0.9 + 1.5 * purse.pressure
    mean_inquiries = 0.03 + np.where(seeks, mean_applications, 0.0)
    return draws.poisson(Event.INQUIRIES, mean_inquiries)


def _draw_cash(
    state: State,
    purse: Purse,
    lacking: Vector,
    room: Vector,
    draws: Draws,
) -> Vector:
    """Return the cash drawn from the line, from need or habit, within its room.

    A cash loan line has no other use.
    """
    traits = state.traits
    base = traits.by_product(
        pay_later=-4.0,
        cash_loan=-1.8,
    )
    habit = 0.4 * traits.cash_habit
    appetite = 0.8 * purse.appetite
    need = 3.0 * purse.pressure
    log_odds = base + habit + appetite + need
    draws_cash = draws.happens(Event.CASH, expit(log_odds))

    share = traits.by_product(
        pay_later=0.15,
        cash_loan=0.45,
    )
    drawn_share = share * draws.uniform(Event.CASH_AMOUNT)
    from_habit = drawn_share * room
    # Under pressure customers draw more than the gap that they have this month.
    reserve = 0.25 * purse.pressure * traits.income_level
    from_need = 1.2 * lacking + reserve
    wanted = np.maximum(from_habit, from_need)
    cash = np.minimum(wanted, 0.95 * room)
    # Cash comes in whole hundreds; nothing if less is needed.
    hundreds = np.floor(cash / 100.0)
    return np.where(draws_cash, hundreds * 100.0, 0.0)


def _pay(
    state: State,
    able: Vector,
    in_arrears: Mask,
    draws: Draws,
) -> Vector:
    """Return the payment, whole cents: in full, in part, the minimum, less or nothing.

    ``able`` is the money at hand, CNY.
    """
    traits = state.traits
    owed = np.maximum(state.balance, 0.0)
    due = state.minimum_due
    wanted = _wanted_payment(state, owed, draws)
    # A tenth of an income is kept back unless the minimum due takes it.
    kept_back = 0.1 * traits.income_level
    reach = np.maximum(able - kept_back, due)
    affordable = np.minimum(wanted, reach)

    is_strained = able < due
    rest = _token_payment(able, due, in_arrears, draws)
    paid = np.where(is_strained, rest, affordable)

    # A full payment is now and then rounded up to whole hundreds: a credit balance.
    is_full = (paid >= owed) & ~is_strained & (owed > 0)
    is_rounded = is_full & draws.happens(Event.ROUNDED_UP, 0.01)
    next_hundred = np.ceil(owed / 100.0) * 100.0
    rounded = np.minimum(next_hundred, np.maximum(able, owed))
    paid = np.where(is_rounded, rounded, np.minimum(paid, owed))

    forgets = _forgets_to_pay(state, in_arrears, draws)
    return round_to_cents(np.where(forgets, 0.0, paid))


def _token_payment(
    able: Vector,
    due: Vector,
    in_arrears: Mask,
    draws: Draws,
) -> Vector:
    """Return the payment of customers who cannot pay the minimum: part of what they have, or none.

    Customers in arrears give up more often.
    """
    # One uniform for both: those who give up have the lowest, and the others pay the larger part.
    token = draws.uniform(Event.STRAINED)
    chance_to_give_up = np.where(in_arrears, 0.75, 0.5)
    gives_up = token < chance_to_give_up
    at_hand = np.clip(able, 0.0, due)
    return np.where(gives_up, 0.0, at_hand * token)


def _forgets_to_pay(
    state: State,
    in_arrears: Mask,
    draws: Draws,
) -> Mask:
    # In arrears the odds are twelve times as high: exp(2.5).
    arrears = np.where(in_arrears, 2.5, 0.0)
    log_odds = -5.6 - state.traits.discipline + arrears
    return draws.happens(Event.FORGOTTEN, expit(log_odds))


def _wanted_payment(
    state: State,
    owed: Vector,
    draws: Draws,
) -> Vector:
    """Return what a customer would pay from habit: all, or the minimum due and part of the rest."""
    traits, due = state.traits, state.minimum_due
    base = traits.by_product(
        pay_later=0.9,
        cash_loan=-1.2,
    )
    appetite = 0.5 * state.appetite
    strain = 1.5 * state.strain
    log_odds_full = base + traits.discipline - appetite - strain
    pays_in_full = draws.happens(Event.FULL, expit(log_odds_full))
    # A power of the uniform: it keeps the draw in [0, 1) and moves it up with discipline.
    eagerness = np.exp(0.5 * traits.discipline - 0.3)
    exponent = 2.5 / eagerness
    part = draws.uniform(Event.PART) ** exponent
    part_payment = due + part * (owed - due)
    return np.where(pays_in_full, owed, part_payment)


def _wish_to_buy(
    state: State,
    purse: Purse,
    month: datetime.date,
    draws: Draws,
) -> Vector:
    """Return the purchases that the customer wants to make with the account, CNY."""
    traits = state.traits
    impulse = np.exp(0.4 * traits.impulsiveness)
    festival = 1.0 + _FESTIVAL.get(month.month, 0.0) * impulse
    usual = traits.spend_share * traits.income_level
    season = _SEASON[month.month - 1]
    ordinary = usual * season * festival
    noise = 0.35 * draws.normal(Event.SPEND)
    wish = ordinary * np.exp(purse.appetite + noise)
    # Cash loan lines are hardly ever used for purchases.
    chance = traits.by_product(
        pay_later=0.96,
        cash_loan=0.04,
    )
    buys = draws.happens(Event.SPEND_AT_ALL, chance)
    return np.where(buys, wish, 0.0)
