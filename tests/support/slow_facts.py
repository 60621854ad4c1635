"""Every number that a sentence may state, computed again from an account's statements.

It is plain arithmetic with fractions over rows, written from what the sentences say.  It shares no
code with the features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

Row = Mapping[str, Any]
Fact = Fraction | None
Facts = Mapping[str, Fact]
# CNY: a ratio to less than LEAST is unknown; payments that differ by LITTLE, or by SLACK of what is
# asked for, are equal.
LEAST = Fraction(10)
LITTLE = Fraction(2)
SLACK = Fraction(2, 100)
# Features that are told with the month of the income, if that is not the last one.
OF_INCOME = (
    "external_debt_to_income",
    "total_debt_to_income",
    "spend_to_income_3",
    "spend_to_income_12",
    "cash_to_income_6",
    "income_change_12",
)


class Ledger:
    """An account's statements, the latest first, with exact amounts."""

    def __init__(self, rows: Sequence[Row]) -> None:
        newest = sorted(rows, key=lambda row: row["month"], reverse=True)
        self.rows = newest
        self.months = len(newest)
        self._exact: dict[tuple[str, int], Fraction] = {}

    def get(self, column: str, ago: int) -> Fact:
        """The value that many months before the last statement; None = unknown."""
        if ago >= self.months or self.rows[ago][column] is None:
            return None
        key = column, ago
        if key not in self._exact:
            self._exact[key] = Fraction(str(self.rows[ago][column]))
        return self._exact[key]

    def owed(self, ago: int) -> Fact:
        balance = self.get("balance", ago)
        return None if balance is None else max(balance, Fraction(0))

    def bill(self, ago: int) -> Fact:
        """What the statement of the month before asked to be paid in this month."""
        return self.owed(ago + 1)

    def limit(self, ago: int) -> Fraction:
        """The highest limit of a month and the six before."""
        limits = [self.get("credit_limit", ago + lag) for lag in range(7)]
        return max(limit for limit in limits if limit is not None)

    def use(self, ago: int) -> Fact:
        """The share of the limit in use."""
        return None if ago >= self.months else ratio(self.owed(ago), self.limit(ago))

    def is_before_cut(self, ago: int) -> bool:
        """Whether a month is measured against a limit that a later month had no more."""
        own = self.get("credit_limit", ago)
        return own is not None and self.limit(ago) > own

    def income(self, ago: int) -> Fact:
        """The latest income that was known by then."""
        for month in range(ago, self.months):
            income = self.get("income", month)
            if income is not None:
                return income
        return None

    def last_known(self, column: str) -> Fact:
        for ago in range(self.months):
            value = self.get(column, ago)
            if value is not None:
                return value
        return None

    def over(self, months: int, value: Callable[[int], Fact]) -> list[Fraction]:
        """The known values of the last months."""
        values = [value(ago) for ago in range(min(months, self.months))]
        return [known for known in values if known is not None]

    def flags(self, months: int, flag: Callable[[int], bool | None]) -> Fact:
        """In how many of the last months something happened; None = unknown in all."""
        found = [flag(ago) for ago in range(min(months, self.months))]
        known = [happened for happened in found if happened is not None]
        return Fraction(sum(known)) if known else None

    def latest(self, flag: Callable[[int], bool | None]) -> Fact:
        """Months since something last happened."""
        for ago in range(self.months):
            if flag(ago):
                return Fraction(ago)
        return None


def ratio(part: Fact, whole: Fact) -> Fact:
    if part is None or whole is None or whole < LEAST:
        return None
    return part / whole


def change(now: Fact, before: Fact) -> Fact:
    return None if now is None or before is None else now - before


def total(values: Sequence[Fraction]) -> Fact:
    return sum(values, Fraction(0)) if values else None


def mean(values: Sequence[Fraction]) -> Fact:
    return sum(values, Fraction(0)) / len(values) if values else None


def peak_ago(ledger: Ledger, months: int, value: Callable[[int], Fact], best: Any = max) -> Fact:
    """Months since the largest value of the last months, the latest of several."""
    known = ledger.over(months, value)
    if not known:
        return None
    return ledger.latest(lambda ago: value(ago) == best(known))


def facts_of(rows: Sequence[Row]) -> dict[str, Fact]:
    """Every feature and amount by name; None = unknown.  Shares are not rounded.

    ``as_of`` is the last month, in months since year 0.
    """
    ledger = Ledger(rows)
    as_of = ledger.rows[0]["month"]
    months = Fraction(as_of.year * 12 + as_of.month - 1)
    facts = _late(ledger) | _use(ledger) | _spending(ledger) | _repayment(ledger)
    return facts | _cash(ledger) | _credit(ledger) | _account(ledger) | {"as_of": months}


def _late(ledger: Ledger) -> dict[str, Fact]:
    def days(ago: int) -> Fact:
        return ledger.get("days_past_due", ago)

    def late(ago: int) -> bool | None:
        found = days(ago)
        return None if found is None else found > 0

    since = ledger.latest(late)
    facts: dict[str, Fact] = {
        "days_past_due_now": days(0),
        "months_on_time": Fraction(ledger.months) if since is None else since,
        "late_ago": since,
        "due_now": ledger.get("minimum_due", 1),
    }
    for months in (3, 6, 12):
        facts[f"late_months_{months}"] = ledger.flags(months, late)
    for months in (6, 12, 24):
        facts[f"worst_days_past_due_{months}"] = max(ledger.over(months, days))
        facts[f"worst_{months}_ago"] = peak_ago(ledger, months, days)
        facts[f"worst_days_past_due_{months}_in"] = ledger.flags(months, late)
    return facts


def _use(ledger: Ledger) -> dict[str, Fact]:
    def above_90(ago: int) -> bool | None:
        used = ledger.use(ago)
        return None if used is None else used > Fraction(9, 10)

    facts: dict[str, Fact] = {
        "utilization_now": ledger.use(0),
        "utilization_latest": ledger.use(0),
        "utilization_before_6": ledger.use(6),
        "utilization_rise_6": change(ledger.use(0), ledger.use(6)),
        "utilization_peak_12": max(ledger.over(12, ledger.use), default=None),
        "utilization_peak_ago": peak_ago(ledger, 12, ledger.use),
        "above_90_ago": ledger.latest(above_90),
        "balance_now": ledger.get("balance", 0),
        "limit_now": ledger.get("credit_limit", 0),
        "established_limit": ledger.limit(0),
    }

    def before_cut(months: int) -> Fraction:
        return Fraction(sum(ledger.is_before_cut(ago) for ago in range(min(months, ledger.months))))

    ends = [ledger.is_before_cut(ago) for ago in (0, 6) if ago < ledger.months]
    facts["utilization_rise_6_cut"] = Fraction(sum(ends))
    facts["utilization_peak_12_cut"] = before_cut(12)
    for months in (6, 12):
        facts[f"months_above_90_{months}_cut"] = before_cut(months)
    for months in (3, 6, 12):
        facts[f"utilization_mean_{months}_cut"] = before_cut(months)
        facts[f"utilization_mean_{months}"] = mean(ledger.over(months, ledger.use))
        facts[f"months_above_90_{months}"] = ledger.flags(months, above_90)
    return facts


def _of_income(ledger: Ledger, column: str, months: int) -> tuple[Fact, Fact, int]:
    """A column's sum and its share of the income, over the months that have both; how many."""
    amounts, incomes = [], []
    for ago in range(min(months, ledger.months)):
        amount, income = ledger.get(column, ago), ledger.income(ago)
        if amount is not None and income is not None:
            amounts.append(amount)
            incomes.append(income)
    return total(amounts), ratio(total(amounts), total(incomes)), len(amounts)


def _spending(ledger: Ledger) -> dict[str, Fact]:
    def spend(ago: int) -> Fact:
        return ledger.get("spend", ago)

    def spend_before(ago: int) -> Fact:
        return ledger.get("spend", ago + 3)

    recent, before = mean(ledger.over(3, spend)), mean(ledger.over(9, spend_before))
    year = ledger.over(12, spend)
    facts: dict[str, Fact] = {
        "spend_mean_3": recent,
        "spend_mean_before_3": before,
        "spend_mean_12": mean(year),
        "spend_peak_12": max(year, default=None),
        "spend_peak_ago": peak_ago(ledger, 12, spend),
        "spend_to_limit_3": ratio(recent, ledger.limit(0)),
        "spend_growth": ratio(recent, before),
        "spend_peak": ratio(max(year, default=None), mean(year)),
    }
    for months in (3, 12):
        name = f"spend_to_income_{months}"
        spent, share, counted = _of_income(ledger, "spend", months)
        facts |= {
            f"spend_of_income_{months}": spent,
            name: share,
            f"{name}_months": Fraction(counted),
        }
    return facts


def _repayment(ledger: Ledger) -> dict[str, Fact]:
    def payment(ago: int) -> Fact:
        return ledger.get("payment", ago)

    def paid_of_bill(ago: int) -> Fact:
        return None if ledger.bill(ago) is None else payment(ago)

    def covered(ago: int) -> Fact:
        spend, paid = ledger.get("spend", ago), payment(ago)
        return None if spend is None or paid is None else min(spend, paid)

    growth = change(ledger.get("balance", 0), ledger.get("balance", 6))
    facts: dict[str, Fact] = {
        "payment_now": paid_of_bill(0),
        "bill_now": ledger.bill(0),
        "payment_to_balance_now": ratio(paid_of_bill(0), ledger.bill(0)),
        "payment_mean_6": mean(ledger.over(6, payment)),
        "payment_least_3": min(ledger.over(3, payment)),
        "payment_least_ago": peak_ago(ledger, 3, payment, min),
        "repaid_spending_3": mean(ledger.over(3, covered)),
        "repaid_spending_6": mean(ledger.over(6, covered)),
        "balance_change_6": growth,
        "balance_growth_6": ratio(growth, ledger.limit(0)),
    }
    for months in (3, 6, 12):
        bills, paid = ledger.over(months, ledger.bill), ledger.over(months, paid_of_bill)
        facts[f"bill_mean_{months}"] = mean(bills)
        facts[f"bill_paid_{months}"] = mean(paid)
        facts[f"bill_total_{months}"] = total(bills)
        facts[f"bill_paid_total_{months}"] = total(paid)
        facts[f"payment_to_balance_{months}_gaps"] = Fraction(bills.count(Fraction(0)))
        facts[f"payment_to_balance_{months}"] = ratio(mean(paid), mean(bills))
    return facts | _bills(ledger)


def _bills(ledger: Ledger) -> dict[str, Fact]:
    """In how many months bills were paid in full, at their minimum, or below it."""

    def nearly(amount: Fraction) -> Fraction:
        return amount - max(SLACK * amount, LITTLE)

    def due(ago: int) -> Fact:
        return ledger.get("minimum_due", ago + 1)

    def paid(ago: int) -> Fraction:
        return ledger.get("payment", ago) or Fraction(0)

    def in_full(ago: int) -> bool | None:
        bill = ledger.bill(ago)
        return None if bill is None else paid(ago) >= nearly(bill)

    def missed(ago: int) -> bool | None:
        asked = due(ago)
        return None if asked is None else paid(ago) < nearly(asked)

    def only(ago: int) -> bool | None:
        asked, bill = due(ago), ledger.bill(ago)
        if asked is None or bill is None:
            return None
        about = nearly(asked) <= paid(ago) <= Fraction(11, 10) * asked + LITTLE
        return about and asked > LITTLE and bill > Fraction(12, 10) * asked

    return {
        "paid_in_full_months_6": ledger.flags(6, in_full),
        "missed_minimum_months_6": ledger.flags(6, missed),
        "missed_minimum_ago": ledger.latest(missed),
        "minimum_only_months_6": ledger.flags(6, only),
        "minimum_only_months_12": ledger.flags(12, only),
        "minimum_only_ago": ledger.latest(only),
    }


def _cash(ledger: Ledger) -> dict[str, Fact]:
    def cash(ago: int) -> Fact:
        return ledger.get("cash_advance", ago)

    def drew(ago: int) -> bool | None:
        drawn = cash(ago)
        return None if drawn is None else drawn > LITTLE

    def happened(ago: int) -> bool:
        return (cash(ago) or 0) > 0

    def happened_with_income(ago: int) -> bool:
        return happened(ago) and ledger.income(ago) is not None

    drawn = total(ledger.over(6, cash))
    of_income, share, counted = _of_income(ledger, "cash_advance", 6)
    return {
        "cash_months_3": ledger.flags(3, drew),
        "cash_months_12": ledger.flags(12, drew),
        "cash_ago": ledger.latest(drew),
        "cash_advance_ago": ledger.latest(happened),
        "cash_to_limit_6_in": ledger.flags(6, happened),
        "cash_to_income_6_in": ledger.flags(6, happened_with_income),
        "cash_total_3": total(ledger.over(3, cash)),
        "cash_total_6": drawn,
        "cash_to_limit_6": ratio(drawn, ledger.limit(0)),
        "cash_of_income_6": of_income,
        "cash_to_income_6": share,
        "cash_to_income_6_months": Fraction(counted),
    }


def _credit(ledger: Ledger) -> dict[str, Fact]:
    def requests(ago: int) -> Fact:
        return ledger.get("limit_requests", ago)

    def inquiries(ago: int) -> Fact:
        return ledger.get("credit_inquiries", ago)

    debt, income = ledger.last_known("external_debt"), ledger.last_known("income")
    owed = ledger.owed(0) or Fraction(0)
    growth = change(ledger.get("external_debt", 0), ledger.get("external_debt", 6))
    known_ago = ledger.latest(lambda ago: ledger.get("external_debt", ago) is not None)
    facts: dict[str, Fact] = {
        "external_debt_ago": known_ago,
        "total_debt_to_income_older_debt": known_ago,
        "limit_request_ago": ledger.latest(lambda ago: (requests(ago) or 0) > 0),
        "credit_inquiry_ago": ledger.latest(lambda ago: (inquiries(ago) or 0) > 0),
        "external_debt": debt,
        "total_debt": None if debt is None else debt + owed,
        "external_debt_to_income": ratio(debt, income),
        "external_debt_to_limit": ratio(debt, ledger.limit(0)),
        "total_debt_to_income": None if debt is None else ratio(debt + owed, income),
        "external_debt_now": ledger.get("external_debt", 0),
        "external_debt_before_6": ledger.get("external_debt", 6),
        "external_debt_growth_6": ratio(growth, ledger.limit(0)),
    }
    for months in (3, 6, 12):
        facts[f"limit_requests_{months}"] = total(ledger.over(months, requests))
        facts[f"credit_inquiries_{months}_in"] = ledger.flags(
            months, lambda ago: (inquiries(ago) or 0) > 0
        )
        facts[f"credit_inquiries_{months}"] = total(ledger.over(months, inquiries))
    return facts


def _account(ledger: Ledger) -> dict[str, Fact]:
    def on_time(ago: int) -> Fact:
        return ledger.owed(ago) if ledger.get("days_past_due", ago) == 0 else None

    income, highest = ledger.income(0), max(ledger.over(12, ledger.income), default=None)
    known_ago = ledger.latest(lambda ago: ledger.get("income", ago) is not None)
    carried = {f"{name}_carried": known_ago for name in OF_INCOME}
    return (
        carried
        | _lowest_income(ledger, 12)
        | _lowest_income(ledger, 13)
        | {
            "income_known_ago": known_ago,
            "income_since_ago": _since(ledger),
            "income_peak_13": max(ledger.over(13, ledger.income), default=None),
            "income_peak_13_ago": peak_ago(ledger, 13, ledger.income),
            "income": income,
            "income_known": Fraction(income is not None),
            "income_peak_12": highest,
            "income_peak_ago": peak_ago(ledger, 12, ledger.income),
            "income_change_12": ratio(income, highest),
            "months_observed": Fraction(ledger.months),
            "carried_on_time_3": mean(ledger.over(3, on_time)),
        }
    )


def _lowest_income(ledger: Ledger, months: int) -> dict[str, Fact]:
    """The lowest income after the highest one of the last months, and the last month known to
    have it; None = it is not lower than the present one, or not by more than LITTLE.
    """
    lowest = month = None
    peak = peak_ago(ledger, months, ledger.income)
    later = [] if peak is None else ledger.over(int(peak), ledger.income)
    if later and min(later) < later[0] - LITTLE:
        lowest = min(later)
        month = ledger.latest(lambda ago: ledger.get("income", ago) == lowest)
    facts = {f"income_low_{months}": lowest, f"income_low_{months}_ago": month}
    return facts | {f"income_change_{months}_low": month}


def _since(ledger: Ledger) -> Fact:
    """Months since the income became what it is; None = there was no other, or it is unknown."""
    income = ledger.income(0)
    if income is None:
        return None
    for ago in range(ledger.months):
        if ledger.income(ago) != income:
            return Fraction(ago - 1)
    return None
