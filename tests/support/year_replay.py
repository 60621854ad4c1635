"""The rules of a replayed year written a second time: one account, month by month, no arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from features.ledger import Terms
from features.window import STORED_COLUMNS
from training.examine.reasons.effects import Driven

YEAR = 12
HALF_A_CENT = 0.005
FREE = Terms(monthly_rate=0.0, cash_fee=0.0, late_fee=0.0)
# The levels of each group, by field of Levels.
LEVELS: dict[Driven, tuple[str, ...]] = {
    "repayment": ("paid_share",),
    "high_utilization": ("used",),
    "overspending": ("spend",),
    "cash_reliance": ("cash",),
    "credit_seeking": ("limit_requests", "inquiries"),
    "external_debt": ("debt",),
}
# The feature whose median in the reference is the level.
MEDIAN_OF = {
    "paid_share": "payment_to_balance_12",
    "spend": "spend_to_income_12",
    "debt": "external_debt_to_income",
    "cash": "cash_to_limit_6",
    "used": "utilization_mean_12",
    "limit_requests": "limit_requests_12",
    "inquiries": "credit_inquiries_12",
}
NUMBERS = STORED_COLUMNS

levels_drawn = st.fixed_dictionaries(
    {
        "paid_share": st.sampled_from([0.0, 0.07, 0.3, 1.0, 1.4, math.nan]),
        "spend": st.sampled_from([0.0, 0.05, 0.4, math.nan]),
        "debt": st.sampled_from([0.0, 0.3, 2.0, math.nan]),
        "cash": st.sampled_from([0.0, 0.01, 0.2, math.nan]),
        "used": st.sampled_from([0.0, 0.1, 0.6, math.nan]),
        "limit_requests": st.sampled_from([0.0, 0.5, 5.0, 14.0, math.nan]),
        "inquiries": st.sampled_from([0.0, 1.0, 7.0, math.nan]),
    }
)
terms_drawn = st.sampled_from(
    [Terms(), FREE, Terms(0.03, 0.02, 0.2, 0.05, 100.0), Terms(minimum_share=0.5)]
)


def cents(amount: float) -> float:
    return float(np.round(amount, 2))


def minimum_due(
    balance: float,
    uncovered: int,
    terms: Terms,
) -> float:
    """The minimum due by the terms, of a balance with that many uncovered instalments."""
    owed = max(balance, 0.0)
    if owed <= terms.minimum_amount:
        return cents(owed)
    share = min(terms.minimum_share * (1 + uncovered), 1.0)
    return cents(max(min(owed * share, owed), terms.minimum_amount))


def uncovered_instalments(
    due: float,
    days: int,
    payment: float,
) -> int:
    instalments = days // 30 + 1
    if due <= HALF_A_CENT:
        return 0
    paid = payment + HALF_A_CENT if payment > 0 else 0.0
    return instalments - math.floor(instalments * min(paid / due, 1.0))


def next_standing(
    standing: tuple[float, float, int],
    acts: tuple[float, float, float, int],
    terms: Terms,
) -> tuple[float, float, int]:
    """(balance, minimum due, days past due) after a month of (spend, cash, payment, days late)."""
    balance, due, days = standing
    spend, cash, payment, days_late = acts
    left = uncovered_instalments(due, days, payment)
    interest = terms.monthly_rate * max(balance - payment, 0.0)
    late_fee = terms.late_fee * max(due - payment, 0.0)
    charges = interest + late_fee
    after = cents(balance - payment + spend + cash + charges + terms.cash_fee * cash)
    if left == 0:
        return after, minimum_due(after, 0, terms), days_late if due > HALF_A_CENT else 0
    return after, minimum_due(after, left, terms), 30 * left


def stated_due(row: Mapping[str, Any], terms: Terms) -> float:
    """The minimum due of a statement, by the terms if the source does not state it."""
    if row["minimum_due"] is None:
        return minimum_due(
            row["balance"],
            row["days_past_due"] // 30,
            terms,
        )
    return float(row["minimum_due"])


def share_left(total: float, allowed: float) -> float:
    """The share of a year's total that a level allows; NaN = unknown, and all is left."""
    return 1.0 if math.isnan(allowed) or total <= allowed else allowed / total


class YearReplay:
    """One account's last year with the behaviour of ``group`` at its level; None = as it was."""

    def __init__(
        self,
        rows: list[dict[str, Any]],
        group: Driven | None,
        level: Mapping[str, float],
        terms: Terms,
        instalment_share: float,
    ) -> None:
        names = LEVELS[group] if group else ()
        self.rows, self.terms, self.instalment_share = rows, terms, instalment_share
        self.level = {name: level[name] for name in names if not math.isnan(level[name])}
        self.on_time = group == "repayment"
        incomes = [row["income"] for row in rows if row["income"] is not None]
        self.income: float | None = incomes[-1] if incomes else None
        self.first = max(len(rows) - 1 - YEAR, 0)
        self.spend_share, self.cash_share = self._shares()
        self.asked: dict[str, int] = {"limit_requests": 0, "credit_inquiries": 0}
        self.standing = (0.0, 0.0, 0)
        self.less_debt = self.spare_money = 0.0  # elsewhere, than there was; no longer needed

    def statements(self) -> list[dict[str, Any]]:
        """The statements that would have been, oldest first."""
        self._begin()
        statements = [dict(row) for row in self.rows[: self.first + 1]]
        for place in range(self.first + 1, len(self.rows)):
            new, actual = self._month(place), self.rows[place]
            known = {name: value for name, value in new.items() if actual[name] is not None}
            statements.append(actual | known)
        return statements

    def _begin(self) -> None:
        then = self.rows[self.first]
        balance = then["balance"]
        if "used" in self.level:
            balance = min(balance, cents(self.level["used"] * then["credit_limit"]))
        share = max(balance, 0.0) / then["balance"] if then["balance"] > 0 else 1.0
        due = cents(stated_due(then, self.terms) * share)
        self.standing = (balance, due, then["days_past_due"])
        if "debt" in self.level and self.income is not None and then["external_debt"] is not None:
            at_level = self.level["debt"] * self.income
            self.less_debt = max(then["external_debt"] - at_level, 0.0)

    def _month(self, place: int) -> dict[str, Any]:
        actual, earlier = self.rows[place], self.rows[place - 1]
        money = self.spare_money + actual["payment"] + self.instalment_share * self.less_debt
        payment = self._pay(actual, earlier, money)
        cash, money = self._draw(actual, money - payment)
        spend = self._spend(actual)
        self.standing = self._book(
            actual,
            earlier,
            (spend, cash, payment),
        )
        self._borrow(money)
        new = {
            "balance": self.standing[0],
            "spend": spend,
            "cash_advance": cash,
            "payment": payment,
            "minimum_due": self.standing[1],
            "days_past_due": self.standing[2],
        }
        for name, level in (
            ("limit_requests", "limit_requests"),
            ("credit_inquiries", "inquiries"),
        ):
            new[name] = actual[name]
            if actual[name] is not None and level in self.level:
                new[name] = self._count(name, level, place)
        if actual["external_debt"] is not None:
            new["external_debt"] = max(actual["external_debt"] - self.less_debt, 0.0)
        return new

    def _pay(
        self,
        actual: Mapping[str, Any],
        earlier: Mapping[str, Any],
        money: float,
    ) -> float:
        balance, due, _ = self.standing
        owed, owed_then, paid = max(balance, 0.0), max(earlier["balance"], 0.0), actual["payment"]
        payment = paid if paid > owed_then else min(paid, owed)
        if self.on_time and actual["days_past_due"] > 0:
            payment = max(payment, due)
        if "paid_share" in self.level:
            payment = max(payment, min(self.level["paid_share"], 1.0) * owed)
        if payment < owed and money > payment:
            payment = min(owed, money)
        return cents(payment)

    def _draw(self, actual: Mapping[str, Any], money: float) -> tuple[float, float]:
        """The cash and the money left: no more than the level, and money at hand first."""
        drawn = wanted = actual["cash_advance"] or 0.0
        if "cash" in self.level:
            wanted = drawn * self.cash_share
        wanted = cents(wanted)
        money -= drawn - wanted
        instead = min(max(money, 0.0), wanted)
        return cents(wanted - instead), money - instead

    def _spend(self, actual: Mapping[str, Any]) -> float:
        spend = actual["spend"] or 0.0
        return cents(spend * self.spend_share)

    def _year(self, name: str) -> list[float]:
        return [float(row[name] or 0.0) for row in self.rows[self.first + 1 :]]

    def _shares(self) -> tuple[float, float]:
        """What is left of each month's spending and cash, by the totals of the year."""
        spend, cash, limits = (
            self._year(name) for name in ("spend", "cash_advance", "credit_limit")
        )
        income = math.nan if self.income is None else self.income
        may_spend = self.level.get("spend", math.nan) * income * len(spend)
        may_draw = self.level.get("cash", math.nan) * sum(limits)
        return share_left(sum(spend), may_spend), share_left(sum(cash), may_draw)

    def _count(self, name: str, level: str, place: int) -> int:
        """How many of a month's applications are left, of a year's that may be so many."""
        year = self._year(name)
        allowed = math.floor(self.level[level] * len(year) / YEAR)
        until = sum(year[: place - self.first])
        left = math.floor(until * share_left(sum(year), allowed) + 1e-9) - self.asked[name]
        self.asked[name] += left
        return left

    def _book(
        self,
        actual: Mapping[str, Any],
        earlier: Mapping[str, Any],
        acts: tuple[float, float, float],
    ) -> tuple[float, float, int]:
        """The standing by the terms, and by what this lender booked differently."""
        days_late = actual["days_past_due"] if actual["days_past_due"] < 30 else 0
        was = (earlier["balance"], stated_due(earlier, self.terms), earlier["days_past_due"])
        did = (actual["spend"] or 0.0, actual["cash_advance"] or 0.0, actual["payment"], days_late)
        expected = next_standing(was, did, self.terms)
        before = self.standing
        late = 0 if self.on_time else days_late
        balance, due, days = next_standing(
            before,
            (*acts, late),
            self.terms,
        )

        unexplained = cents(actual["balance"] - expected[0])
        owed, owed_then = max(before[0], 0.0), max(earlier["balance"], 0.0)
        share = min(owed / owed_then if owed_then > 0 else 1.0, 1.0)
        balance = cents(balance + (unexplained if unexplained > 0 else unexplained * share))

        more_days = max(actual["days_past_due"] - expected[2], 0)
        nothing_due = before[1] <= 0 < stated_due(earlier, self.terms)
        more_days = 0 if self.on_time or nothing_due else more_days
        days = min(days + more_days, actual["days_past_due"])

        if actual["minimum_due"] is None:
            due = minimum_due(balance, days // 30, self.terms)
        elif expected[1] > 0:
            due = cents(due * actual["minimum_due"] / expected[1])
        else:
            due = cents(actual["minimum_due"])
        return balance, due, days

    def _borrow(self, money: float) -> None:
        """Money that is lacking is borrowed elsewhere and paid back."""
        rate = 1.0 + self.terms.monthly_rate - self.instalment_share
        self.less_debt = self.less_debt * rate + min(money, 0.0)
        paid_back = min(max(money, 0.0), max(-self.less_debt, 0.0))
        self.less_debt += paid_back
        self.spare_money = 0.0 if "used" in self.level else max(money, 0.0) - paid_back
