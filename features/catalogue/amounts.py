"""What sentences state beside a feature: the amounts behind a share, and the month of an event.

A share of a limit or an income says little to a customer without the amount.  Neither the model nor
the policy uses these values.  They are evaluated as features are, for accounts that have reasons.

Some choose among the sentences of a feature, whose name they begin with.  They count months that
the sentence covers: ``_months`` those with an income on file, ``_in`` those in which it happened,
``_gaps`` those without a bill, ``_cut`` those that are measured against a limit from before a cut,
``_carried`` those since the last income on file, ``_older_debt`` those since the last known debt
elsewhere, ``_low`` those since the lowest income after the highest, where it rose again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from features.catalogue.account import CAPACITY_AND_HISTORY
from features.catalogue.amount import (
    first_month,
    latest,
    make_amount,
    make_fact,
    make_month,
    months_with,
    of_least,
    of_peak,
)
from features.catalogue.borrowing import EXTERNAL_DEBT, total_debt
from features.catalogue.feature import Feature
from features.catalogue.income_amounts import INCOME_AMOUNTS, INCOME_MONTHS_AGO
from features.catalogue.repayment import WEAK_REPAYMENT
from features.catalogue.spending import OVERSPENDING
from features.types import Mask
from features.window import Values, Window


def _change(w: Window, name: str) -> Values:
    return w.now(name) - w.ago(name, 6)


def _since_last_debt(w: Window) -> Values:
    """Months since the latest statement with the debt elsewhere; NaN if none has it."""
    return first_month(~np.isnan(w["external_debt"]))


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


_AMOUNTS = (
    # Repayment.  A bill is the balance of the statement before.
    make_amount(
        "payment_now",
        lambda w: w.now("payment_of_owed"),
    ),
    make_amount(
        "bill_now",
        lambda w: w.now("owed_before"),
    ),
    make_amount(
        "due_now",
        lambda w: w.now("due_before"),
    ),
    make_month(
        "worst_days_past_due_6_in",
        lambda w: months_with(w, "late", 6),
    ),
    make_month(
        "worst_days_past_due_12_in",
        lambda w: months_with(w, "late", 12),
    ),
    make_month(
        "worst_days_past_due_24_in",
        lambda w: months_with(w, "late", 24),
    ),
    make_amount(
        "bill_paid_3",
        lambda w: w.mean("payment_of_owed", 3),
    ),
    make_amount(
        "bill_paid_6",
        lambda w: w.mean("payment_of_owed", 6),
    ),
    make_amount(
        "bill_paid_12",
        lambda w: w.mean("payment_of_owed", 12),
    ),
    make_amount(
        "bill_mean_3",
        lambda w: w.mean("owed_before", 3),
    ),
    make_amount(
        "bill_mean_6",
        lambda w: w.mean("owed_before", 6),
    ),
    make_amount(
        "bill_mean_12",
        lambda w: w.mean("owed_before", 12),
    ),
    make_amount(
        "bill_total_3",
        lambda w: w.total("owed_before", 3),
    ),
    make_amount(
        "bill_total_6",
        lambda w: w.total("owed_before", 6),
    ),
    make_amount(
        "bill_total_12",
        lambda w: w.total("owed_before", 12),
    ),
    make_amount(
        "bill_paid_total_3",
        lambda w: w.total("payment_of_owed", 3),
    ),
    make_amount(
        "bill_paid_total_6",
        lambda w: w.total("payment_of_owed", 6),
    ),
    make_amount(
        "bill_paid_total_12",
        lambda w: w.total("payment_of_owed", 12),
    ),
    make_month(
        "payment_to_balance_3_gaps",
        lambda w: _months_without_bill(w, 3),
    ),
    make_month(
        "payment_to_balance_6_gaps",
        lambda w: _months_without_bill(w, 6),
    ),
    make_month(
        "payment_to_balance_12_gaps",
        lambda w: _months_without_bill(w, 12),
    ),
    make_amount(
        "balance_change_6",
        lambda w: _change(w, "balance"),
    ),
    # Use of the limit, spending and cash.
    make_fact(
        "utilization_latest",
        "share",
        lambda w: w.now("utilization"),
    ),
    make_fact(
        "utilization_before_6",
        "share",
        lambda w: w.ago("utilization", 6),
    ),
    make_month(
        "utilization_mean_3_cut",
        lambda w: _months_before_cut(w, 3),
    ),
    make_month(
        "utilization_mean_6_cut",
        lambda w: _months_before_cut(w, 6),
    ),
    make_month(
        "utilization_mean_12_cut",
        lambda w: _months_before_cut(w, 12),
    ),
    make_month(
        "utilization_peak_12_cut",
        lambda w: _months_before_cut(w, 12),
    ),
    make_month(
        "months_above_90_6_cut",
        lambda w: _months_before_cut(w, 6),
    ),
    make_month(
        "months_above_90_12_cut",
        lambda w: _months_before_cut(w, 12),
    ),
    make_month(
        "utilization_rise_6_cut",
        lambda w: _ends_before_cut(w, 6),
    ),
    make_amount(
        "spend_mean_3",
        lambda w: w.mean("spend", 3),
    ),
    make_amount(
        "spend_mean_before_3",
        lambda w: w.mean("spend_3_ago", 9),
    ),
    make_amount(
        "spend_mean_12",
        lambda w: w.mean("spend", 12),
    ),
    make_amount(
        "spend_peak_12",
        lambda w: w.max("spend", 12),
    ),
    make_amount(
        "cash_total_3",
        lambda w: w.total("cash_advance", 3),
    ),
    make_amount(
        "cash_total_6",
        lambda w: w.total("cash_advance", 6),
    ),
    make_month(
        "cash_to_limit_6_in",
        lambda w: months_with(w, "cash_advance", 6),
    ),
    *INCOME_AMOUNTS,
    # Applications and debt elsewhere.
    make_month(
        "credit_inquiries_3_in",
        lambda w: months_with(w, "credit_inquiries", 3),
    ),
    make_month(
        "credit_inquiries_6_in",
        lambda w: months_with(w, "credit_inquiries", 6),
    ),
    make_month(
        "credit_inquiries_12_in",
        lambda w: months_with(w, "credit_inquiries", 12),
    ),
    make_amount(
        "external_debt",
        lambda w: w.last_known("external_debt"),
    ),
    make_amount(
        "total_debt",
        total_debt,
    ),
    make_month(
        "total_debt_to_income_older_debt",
        _since_last_debt,
    ),
    make_amount(
        "external_debt_now",
        lambda w: w.now("external_debt"),
    ),
    make_amount(
        "external_debt_before_6",
        lambda w: w.ago("external_debt", 6),
    ),
)
# Whole months back from ``as_of``; a sentence states the month's name.
_MONTHS_AGO = (
    make_month(
        "late_ago",
        lambda w: latest(w, "late"),
    ),
    make_month(
        "worst_6_ago",
        lambda w: of_peak(w, "days_past_due", 6),
    ),
    make_month(
        "worst_12_ago",
        lambda w: of_peak(w, "days_past_due", 12),
    ),
    make_month(
        "worst_24_ago",
        lambda w: of_peak(w, "days_past_due", 24),
    ),
    make_month(
        "minimum_only_ago",
        lambda w: latest(w, "minimum_only"),
    ),
    make_month(
        "missed_minimum_ago",
        lambda w: latest(w, "missed_minimum"),
    ),
    make_month(
        "payment_least_ago",
        lambda w: of_least(w, "payment", 3),
    ),
    make_month(
        "utilization_peak_ago",
        lambda w: of_peak(w, "utilization", 12),
    ),
    make_month(
        "above_90_ago",
        lambda w: latest(w, "above_90"),
    ),
    make_month(
        "spend_peak_ago",
        lambda w: of_peak(w, "spend", 12),
    ),
    make_month(
        "cash_ago",
        lambda w: latest(w, "drew_cash"),
    ),
    *INCOME_MONTHS_AGO,
    # Even of a yuan, which is too little for a month to count as one with cash.
    make_month(
        "cash_advance_ago",
        lambda w: latest(w, "cash_advance"),
    ),
    make_month(
        "limit_request_ago",
        lambda w: latest(w, "limit_requests"),
    ),
    make_month(
        "external_debt_ago",
        _since_last_debt,
    ),
    make_month(
        "credit_inquiry_ago",
        lambda w: latest(w, "credit_inquiries"),
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
