"""What a customer does in a month: borrow elsewhere, draw cash, pay, buy.

The order is that of a purse.  Income comes in and living goes out; what is left must carry the
instalments elsewhere and the minimum here.  Where it does not, the customer seeks credit, takes
cash from the line, pays less, and misses a payment last: so trouble shows in use, cash, inquiries
and debt months before it shows as a late payment.
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
from training.data.simulate.state import State, Traits, Whole, round_to_cents

EXTERNAL_RATE = 0.016  # interest a month on debt elsewhere
EXTERNAL_INSTALMENT = 0.05  # of the debt elsewhere, asked for each month
# Spending by calendar month; festivals (New Year, 618 in June, Double 11 in November) move the
# impulsive more.
_SEASON = np.array([1.10, 0.92, 0.95, 0.95, 1.00, 1.02, 0.96, 0.97, 1.00, 1.03, 1.02, 1.03])
_FESTIVAL = np.array([0.15, 0.10, 0.0, 0.0, 0.0, 0.28, 0.0, 0.0, 0.0, 0.05, 0.40, 0.06])
_ELSEWHERE = 0.18  # ordinary purchases that go past the account, as a share of income_level
_APPETITE_KEPT = 0.95  # of last month's appetite
# monthly incomes above the minimum due below which a customer begins to act on trouble ahead
_NEAR = 0.6


@dataclass(frozen=True, slots=True)
class Acts:
    """A month of one's own acts; amounts in CNY >= 0, whole cents.

    What an intervention would change.
    """

    spend: Vector
    cash_advance: Vector
    payment: Vector
    days_late: Whole  # 0 to 29, of a payment that is enough
    limit_requests: Whole
    credit_inquiries: Whole
    borrowed: Vector  # from other lenders
    repaid: Vector  # to other lenders, beyond the instalments; only because somebody says so


@dataclass(frozen=True, slots=True)
class Purse:
    """What a month leaves before any credit."""

    # CNY: income and savings less living, costs and instalments elsewhere; may be negative
    free: Vector
    gap: Vector  # CNY >= 0: what the minimum due lacks
    # how near the purse is to its end: 0 = ample, _NEAR = the minimum takes the last of it, more =
    # a gap
    pressure: Vector

    @property
    def kept(self) -> Vector:
        """Share of money borrowed or drawn that stays in the purse; the rest was wished for and is
        spent at once.
        """
        return np.clip(self.pressure / _NEAR, 0.2, 1.0)


def move_appetite(state: State, draws: Draws) -> Vector:
    """Spending wishes, a slow wave round each customer's own level."""
    level = 0.10 * state.traits.impulsiveness
    noise = 0.08 + 0.12 * expit(1.2 * state.traits.impulsiveness)
    moved: Vector = (
        level + _APPETITE_KEPT * (state.appetite - level) + noise * draws.normal(Event.APPETITE)
    )
    return np.clip(moved, -1.5, 1.5)


def fill_purse(state: State, means: Means, appetite: Vector) -> Purse:
    """Income and savings less living and instalments elsewhere.

    In a shock, living is cut back by a fifth.
    """
    traits = state.traits
    thrift = np.where(means.shock == NONE, 1.0, 0.8)
    share = traits.living + np.where(
        traits.cash_loan, _ELSEWHERE + traits.spend_share, _ELSEWHERE
    ) * np.exp(0.5 * appetite)
    outflow = (
        thrift * share * traits.income_level
        + means.costs
        + EXTERNAL_INSTALMENT * state.external_debt
    )
    free = state.savings + means.income - outflow
    gap = np.maximum(state.minimum_due - free, 0.0)
    return Purse(
        free, gap, np.clip(_NEAR - (free - state.minimum_due) / traits.income_level, 0.0, 2.0)
    )


def act(
    state: State, purse: Purse, appetite: Vector, limit: Vector, month: datetime.date, draws: Draws
) -> Acts:
    """The month's acts under the given limits."""
    arrears = state.days_past_due >= DAYS_A_MONTH
    borrowed, inquiries = _borrow(state, purse, appetite, arrears, draws)
    room = np.maximum(limit - np.maximum(state.balance, 0.0), 0.0)
    blocked = arrears | state.ended  # who is in arrears draws nothing more
    still_lacking = np.maximum(purse.gap - borrowed, 0.0)
    cash = np.where(blocked, 0.0, _cash(state, purse, still_lacking, appetite, room, draws))
    payment = _pay(state, purse.free + purse.kept * (borrowed + cash), arrears, draws)
    room = np.maximum(limit - np.maximum(state.balance - payment, 0.0) - cash, 0.0)
    wish = _wish(state.traits, state, appetite, month, draws)
    spend = np.where(blocked, 0.0, np.minimum(wish, 0.98 * room))
    late = draws.happens(
        Event.LATE, expit(-4.6 - 0.9 * state.traits.discipline + 0.7 * state.strain)
    )
    days_late = np.where(late, 1 + np.floor(29 * draws.uniform(Event.DAYS_LATE) ** 2), 0).astype(
        np.int32
    )
    used = np.minimum(np.maximum(state.balance, 0.0) / limit, 1.2)
    asking = 0.005 * np.exp(1.4 * used + 0.3 * state.traits.impulsiveness + 2.0 * purse.pressure)
    return Acts(
        spend=round_to_cents(spend),
        cash_advance=round_to_cents(cash),
        payment=payment,
        days_late=days_late,
        limit_requests=draws.poisson(Event.REQUEST, asking, most=5),
        credit_inquiries=inquiries,
        borrowed=borrowed,
        repaid=np.zeros_like(borrowed),
    )


def _borrow(
    state: State, purse: Purse, appetite: Vector, arrears: Mask, draws: Draws
) -> tuple[Vector, Whole]:
    """Seek credit elsewhere from need or appetite; granted less the more is owed.

    (borrowed, inquiries)
    """
    traits, income = state.traits, state.traits.income_level
    burden = np.minimum(state.external_debt / income, 6.0)
    seeking = expit(
        -5.0 + 0.6 * appetite + 0.3 * traits.impulsiveness + 5.0 * purse.pressure + 0.15 * burden
    )
    seeks = draws.happens(Event.SEEK, seeking)
    inquiries = draws.poisson(
        Event.INQUIRIES, 0.03 + np.where(seeks, 0.9 + 1.5 * purse.pressure, 0.0)
    )
    ceiling = income * 6.0 * expit(0.9 * traits.access - 0.2)
    filled = np.minimum(state.external_debt / ceiling, 1.5)
    granted = seeks & ~arrears & draws.happens(Event.GRANTED, expit(3.0 - 4.0 * filled))
    wanted = np.maximum(1.3 * purse.gap, income * (0.3 + 1.2 * draws.uniform(Event.BORROWED)))
    borrowed = np.where(
        granted, np.minimum(wanted, np.maximum(1.15 * ceiling - state.external_debt, 0.0)), 0.0
    )
    return round_to_cents(borrowed), inquiries


def _cash(
    state: State, purse: Purse, lacking: Vector, appetite: Vector, room: Vector, draws: Draws
) -> Vector:
    """Cash from the line: from need where there is room, else from habit; for a cash loan it is
    what the line is for.
    """
    traits = state.traits
    base = np.where(traits.cash_loan, -1.8, -4.0)
    chance = expit(base + 0.4 * traits.cash_habit + 0.8 * appetite + 3.0 * purse.pressure)
    draws_cash = draws.happens(Event.CASH, chance)
    habit = np.where(traits.cash_loan, 0.45, 0.15) * draws.uniform(Event.CASH_AMOUNT) * room
    cash = np.minimum(
        np.maximum(habit, 1.2 * lacking + 0.25 * purse.pressure * traits.income_level), 0.95 * room
    )
    # Cash comes in whole hundreds; who needs less draws none.
    return np.where(draws_cash, np.floor(cash / 100.0) * 100.0, 0.0)


def _pay(state: State, able: Vector, arrears: Mask, draws: Draws) -> Vector:
    """In full, in part, the minimum, less or nothing: what habit wants, as far as the purse goes.

    Whole cents.
    """
    traits = state.traits
    owed, due = np.maximum(state.balance, 0.0), state.minimum_due
    full_wish = (
        np.where(traits.cash_loan, -1.2, 0.9) + 1.0 * traits.discipline - 0.5 * state.appetite
    )
    full = draws.happens(Event.FULL, expit(full_wish - 1.5 * state.strain))
    eagerness = np.exp(0.5 * traits.discipline - 0.3)
    part = draws.uniform(Event.PART) ** (2.5 / eagerness)
    wanted = np.where(full, owed, due + part * (owed - due))
    # A tenth of an income stays in the purse unless the minimum takes it.
    reach = np.maximum(able - 0.1 * traits.income_level, due)
    paid = np.minimum(wanted, reach)
    # Who cannot pay the minimum pays what there is, or gives up; who is in arrears gives up more
    # easily.
    strained = able < due
    token = draws.uniform(Event.STRAINED)
    rest = np.where(token < np.where(arrears, 0.75, 0.5), 0.0, np.clip(able, 0.0, due) * token)
    paid = np.where(strained, rest, paid)
    forgets = draws.happens(
        Event.FORGOTTEN, expit(-5.6 - 1.0 * traits.discipline + np.where(arrears, 2.5, 0.0))
    )
    # Some round a full payment up to whole hundreds, and are owed the rest.
    rounds = (paid >= owed) & ~strained & (owed > 0) & draws.happens(Event.ROUNDED_UP, 0.01)
    paid = np.where(
        rounds,
        np.minimum(np.ceil(owed / 100.0) * 100.0, np.maximum(able, owed)),
        np.minimum(paid, owed),
    )
    return round_to_cents(np.where(forgets, 0.0, paid))


def _wish(
    traits: Traits, state: State, appetite: Vector, month: datetime.date, draws: Draws
) -> Vector:
    """Purchases wished for through the account."""
    place = month.month - 1
    festival = 1.0 + _FESTIVAL[place] * np.exp(0.4 * traits.impulsiveness)
    ordinary = traits.spend_share * traits.income_level * _SEASON[place] * festival
    wish = ordinary * np.exp(appetite + 0.35 * draws.normal(Event.SPEND))
    buys = draws.happens(Event.SPEND_AT_ALL, np.where(traits.cash_loan, 0.04, 0.96))
    return np.where(buys, wish, 0.0)
