"""An account's last year with one behaviour changed, replayed through the lender's own ledger.

:mod:`training.examine.reasons.effects` says what is changed and how the money is accounted for.

Conventions
-----------
A *trajectory* is one account with one behaviour changed, or with none.  Arrays are float64
(trajectories,), or (months, trajectories) with the newest month first, as in
:mod:`features.window`.  Amounts in CNY.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.ledger import (
    DAYS_A_MONTH,
    Behaviour,
    Standing,
    Terms,
    minimum_due_of,
    next_standing,
    round_to_cents,
)
from features.types import Mask, Rows
from features.window import Months, Values, Window
from training.examine.reasons.ledger_differences import compare_with_ledger, known_or
from training.examine.reasons.levels import (
    MONTHS_REPLAYED,
    Levels,
    kept_counts,
    kept_share,
    year_total,
)

_CHANGED = (
    "balance",
    "spend",
    "cash_advance",
    "payment",
    "minimum_due",
    "days_past_due",
    "limit_requests",
    "credit_inquiries",
    "external_debt",
)
_COLUMNS = (*_CHANGED, "credit_limit", "income")


@dataclass(frozen=True, slots=True)
class _Change:
    """What is the same in all months of a replay."""

    levels: Levels
    on_time: Mask  # payments that were late are made in time
    income: Values
    spend_share: Values  # of each month's spending that is left
    cash_share: Values  # of each month's cash that is left
    limit_requests: Months  # that are left
    inquiries: Months  # that are left
    terms: Terms
    instalment_share: float  # of the debt elsewhere; falls due each month


@dataclass(frozen=True, slots=True)
class _State:
    """The state of the trajectories after a month."""

    account: Standing
    less_debt: Values  # elsewhere, than there was; below 0 = more
    spare_money: Values  # that is no longer needed


def replay_year(
    window: Window,
    levels: Levels,
    on_time: Mask,
    terms: Terms,
    instalment_share: float,
) -> dict[str, Months]:
    """The columns of the windows that would have been.

    Each trajectory of ``window`` has the behaviours at those of its ``levels`` that are known;
    where ``on_time`` is true, payments that were late are made in time.  Unknown values stay
    unknown, and months before the replayed year stay as they were.
    """
    months = min(MONTHS_REPLAYED, len(window["balance"]) - 1)
    # The month whose statement the year begins with; a shorter history begins with its first.
    earlier_months = window.months_observed.astype(np.int64) - 1
    start = np.minimum(months, earlier_months)
    change = _make_change(
        window,
        start,
        months,
        levels,
        on_time,
        (terms, instalment_share),
    )
    state = _begin(window, start, change)
    unexplained = compare_with_ledger(window, months, terms)
    known = {}
    for name in (*_COLUMNS, "owed_before"):
        known[name] = np.nan_to_num(window[name][:months])
    statements = []
    for row in reversed(range(months)):
        actual = {name: column[row] for name, column in known.items()}
        after, behaviour = _replay_month(state, actual, change)
        account = unexplained.month(row).book(
            state.account,
            after.account,
            actual,
            on_time,
            terms,
        )
        after = replace(after, account=account)
        statements.append(_statement(after, behaviour, actual, change, row))
        state = _choose(start > row, after, state)
    return _overwrite(window, statements, start)


def _make_change(
    window: Window,
    start: Rows,
    months: int,
    levels: Levels,
    on_time: Mask,
    rules: tuple[Terms, float],
) -> _Change:
    """What the levels leave of the year that is replayed, by its totals."""
    is_replayed = np.arange(months)[:, None] < start

    def year(name: str) -> Months:
        return np.where(is_replayed, np.nan_to_num(window[name][:months]), 0.0)

    def left(name: str, level: Values) -> Months:
        allowed = level * start / MONTHS_REPLAYED
        return kept_counts(year(name)[::-1], allowed)[::-1]

    income = window.last_known("income")
    may_spend = levels.spend * income * start
    may_draw = levels.cash * year_total(year("credit_limit"))
    terms, instalment_share = rules
    return _Change(
        levels=levels,
        on_time=on_time,
        income=income,
        spend_share=kept_share(
            year_total(year("spend")),
            may_spend,
        ),
        cash_share=kept_share(
            year_total(year("cash_advance")),
            may_draw,
        ),
        limit_requests=left("limit_requests", levels.limit_requests),
        inquiries=left("credit_inquiries", levels.inquiries),
        terms=terms,
        instalment_share=instalment_share,
    )


def _statement(
    after: _State,
    behaviour: Behaviour,
    actual: Mapping[str, Values],
    change: _Change,
    row: int,
) -> dict[str, Values]:
    return {
        "balance": after.account.balance,
        "spend": behaviour.spend,
        "cash_advance": behaviour.cash_advance,
        "payment": behaviour.payment,
        "minimum_due": after.account.minimum_due,
        "days_past_due": after.account.days_past_due.astype(np.float64),
        "limit_requests": change.limit_requests[row],
        "credit_inquiries": change.inquiries[row],
        "external_debt": np.maximum(actual["external_debt"] - after.less_debt, 0.0),
    }


def _overwrite(
    window: Window,
    statements: Sequence[Mapping[str, Values]],
    start: Rows,
) -> dict[str, Months]:
    """The window's columns with the replayed statements, which are the oldest first."""
    columns: dict[str, Months] = {name: window[name] for name in _COLUMNS}
    months = len(statements)
    if not months:
        return columns
    is_replayed = np.arange(months)[:, None] < start
    for name in _CHANGED:
        old = window[name]
        newest_first = [statement[name] for statement in reversed(statements)]
        new = np.array(newest_first)
        # An unknown value stays unknown.
        known = is_replayed & ~np.isnan(old[:months])
        year, before = old[:months], old[months:]
        columns[name] = np.vstack([np.where(known, new, year), before])
    return columns


def _replay_month(
    state: _State,
    actual: Mapping[str, Values],
    change: _Change,
) -> tuple[_State, Behaviour]:
    """A month replayed: the state after it, by the ledger, and the behaviour in it.

    ``actual`` has the values of the month as it was.
    """
    levels, terms = change.levels, change.terms
    instalment_share = change.instalment_share
    days_past_due = actual["days_past_due"]
    instalments_saved = instalment_share * state.less_debt
    money = state.spare_money + actual["payment"] + instalments_saved
    payment = _pay(actual, state.account, change, money)
    money = money - payment

    # Money that is left replaces cash.
    wanted = round_to_cents(actual["cash_advance"] * change.cash_share)
    money = money - (actual["cash_advance"] - wanted)
    instead = np.minimum(np.maximum(money, 0.0), wanted)
    money = money - instead

    spend = round_to_cents(actual["spend"] * change.spend_share)
    # A month past due is a payment left out, which the ledger counts; fewer days are a behaviour.
    is_late = (days_past_due < DAYS_A_MONTH) & ~change.on_time
    behaviour = Behaviour(
        spend=spend,
        cash_advance=round_to_cents(wanted - instead),
        payment=payment,
        days_late=np.where(is_late, days_past_due, 0.0).astype(np.int32),
    )
    account = next_standing(state.account, behaviour, terms)

    # Money that is lacking is borrowed elsewhere, at the rate charged here, and paid back as soon
    # as there is money again.
    less_debt = state.less_debt * (1.0 + terms.monthly_rate - instalment_share)
    less_debt = less_debt + np.minimum(money, 0.0)
    left = np.maximum(money, 0.0)
    paid_back = np.minimum(left, np.maximum(-less_debt, 0.0))
    # Where the year begins with a smaller balance, payments that are not needed were never made.
    begins_lower = ~np.isnan(levels.used)
    spare_money = np.where(begins_lower, 0.0, left - paid_back)
    return _State(account, less_debt + paid_back, spare_money), behaviour


def _pay(
    actual: Mapping[str, Values],
    account: Standing,
    change: _Change,
    money: Values,
) -> Values:
    """The payment: as it was, or more if the behaviour or the ``money`` at hand asks for it.

    It is at most what is owed, except where more than was owed was paid.
    """
    paid, owed_then = actual["payment"], actual["owed_before"]
    days_past_due = actual["days_past_due"]
    owed = np.maximum(account.balance, 0.0)
    most = np.where(paid > owed_then, np.maximum(owed, paid), owed)
    payment = np.minimum(paid, most)
    in_time = change.on_time & (days_past_due > 0)
    payment = np.where(
        in_time,
        np.maximum(payment, account.minimum_due),
        payment,
    )
    share = np.clip(change.levels.paid_share, 0.0, 1.0)
    payment = np.fmax(payment, share * owed)
    still_owed = np.maximum(owed - payment, 0.0)
    more = np.minimum(still_owed, np.maximum(money - payment, 0.0))
    return round_to_cents(payment + more)


def _begin(
    window: Window,
    start: Rows,
    change: _Change,
) -> _State:
    """The state at the beginning of the year: the statement before its first month."""
    at = (start, np.arange(len(start)))
    balance = window["balance"][at]
    days = window["days_past_due"][at].astype(np.int32)
    due = window["minimum_due"][at]
    by_terms = minimum_due_of(balance, days // DAYS_A_MONTH, change.terms)
    due = known_or(due, by_terms)

    limit = window["credit_limit"][at]
    highest = round_to_cents(change.levels.used * limit)
    lower = np.fmin(balance, highest)
    # A smaller debt has a smaller minimum due, in proportion.
    owed = np.maximum(lower, 0.0)
    share = np.divide(
        owed,
        balance,
        out=np.ones_like(balance),
        where=balance > 0,
    )
    account = Standing(lower, round_to_cents(due * share), days)

    debt_level = change.levels.debt * change.income
    more_than_level = window["external_debt"][at] - debt_level
    less_debt = np.nan_to_num(np.maximum(more_than_level, 0.0))
    return _State(account, less_debt, np.zeros(len(start)))


def _choose(
    first: Mask,
    one: _State,
    other: _State,
) -> _State:
    """``one`` where ``first`` is true, ``other`` elsewhere."""
    account = Standing(
        balance=np.where(
            first,
            one.account.balance,
            other.account.balance,
        ),
        minimum_due=np.where(
            first,
            one.account.minimum_due,
            other.account.minimum_due,
        ),
        days_past_due=np.where(
            first,
            one.account.days_past_due,
            other.account.days_past_due,
        ),
    )
    return _State(
        account=account,
        less_debt=np.where(first, one.less_debt, other.less_debt),
        spare_money=np.where(first, one.spare_money, other.spare_money),
    )
