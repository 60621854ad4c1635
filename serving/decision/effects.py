"""What each behaviour did to the log-odds, with all that followed from it.

A contribution is a feature's own part, the others being what they are.  But one thing leads to another: who spends beyond the
income uses up the line, draws cash, pays less and asks for credit elsewhere, and each of these takes a part of what the
spending did.  The *effect* of a reason group gives it back: the account's last year is lived again through the ledger, with
one behaviour at the level of the reference population; the effect is by how much lower the model's log-odds are then.  It is
the total effect of causal inference (Pearl 2001, "Direct and indirect effects"), as far as a ledger carries it.

Each reason group that behaviour drives has one.  Paying on time, repaying a share of the balance, spending, drawing cash and
asking for credit are acts of each month; a full line and debt elsewhere are what the time before has left, and there the year
begins at the reference's level.  Only towards the reference: who does better than it is left alone, and who was never late
has nothing to pay in time.  No act belongs to two: a month that leaves an instalment uncovered is late payment's, and weak
repayment is of the others.  Short history and capacity have none.

Money is kept count of.  Payments and cash stay as they were.  What need not be paid any more, here or as instalments
elsewhere, is at hand: it pays off the balance, then stands in for cash, then pays back what was borrowed.  What is paid
more, or not drawn, is borrowed elsewhere.  So of the acts only spending less makes a customer owe less in all, but for
interest and fees.  A line less full and less debt elsewhere are gifts, for who had them would have lived otherwise before.

The lender's books are kept as well: what the terms do not explain of a statement (another minimum, another rate, a day of
grace) is carried into the year that is lived again, and nobody is later in it than they were.  So a year in which nothing
is changed is the year that was, whoever sent it.

Conventions
-----------
A *course* is one account with one behaviour, or as it was.  Arrays are float64 (courses,), or (months, courses) with the
newest month first, as in :mod:`features.window`.  Amounts in CNY.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from features.build import values_of
from features.catalogue import CATALOGUE
from features.ledger import DAYS_A_MONTH, Behaviour, Standing, Terms, minimum_due_of, next_standing
from features.window import Months, Values, Window
from serving.decision.bundle import Bundle
from serving.decision.course import spread
from serving.decision.score import log_odds_of

Driven = Literal[
    "late_payment", "high_utilization", "overspending", "weak_repayment", "cash_reliance", "credit_seeking",
    "external_debt",
]  # fmt: skip
DRIVEN: tuple[Driven, ...] = get_args(Driven)  # the reason groups that behaviour drives
YEAR = 12  # months that are lived again, and that the levels of counts speak of
_ACCOUNTS_A_BLOCK = 256  # their courses fit the processor's cache, and memory stays flat
_NAMES = tuple(feature.name for feature in CATALOGUE)


@dataclass(frozen=True, slots=True)
class Levels:
    """The reference accounts' levels, float64 (accounts,); NaN = not known, and then left alone.

    ``paid_share`` of the balance a month; ``spend`` and ``debt`` elsewhere (as the lender sees it) in monthly incomes;
    ``cash`` a month and ``used`` as shares of the limit; ``limit_requests`` and ``inquiries`` a year.
    """

    paid_share: Values
    spend: Values
    debt: Values
    cash: Values
    used: Values
    limit_requests: Values
    inquiries: Values


_SOURCES: Mapping[str, tuple[str, float]] = {
    "paid_share": ("payment_to_balance_12", 1.0),
    "spend": ("spend_to_income_12", 1.0),
    "debt": ("external_debt_to_income", 1.0),
    "cash": ("cash_to_limit_6", 1 / 6),
    "used": ("utilization_mean_12", 1.0),
    "limit_requests": ("limit_requests_12", 1.0),
    "inquiries": ("credit_inquiries_12", 1.0),
}
_GROUP_OF_LEVEL: Mapping[str, Driven] = {
    "paid_share": "weak_repayment",
    "spend": "overspending",
    "debt": "external_debt",
    "cash": "cash_reliance",
    "used": "high_utilization",
    "limit_requests": "credit_seeking",
    "inquiries": "credit_seeking",
}


def features_of(group: str) -> tuple[str, ...]:
    """The features whose medians are the group's levels; none of a group that has no level."""
    return tuple(_SOURCES[level][0] for level, own in _GROUP_OF_LEVEL.items() if own == group)


def levels_of(medians: Mapping[str, Mapping[str, float]], products: Sequence[str]) -> Levels:
    """The levels of accounts of these products, from the reference's medians: product -> feature -> median."""
    return Levels(
        **{
            name: np.array([medians[product].get(feature, np.nan) for product in products]) * times
            for name, (feature, times) in _SOURCES.items()
        }
    )


def of_the_year(level: Values, month: int) -> Values:
    """A year's count, spread over its months; a level that is not known allows all."""
    counts: Values = np.floor(level * (month + 1) / YEAR) - np.floor(level * month / YEAR)
    return np.where(np.isnan(counts), np.inf, counts)


def effects(window: Window, products: Sequence[str], bundle: Bundle) -> NDArray[np.float64]:
    """The effects on a window's accounts, float64 (accounts, DRIVEN), in log-odds; positive = the behaviour raised them.

    NaN where it cannot be said: a history of one statement, or a level or an amount that is not known.  An account's effects
    are the same to the last bit whatever accounts stand beside it.
    """
    levels = levels_of(bundle.medians, products)
    blocks = [np.empty((0, len(DRIVEN)))]
    for start in range(0, len(products), _ACCOUNTS_A_BLOCK):
        accounts = np.arange(start, min(start + _ACCOUNTS_A_BLOCK, len(products)))
        blocks.append(_block(window, levels, accounts, bundle))
    return np.concatenate(blocks)


def by_group(row: Sequence[float]) -> dict[str, float]:
    """One account's effects by reason group, those that are known."""
    return {group: effect for group, effect in zip(DRIVEN, row, strict=True) if not math.isnan(effect)}


def _block(window: Window, levels: Levels, accounts: NDArray[np.int64], bundle: Bundle) -> NDArray[np.float64]:
    ways = 1 + len(DRIVEN)  # as it was, then one behaviour each
    courses, own = spread(window, np.repeat(accounts, ways)), _at(levels, np.repeat(accounts, ways))
    driven = np.tile(np.array(["", *DRIVEN]), len(accounts))
    only = Levels(
        **{name: np.where(driven == group, getattr(own, name), np.nan) for name, group in _GROUP_OF_LEVEL.items()},
    )
    relived = _relived(courses, only, driven == "late_payment", bundle.policy.terms, bundle.advice.search.instalment_share)
    rows = values_of(Window(relived, courses.months_observed.astype(np.int64)))
    matrix = np.ascontiguousarray(rows[:, [_NAMES.index(name) for name in bundle.features]])
    log_odds = log_odds_of(matrix, bundle.scorer, threads=1).reshape(-1, ways)
    found = log_odds[:, :1] - log_odds[:, 1:] + 0.0
    return np.where(_known(window, levels, accounts), found, np.nan)


def _known(window: Window, levels: Levels, accounts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether an effect can be said, (accounts, DRIVEN)."""
    own = _at(levels, accounts)
    income = ~np.isnan(window.last_known("income")[accounts])
    seen: dict[Driven, NDArray[np.bool_]] = {
        "late_payment": np.ones(len(accounts), dtype=np.bool_),
        "high_utilization": ~np.isnan(own.used),
        "overspending": ~np.isnan(own.spend) & income & _ever(window.spend, accounts),
        "weak_repayment": ~np.isnan(own.paid_share),
        "cash_reliance": ~np.isnan(own.cash) & _ever(window.cash_advance, accounts),
        "credit_seeking": (~np.isnan(own.limit_requests) & _ever(window.limit_requests, accounts))
        | (~np.isnan(own.inquiries) & _ever(window.credit_inquiries, accounts)),
        "external_debt": ~np.isnan(own.debt) & income & _ever(window.external_debt, accounts),
    }
    return np.column_stack([seen[group] for group in DRIVEN]) & (window.months_observed[accounts] > 1)[:, None]


def _ever(column: Months, accounts: NDArray[np.int64]) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = np.any(~np.isnan(column[:, accounts]), axis=0)
    return known


_CHANGED = (
    "balance", "spend", "cash_advance", "payment", "minimum_due", "days_past_due", "limit_requests", "credit_inquiries",
    "external_debt",
)  # fmt: skip
_COLUMNS = (*_CHANGED, "credit_limit", "income")


def _at(levels: Levels, places: NDArray[np.int64]) -> Levels:
    return Levels(*(getattr(levels, field.name)[places] for field in fields(Levels)))


@dataclass(frozen=True, slots=True)
class _Stand:
    """Where a month leaves the courses.

    ``spared`` is debt elsewhere that was and now is not, below 0 = debt that is new; ``at_hand`` money no longer needed.
    """

    account: Standing
    spared: Values
    at_hand: Values


def _relived(
    was: Window, levels: Levels, on_time: NDArray[np.bool_], terms: Terms, instalment_share: float
) -> dict[str, Months]:
    """The columns of the windows that would have been, each course at the levels that are not NaN."""
    months = min(YEAR, len(was.balance) - 1)
    start = np.minimum(months, was.months_observed.astype(np.int64) - 1)
    income = was.last_known("income")
    stand = _beginning(was, start, levels, income, terms)
    books = _books(was, months, terms)
    known = {name: np.nan_to_num(getattr(was, name)[:months]) for name in _COLUMNS}
    known["owed_before"] = np.nan_to_num(was.owed_before[:months])
    written: dict[str, list[Values]] = {name: [] for name in _CHANGED}
    for row in range(months - 1, -1, -1):
        then = {name: column[row] for name, column in known.items()}
        after, behaviour = _month(stand, then, levels, on_time, income, terms, instalment_share)
        after = replace(after, account=books.at(row).kept(stand.account, after.account, then, on_time, terms))
        month = (YEAR - 1 - row) % YEAR
        new = {
            "balance": after.account.balance,
            "spend": behaviour.spend,
            "cash_advance": behaviour.cash_advance,
            "payment": behaviour.payment,
            "minimum_due": after.account.minimum_due,
            "days_past_due": after.account.days_past_due,
            "limit_requests": np.minimum(then["limit_requests"], of_the_year(levels.limit_requests, month)),
            "credit_inquiries": np.minimum(then["credit_inquiries"], of_the_year(levels.inquiries, month)),
            "external_debt": np.maximum(then["external_debt"] - after.spared, 0.0),
        }
        for name, values in new.items():
            written[name].append(values)
        stand = _either(start > row, after, stand)
    return _overwritten(was, written, start)


def _overwritten(was: Window, written: Mapping[str, list[Values]], start: NDArray[np.int64]) -> dict[str, Months]:
    """The window's columns with the months that were lived again, oldest first; what was not known stays so."""
    lived: dict[str, Months] = {name: getattr(was, name) for name in _COLUMNS}
    for name, months in written.items():
        old = lived[name]
        new = np.array(months[::-1], dtype=np.float64).reshape(len(months), len(start))
        again = (np.arange(len(months))[:, None] < start) & ~np.isnan(old[: len(months)])
        lived[name] = np.vstack([np.where(again, new, old[: len(months)]), old[len(months) :]])
    return lived


def _month(
    stand: _Stand,
    then: Mapping[str, Values],
    levels: Levels,
    on_time: NDArray[np.bool_],
    income: Values,
    terms: Terms,
    instalment_share: float,
) -> tuple[_Stand, Behaviour]:
    """A month lived again: what it leaves by the ledger, and what was done.  ``then`` is what was."""
    at_hand = stand.at_hand + then["payment"] + instalment_share * stand.spared
    late = then["days_past_due"] > 0
    share = np.where(then["days_past_due"] < DAYS_A_MONTH, levels.paid_share, np.nan)
    payment = _payment(then["payment"], then["owed_before"], stand.account, share, on_time & late, at_hand)
    at_hand = at_hand - payment
    wanted = _cents(np.fmin(then["cash_advance"], levels.cash * then["credit_limit"]))
    at_hand = at_hand - (then["cash_advance"] - wanted)
    instead = np.minimum(np.maximum(at_hand, 0.0), wanted)
    at_hand = at_hand - instead
    spend = _cents(np.fmin(then["spend"], levels.spend * income))
    days = np.where((then["days_past_due"] < DAYS_A_MONTH) & ~on_time, then["days_past_due"], 0.0).astype(np.int32)
    behaviour = Behaviour(spend, _cents(wanted - instead), payment, days)
    account = next_standing(stand.account, behaviour, terms)
    # What is lacking is borrowed elsewhere, at the rate that is charged here, and paid back when there is money again.
    spared = stand.spared * (1.0 + terms.monthly_rate - instalment_share) + np.minimum(at_hand, 0.0)
    back = np.minimum(np.maximum(at_hand, 0.0), np.maximum(-spared, 0.0))
    # A line that begins less full is a gift.  What was paid on it and is not needed in its month was never there to keep.
    kept = np.where(np.isnan(levels.used), np.maximum(at_hand, 0.0) - back, 0.0)
    return _Stand(account, spared + back, kept), behaviour


@dataclass(frozen=True, slots=True)
class _Books:
    """By how much the lender's books differ from the ledger's, month by month or in one of them: what no act explains.

    ``unexplained`` is owed beside what the ledger says.  ``due`` is the minimum due for each yuan of the ledger's, NaN = a
    source that tells none; ``due_beside`` is due where the ledger asks for nothing; ``due_before`` was to be paid in the
    month.  ``more_days`` past due than the ledger counts.
    """

    unexplained: Values
    due: Values
    due_beside: Values
    due_before: Values
    more_days: Values

    def at(self, row: int) -> _Books:
        """The books of one month."""
        return _Books(*(getattr(self, field.name)[row] for field in fields(_Books)))

    def kept(
        self, before: Standing, by_ledger: Standing, then: Mapping[str, Values], on_time: NDArray[np.bool_], terms: Terms
    ) -> Standing:
        """The standing as this lender would have booked it; nobody is later than they were."""
        owed_then = then["owed_before"]
        share = np.divide(np.maximum(before.balance, 0.0), owed_then, out=np.ones_like(owed_then), where=owed_then > 0)
        # What was charged less than the terms would have, is less of a smaller debt.
        less = np.minimum(self.unexplained, 0.0) * np.minimum(share, 1.0)
        balance = _cents(by_ledger.balance + np.maximum(self.unexplained, 0.0) + less)
        nothing_due = (before.minimum_due <= 0) & (self.due_before > 0)
        more = np.where(on_time | nothing_due, 0.0, self.more_days)
        days = np.minimum(by_ledger.days_past_due + more, then["days_past_due"]).astype(np.int32)
        due = _cents(by_ledger.minimum_due * self.due + self.due_beside)
        return Standing(balance, np.where(np.isnan(due), minimum_due_of(balance, days // DAYS_A_MONTH, terms), due), days)


def _books(was: Window, months: int, terms: Terms) -> _Books:
    """What the ledger does not explain of each statement from the one before, (months, courses)."""
    then, before = (
        {name: getattr(was, name)[rows] for name in ("balance", "minimum_due", "days_past_due")}
        for rows in (slice(0, months), slice(1, months + 1))
    )
    days = np.nan_to_num(before["days_past_due"]).astype(np.int32)
    asked = minimum_due_of(np.nan_to_num(before["balance"]), days // DAYS_A_MONTH, terms)
    due = np.where(np.isnan(before["minimum_due"]), asked, before["minimum_due"])
    late = np.nan_to_num(then["days_past_due"])
    spend, cash, payment = (np.nan_to_num(getattr(was, name)[:months]) for name in ("spend", "cash_advance", "payment"))
    acts = Behaviour(spend, cash, payment, np.where(late < DAYS_A_MONTH, late, 0.0).astype(np.int32))
    told = next_standing(Standing(np.nan_to_num(before["balance"]), due, days), acts, terms)
    asks = told.minimum_due > 0
    ratio = np.divide(then["minimum_due"], told.minimum_due, out=np.where(asks, np.nan, then["minimum_due"] * 0.0), where=asks)
    return _Books(
        np.nan_to_num(_cents(then["balance"] - told.balance)),
        ratio,
        np.where(asks, 0.0, then["minimum_due"]),
        np.nan_to_num(due),
        np.maximum(late - told.days_past_due, 0.0),
    )


def _beginning(was: Window, start: NDArray[np.int64], levels: Levels, income: Values, terms: Terms) -> _Stand:
    """Where the year begins: at the statement before its first month."""
    courses = np.arange(len(start))
    balance, days = was.balance[start, courses], was.days_past_due[start, courses].astype(np.int32)
    due, debt = was.minimum_due[start, courses], was.external_debt[start, courses]
    # A minimum that a source does not tell is what the terms ask for; of a smaller debt it is as much smaller.
    due = np.where(np.isnan(due), minimum_due_of(balance, days // DAYS_A_MONTH, terms), due)
    lower = np.fmin(balance, _cents(levels.used * was.credit_limit[start, courses]))
    due = _cents(due * np.divide(np.maximum(lower, 0.0), balance, out=np.ones_like(balance), where=balance > 0))
    balance = lower
    spared = np.nan_to_num(np.maximum(debt - levels.debt * income, 0.0))
    return _Stand(Standing(balance, due, days), spared, np.zeros(len(start)))


def _payment(
    paid: Values, owed_then: Values, now: Standing, least_share: Values, on_time: NDArray[np.bool_], at_hand: Values
) -> Values:
    """What is paid: as much as it was, what the behaviour asks for, and what is at hand; never more than is owed.

    Who paid more than was owed does so again.
    """
    owed = np.maximum(now.balance, 0.0)
    payment = np.minimum(paid, np.where(paid > owed_then, np.maximum(owed, paid), owed))
    payment = np.where(on_time, np.maximum(payment, now.minimum_due), payment)
    payment = np.fmax(payment, np.clip(least_share, 0.0, 1.0) * owed)
    more = np.minimum(np.maximum(owed - payment, 0.0), np.maximum(at_hand - payment, 0.0))
    return _cents(payment + more)


def _either(first: NDArray[np.bool_], one: _Stand, other: _Stand) -> _Stand:
    account = Standing(
        *(np.where(first, getattr(one.account, f.name), getattr(other.account, f.name)) for f in fields(Standing))
    )
    return _Stand(account, np.where(first, one.spared, other.spared), np.where(first, one.at_hand, other.at_hand))


def _cents(amount: Values) -> Values:
    rounded: Values = np.round(amount, 2)
    return rounded
