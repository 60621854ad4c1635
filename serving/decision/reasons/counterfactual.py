"""An account's last year with one behaviour changed, replayed through the lender's own ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from features.ledger import DAYS_A_MONTH, Behaviour, Standing, Terms, minimum_due_of, next_standing
from features.window import Months, Values, Window

MONTHS_REPLAYED = 12  # months that are lived again, and that the levels of counts speak of


@dataclass(frozen=True, slots=True)
class Levels:
    """The reference accounts' levels, float64 (accounts,); NaN = not known, and then left alone.

    ``paid_share`` of the balance a month; ``spend`` and ``debt`` elsewhere (as the lender sees it)
    in monthly incomes; ``cash`` a month and ``used`` as shares of the limit; ``limit_requests`` and
    ``inquiries`` a year.
    """

    paid_share: Values
    spend: Values
    debt: Values
    cash: Values
    used: Values
    limit_requests: Values
    inquiries: Values


def year_amount(level: Values, month: int) -> Values:
    """A year's count, spread over its months; a level that is not known allows all."""
    counts: Values = np.floor(level * (month + 1) / MONTHS_REPLAYED) - np.floor(
        level * month / MONTHS_REPLAYED
    )
    return np.where(np.isnan(counts), np.inf, counts)


_CHANGED = (
    "balance", "spend", "cash_advance", "payment", "minimum_due", "days_past_due", "limit_requests", "credit_inquiries",
    "external_debt",
)  # fmt: skip
_COLUMNS = (*_CHANGED, "credit_limit", "income")


def take_levels(levels: Levels, places: NDArray[np.int64]) -> Levels:
    """The levels of these accounts, by position."""
    return Levels(*(getattr(levels, field.name)[places] for field in fields(Levels)))


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a month leaves the courses.

    ``spared`` is debt elsewhere that was and now is not, below 0 = debt that is new; ``at_hand``
    money no longer needed.
    """

    account: Standing
    spared: Values
    at_hand: Values


def replay_year(
    was: Window, levels: Levels, on_time: NDArray[np.bool_], terms: Terms, instalment_share: float
) -> dict[str, Months]:
    """The columns of the windows that would have been, each course at the levels that are not NaN."""
    months = min(MONTHS_REPLAYED, len(was["balance"]) - 1)
    start = np.minimum(months, was.months_observed.astype(np.int64) - 1)
    income = was.last_known("income")
    stand = _beginning(was, start, levels, income, terms)
    books = _books(was, months, terms)
    known = {name: np.nan_to_num(was[name][:months]) for name in _COLUMNS}
    known["owed_before"] = np.nan_to_num(was["owed_before"][:months])
    written: dict[str, list[Values]] = {name: [] for name in _CHANGED}
    for row in range(months - 1, -1, -1):
        then = {name: column[row] for name, column in known.items()}
        after, behaviour = _month(stand, then, levels, on_time, income, terms, instalment_share)
        after = replace(
            after, account=books.at(row).kept(stand.account, after.account, then, on_time, terms)
        )
        month = (MONTHS_REPLAYED - 1 - row) % MONTHS_REPLAYED
        new = {
            "balance": after.account.balance,
            "spend": behaviour.spend,
            "cash_advance": behaviour.cash_advance,
            "payment": behaviour.payment,
            "minimum_due": after.account.minimum_due,
            "days_past_due": after.account.days_past_due,
            "limit_requests": np.minimum(
                then["limit_requests"], year_amount(levels.limit_requests, month)
            ),
            "credit_inquiries": np.minimum(
                then["credit_inquiries"], year_amount(levels.inquiries, month)
            ),
            "external_debt": np.maximum(then["external_debt"] - after.spared, 0.0),
        }
        for name, values in new.items():
            written[name].append(values)
        stand = _either(start > row, after, stand)
    return _overwritten(was, written, start)


def _overwritten(
    was: Window, written: Mapping[str, list[Values]], start: NDArray[np.int64]
) -> dict[str, Months]:
    """The window's columns with the months that were lived again, oldest first; what was not known
    stays so.
    """
    lived: dict[str, Months] = {name: was[name] for name in _COLUMNS}
    for name, months in written.items():
        old = lived[name]
        new = np.array(months[::-1], dtype=np.float64).reshape(len(months), len(start))
        again = (np.arange(len(months))[:, None] < start) & ~np.isnan(old[: len(months)])
        lived[name] = np.vstack([np.where(again, new, old[: len(months)]), old[len(months) :]])
    return lived


def _month(
    stand: _Position,
    then: Mapping[str, Values],
    levels: Levels,
    on_time: NDArray[np.bool_],
    income: Values,
    terms: Terms,
    instalment_share: float,
) -> tuple[_Position, Behaviour]:
    """A month lived again: what it leaves by the ledger, and what was done.

    ``then`` is what was.
    """
    at_hand = stand.at_hand + then["payment"] + instalment_share * stand.spared
    late = then["days_past_due"] > 0
    share = np.where(then["days_past_due"] < DAYS_A_MONTH, levels.paid_share, np.nan)
    payment = _payment(
        then["payment"], then["owed_before"], stand.account, share, on_time & late, at_hand
    )
    at_hand = at_hand - payment
    wanted = _cents(np.fmin(then["cash_advance"], levels.cash * then["credit_limit"]))
    at_hand = at_hand - (then["cash_advance"] - wanted)
    instead = np.minimum(np.maximum(at_hand, 0.0), wanted)
    at_hand = at_hand - instead
    spend = _cents(np.fmin(then["spend"], levels.spend * income))
    days = np.where(
        (then["days_past_due"] < DAYS_A_MONTH) & ~on_time, then["days_past_due"], 0.0
    ).astype(np.int32)
    behaviour = Behaviour(spend, _cents(wanted - instead), payment, days)
    account = next_standing(stand.account, behaviour, terms)
    # What is lacking is borrowed elsewhere, at the rate that is charged here, and paid back when
    # there is money again.
    spared = stand.spared * (1.0 + terms.monthly_rate - instalment_share) + np.minimum(at_hand, 0.0)
    back = np.minimum(np.maximum(at_hand, 0.0), np.maximum(-spared, 0.0))
    # A line that begins less full is a gift.  What was paid on it and is not needed in its month
    # was never there to keep.
    kept = np.where(np.isnan(levels.used), np.maximum(at_hand, 0.0) - back, 0.0)
    return _Position(account, spared + back, kept), behaviour


@dataclass(frozen=True, slots=True)
class _Books:
    """By how much the lender's books differ from the ledger's, month by month or in one of them:
    what no act explains.

    ``unexplained`` is owed beside what the ledger says.  ``due`` is the minimum due for each yuan
    of the ledger's, NaN = a source that tells none; ``due_beside`` is due where the ledger asks for
    nothing; ``due_before`` was to be paid in the month.  ``more_days`` past due than the ledger
    counts.
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
        self,
        before: Standing,
        by_ledger: Standing,
        then: Mapping[str, Values],
        on_time: NDArray[np.bool_],
        terms: Terms,
    ) -> Standing:
        """The standing as this lender would have booked it; nobody is later than they were."""
        owed_then = then["owed_before"]
        share = np.divide(
            np.maximum(before.balance, 0.0),
            owed_then,
            out=np.ones_like(owed_then),
            where=owed_then > 0,
        )
        # What was charged less than the terms would have, is less of a smaller debt.
        less = np.minimum(self.unexplained, 0.0) * np.minimum(share, 1.0)
        balance = _cents(by_ledger.balance + np.maximum(self.unexplained, 0.0) + less)
        nothing_due = (before.minimum_due <= 0) & (self.due_before > 0)
        more = np.where(on_time | nothing_due, 0.0, self.more_days)
        days = np.minimum(by_ledger.days_past_due + more, then["days_past_due"]).astype(np.int32)
        due = _cents(by_ledger.minimum_due * self.due + self.due_beside)
        return Standing(
            balance,
            np.where(np.isnan(due), minimum_due_of(balance, days // DAYS_A_MONTH, terms), due),
            days,
        )


def _books(was: Window, months: int, terms: Terms) -> _Books:
    """What the ledger does not explain of each statement from the one before, (months, courses)."""
    then, before = (
        {name: was[name][rows] for name in ("balance", "minimum_due", "days_past_due")}
        for rows in (slice(0, months), slice(1, months + 1))
    )
    days = np.nan_to_num(before["days_past_due"]).astype(np.int32)
    asked = minimum_due_of(np.nan_to_num(before["balance"]), days // DAYS_A_MONTH, terms)
    due = np.where(np.isnan(before["minimum_due"]), asked, before["minimum_due"])
    late = np.nan_to_num(then["days_past_due"])
    spend, cash, payment = (
        np.nan_to_num(was[name][:months]) for name in ("spend", "cash_advance", "payment")
    )
    acts = Behaviour(
        spend, cash, payment, np.where(late < DAYS_A_MONTH, late, 0.0).astype(np.int32)
    )
    told = next_standing(Standing(np.nan_to_num(before["balance"]), due, days), acts, terms)
    asks = told.minimum_due > 0
    ratio = np.divide(
        then["minimum_due"],
        told.minimum_due,
        out=np.where(asks, np.nan, then["minimum_due"] * 0.0),
        where=asks,
    )
    return _Books(
        np.nan_to_num(_cents(then["balance"] - told.balance)),
        ratio,
        np.where(asks, 0.0, then["minimum_due"]),
        np.nan_to_num(due),
        np.maximum(late - told.days_past_due, 0.0),
    )


def _beginning(
    was: Window, start: NDArray[np.int64], levels: Levels, income: Values, terms: Terms
) -> _Position:
    """Where the year begins: at the statement before its first month."""
    courses = np.arange(len(start))
    balance, days = (
        was["balance"][start, courses],
        was["days_past_due"][start, courses].astype(np.int32),
    )
    due, debt = was["minimum_due"][start, courses], was["external_debt"][start, courses]
    # A minimum that a source does not tell is what the terms ask for; of a smaller debt it is as
    # much smaller.
    due = np.where(np.isnan(due), minimum_due_of(balance, days // DAYS_A_MONTH, terms), due)
    lower = np.fmin(balance, _cents(levels.used * was["credit_limit"][start, courses]))
    due = _cents(
        due
        * np.divide(np.maximum(lower, 0.0), balance, out=np.ones_like(balance), where=balance > 0)
    )
    balance = lower
    spared = np.nan_to_num(np.maximum(debt - levels.debt * income, 0.0))
    return _Position(Standing(balance, due, days), spared, np.zeros(len(start)))


def _payment(
    paid: Values,
    owed_then: Values,
    now: Standing,
    least_share: Values,
    on_time: NDArray[np.bool_],
    at_hand: Values,
) -> Values:
    """What is paid: as much as it was, what the behaviour asks for, and what is at hand; never more
    than is owed.

    Who paid more than was owed does so again.
    """
    owed = np.maximum(now.balance, 0.0)
    payment = np.minimum(paid, np.where(paid > owed_then, np.maximum(owed, paid), owed))
    payment = np.where(on_time, np.maximum(payment, now.minimum_due), payment)
    payment = np.fmax(payment, np.clip(least_share, 0.0, 1.0) * owed)
    more = np.minimum(np.maximum(owed - payment, 0.0), np.maximum(at_hand - payment, 0.0))
    return _cents(payment + more)


def _either(first: NDArray[np.bool_], one: _Position, other: _Position) -> _Position:
    account = Standing(
        *(
            np.where(first, getattr(one.account, f.name), getattr(other.account, f.name))
            for f in fields(Standing)
        )
    )
    return _Position(
        account,
        np.where(first, one.spared, other.spared),
        np.where(first, one.at_hand, other.at_hand),
    )


def _cents(amount: Values) -> Values:
    rounded: Values = np.round(amount, 2)
    return rounded
