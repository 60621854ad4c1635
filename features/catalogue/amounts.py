"""What sentences state beside a feature: the amounts behind a share, and the month of an event.

A share of a limit or an income says little to a customer without the amount.  Neither the model nor
the policy uses these values.  They are evaluated as features are, for accounts that have reasons.

Some choose among the sentences of a feature, whose name they begin with.  They count months that
the sentence covers: ``_months`` those with an income on file, ``_in`` those in which it happened,
``_gaps`` those without a bill, ``_cut`` those that are measured against a limit from before a cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from features.catalogue.account import CAPACITY_AND_HISTORY
from features.catalogue.borrowing import EXTERNAL_DEBT, total_debt
from features.catalogue.feature import Feature, Unit
from features.catalogue.repayment import WEAK_REPAYMENT
from features.catalogue.spending import OVERSPENDING
from features.types import Mask
from features.window import Values, Window


def _fact(name: str, unit: Unit, expression: Callable[[Window], Values]) -> Feature:
    """A value without a label: only sentences state it, in their own words."""
    return Feature(
        name=name,
        unit=unit,
        direction=0,
        group="",
        en="",
        zh="",
        expression=expression,
    )


def _amount(name: str, expression: Callable[[Window], Values]) -> Feature:
    return _fact(name, "CNY", expression)


def _month(name: str, expression: Callable[[Window], Values]) -> Feature:
    return _fact(name, "months", expression)


def _change(w: Window, name: str) -> Values:
    return w.now(name) - w.ago(name, 6)


def _latest(w: Window, name: str) -> Values:
    """Months since a column was last above 0; NaN if it never was."""
    return _first_month(w[name] > 0)


def _of_peak(w: Window, name: str, months: int) -> Values:
    """Months since the largest value of the last months, the latest one of several."""
    return _first_month(w[name][:months] == w.max(name, months))


def _of_least(w: Window, name: str, months: int) -> Values:
    """Months since the smallest value of the last months, the latest one of several."""
    return _first_month(w[name][:months] == w.min(name, months))


def _months_of_income(w: Window, name: str, months: int) -> Values:
    """How many of the last months have both an income on file and the value of ``name``."""
    known = ~np.isnan(w[name][:months])
    counted: Values = known.sum(axis=0).astype(np.float64)
    return counted


def _months_with(w: Window, name: str, months: int) -> Values:
    """In how many of the last months a column is above 0."""
    counted: Values = (w[name][:months] > 0).sum(axis=0).astype(np.float64)
    return counted


def _months_without_bill(w: Window, months: int) -> Values:
    """How many of the last months had nothing to pay from the month before."""
    counted: Values = (w["owed_before"][:months] == 0).sum(axis=0).astype(np.float64)
    return counted


def _months_before_cut(w: Window, months: int) -> Values:
    """How many of the last months are measured against a limit from before a cut."""
    counted: Values = _is_before_cut(w)[:months].sum(axis=0).astype(np.float64)
    return counted


def _ends_before_cut(w: Window, months: int) -> Values:
    """The same of two months alone: the last one, and so many months before it."""
    # Verbs of single months, and no [::months]: a program has the latest months of a column.
    latest = w.now("uncut_limit") > w.now("credit_limit")
    before = w.ago("uncut_limit", months) > w.ago("credit_limit", months)
    return latest.astype(np.float64) + before.astype(np.float64)


def _is_before_cut(w: Window) -> Mask:
    # Utilization is measured against the highest limit of six months.
    measured: Mask = w["uncut_limit"] > w["credit_limit"]
    return measured


def _first_month(is_set: Mask) -> Values:
    """The first row of (months, accounts) that is true; NaN where none is."""
    first = is_set.argmax(axis=0).astype(np.float64)
    values: Values = np.where(is_set.any(axis=0), first, np.nan)
    return values


_AMOUNTS = (
    # Repayment.  A bill is the balance of the statement before.
    _amount(
        "payment_now",
        lambda w: w.now("payment_of_owed"),
    ),
    _amount(
        "bill_now",
        lambda w: w.now("owed_before"),
    ),
    _amount(
        "bill_paid_3",
        lambda w: w.mean("payment_of_owed", 3),
    ),
    _amount(
        "bill_paid_6",
        lambda w: w.mean("payment_of_owed", 6),
    ),
    _amount(
        "bill_paid_12",
        lambda w: w.mean("payment_of_owed", 12),
    ),
    _amount(
        "bill_mean_3",
        lambda w: w.mean("owed_before", 3),
    ),
    _amount(
        "bill_mean_6",
        lambda w: w.mean("owed_before", 6),
    ),
    _amount(
        "bill_mean_12",
        lambda w: w.mean("owed_before", 12),
    ),
    _amount(
        "bill_total_3",
        lambda w: w.total("owed_before", 3),
    ),
    _amount(
        "bill_total_6",
        lambda w: w.total("owed_before", 6),
    ),
    _amount(
        "bill_total_12",
        lambda w: w.total("owed_before", 12),
    ),
    _amount(
        "bill_paid_total_3",
        lambda w: w.total("payment_of_owed", 3),
    ),
    _amount(
        "bill_paid_total_6",
        lambda w: w.total("payment_of_owed", 6),
    ),
    _amount(
        "bill_paid_total_12",
        lambda w: w.total("payment_of_owed", 12),
    ),
    _month(
        "payment_to_balance_3_gaps",
        lambda w: _months_without_bill(w, 3),
    ),
    _month(
        "payment_to_balance_6_gaps",
        lambda w: _months_without_bill(w, 6),
    ),
    _month(
        "payment_to_balance_12_gaps",
        lambda w: _months_without_bill(w, 12),
    ),
    _amount(
        "balance_change_6",
        lambda w: _change(w, "balance"),
    ),
    # Use of the limit, spending and cash.
    _fact(
        "utilization_latest",
        "share",
        lambda w: w.now("utilization"),
    ),
    _fact(
        "utilization_before_6",
        "share",
        lambda w: w.ago("utilization", 6),
    ),
    _month(
        "utilization_mean_3_cut",
        lambda w: _months_before_cut(w, 3),
    ),
    _month(
        "utilization_mean_6_cut",
        lambda w: _months_before_cut(w, 6),
    ),
    _month(
        "utilization_mean_12_cut",
        lambda w: _months_before_cut(w, 12),
    ),
    _month(
        "utilization_peak_12_cut",
        lambda w: _months_before_cut(w, 12),
    ),
    _month(
        "months_above_90_6_cut",
        lambda w: _months_before_cut(w, 6),
    ),
    _month(
        "months_above_90_12_cut",
        lambda w: _months_before_cut(w, 12),
    ),
    _month(
        "utilization_rise_6_cut",
        lambda w: _ends_before_cut(w, 6),
    ),
    _amount(
        "spend_mean_3",
        lambda w: w.mean("spend", 3),
    ),
    _amount(
        "spend_mean_before_3",
        lambda w: w.mean("spend_3_ago", 9),
    ),
    _amount(
        "spend_mean_12",
        lambda w: w.mean("spend", 12),
    ),
    _amount(
        "spend_peak_12",
        lambda w: w.max("spend", 12),
    ),
    _amount(
        "spend_of_income_3",
        lambda w: w.total("spend_with_income", 3),
    ),
    _amount(
        "spend_of_income_12",
        lambda w: w.total("spend_with_income", 12),
    ),
    _month(
        "spend_to_income_3_months",
        lambda w: _months_of_income(w, "spend_with_income", 3),
    ),
    _month(
        "spend_to_income_12_months",
        lambda w: _months_of_income(w, "spend_with_income", 12),
    ),
    _amount(
        "cash_total_3",
        lambda w: w.total("cash_advance", 3),
    ),
    _amount(
        "cash_total_6",
        lambda w: w.total("cash_advance", 6),
    ),
    _amount(
        "cash_of_income_6",
        lambda w: w.total("cash_with_income", 6),
    ),
    _month(
        "cash_to_income_6_months",
        lambda w: _months_of_income(w, "cash_with_income", 6),
    ),
    _month(
        "cash_to_limit_6_in",
        lambda w: _months_with(w, "cash_advance", 6),
    ),
    _month(
        "cash_to_income_6_in",
        lambda w: _months_with(w, "cash_with_income", 6),
    ),
    _amount(
        "income_peak_12",
        lambda w: w.max("income_on_file", 12),
    ),
    # Applications and debt elsewhere.
    _month(
        "credit_inquiries_3_in",
        lambda w: _months_with(w, "credit_inquiries", 3),
    ),
    _month(
        "credit_inquiries_6_in",
        lambda w: _months_with(w, "credit_inquiries", 6),
    ),
    _month(
        "credit_inquiries_12_in",
        lambda w: _months_with(w, "credit_inquiries", 12),
    ),
    _amount(
        "external_debt",
        lambda w: w.last_known("external_debt"),
    ),
    _amount(
        "total_debt",
        total_debt,
    ),
    _amount(
        "external_debt_now",
        lambda w: w.now("external_debt"),
    ),
    _amount(
        "external_debt_before_6",
        lambda w: w.ago("external_debt", 6),
    ),
)
# Whole months back from ``as_of``; a sentence states the month's name.
_MONTHS_AGO = (
    _month(
        "late_ago",
        lambda w: _latest(w, "late"),
    ),
    _month(
        "worst_6_ago",
        lambda w: _of_peak(w, "days_past_due", 6),
    ),
    _month(
        "worst_12_ago",
        lambda w: _of_peak(w, "days_past_due", 12),
    ),
    _month(
        "worst_24_ago",
        lambda w: _of_peak(w, "days_past_due", 24),
    ),
    _month(
        "minimum_only_ago",
        lambda w: _latest(w, "minimum_only"),
    ),
    _month(
        "missed_minimum_ago",
        lambda w: _latest(w, "missed_minimum"),
    ),
    _month(
        "payment_least_ago",
        lambda w: _of_least(w, "payment", 3),
    ),
    _month(
        "utilization_peak_ago",
        lambda w: _of_peak(w, "utilization", 12),
    ),
    _month(
        "above_90_ago",
        lambda w: _latest(w, "above_90"),
    ),
    _month(
        "spend_peak_ago",
        lambda w: _of_peak(w, "spend", 12),
    ),
    _month(
        "income_peak_ago",
        lambda w: _of_peak(w, "income_on_file", 12),
    ),
    _month(
        "cash_ago",
        lambda w: _latest(w, "drew_cash"),
    ),
    # Even of a yuan, which is too little for a month to count as one with cash.
    _month(
        "cash_advance_ago",
        lambda w: _latest(w, "cash_advance"),
    ),
    _month(
        "limit_request_ago",
        lambda w: _latest(w, "limit_requests"),
    ),
    _month(
        "credit_inquiry_ago",
        lambda w: _latest(w, "credit_inquiries"),
    ),
)
# Features without rounding to their step.  A payment of 4 CNY is not nothing, and 6.446 times is
# 6.4 times although it is scored as 6.45.
_PAID_SHARES = tuple(
    feature for feature in WEAK_REPAYMENT if feature.name.startswith("payment_to_balance")
)
_EXACT = tuple(
    replace(feature, name=f"{feature.name}_exact", direction=0, group="")
    for feature in (*OVERSPENDING, *WEAK_REPAYMENT, *EXTERNAL_DEBT, *CAPACITY_AND_HISTORY)
    if feature.unit in ("CNY", "times") or feature in _PAID_SHARES
)
AMOUNTS: tuple[Feature, ...] = (*_AMOUNTS, *_MONTHS_AGO, *_EXACT)
# A key of the amounts that is no expression: the month of the last statement, as a month index.
AS_OF = "as_of"
MONTHS_AGO = frozenset(feature.name for feature in _MONTHS_AGO)
