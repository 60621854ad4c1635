"""Every feature, declared once.

A feature is an expression over the window of one account, in the verbs of :mod:`features.window`;
``mean("spend", 3)`` is the mean over the last 3 months, or over as many as there are.  NaN means
unknown, never zero.

``direction`` is the side on which the feature is worse for the customer: +1 = a larger value never
lowers the log-odds, -1 = never raises it.  The model is fitted under these constraints, so a good
value is never a reason.

No protected attribute (age, gender, region, ...) may stand here, nor anything computed from one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from features.window import Values, Window, ratio

Unit = Literal["months", "days", "count", "share", "times", "CNY", "yes_no"]
Direction = Literal[-1, 0, 1]


@dataclass(frozen=True, slots=True)
class Feature:
    """One declared feature: what it is called, how it is computed, what it means to a customer.

    ``group`` is the reason group (reasons.toml words it).  ``actionable``: behaviour of the coming
    months can move it. ``direction`` 0 marks a fact that policy rules may use and the model never
    sees; facts have no group. ``en`` and ``zh`` name the feature to a customer.  ``expression``
    gives float64 (accounts,), NaN = unknown.
    """

    name: str
    unit: Unit
    direction: Direction
    group: str
    actionable: bool
    en: str
    zh: str
    expression: Callable[[Window], Values]


def _owed(w: Window) -> Values:
    return np.maximum(w.now("balance"), 0.0)


def _paid_share(w: Window, months: int) -> Values:
    """Payments to the balances that they were to pay."""
    return ratio(w.total("payment_of_owed", months), w.total("owed_before", months))


CATALOGUE: tuple[Feature, ...] = (
    # Late payment
    Feature("late_months_3", "months", 1, "late_payment", True,
            "months with a late payment, last 3", "近3个月逾期月数", lambda w: w.total("late", 3)),
    Feature("late_months_6", "months", 1, "late_payment", True,
            "months with a late payment, last 6", "近6个月逾期月数", lambda w: w.total("late", 6)),
    Feature("late_months_12", "months", 1, "late_payment", True,
            "months with a late payment, last 12", "近12个月逾期月数", lambda w: w.total("late", 12)),
    Feature("days_past_due_now", "days", 1, "late_payment", True,
            "days past due on the last statement", "最近一期账单逾期天数", lambda w: w.now("days_past_due")),
    Feature("worst_days_past_due_6", "days", 1, "late_payment", True,
            "most days past due, last 6 months", "近6个月最长逾期天数", lambda w: w.max("days_past_due", 6)),
    Feature("worst_days_past_due_24", "days", 1, "late_payment", True,
            "most days past due, last 24 months", "近24个月最长逾期天数", lambda w: w.max("days_past_due", 24)),
    Feature("months_on_time", "months", -1, "late_payment", True,
            "latest months in a row without a late payment", "最近连续按时还款月数",
            lambda w: w.months_since("late")),
    # High utilization, measured against the limit before a cut of the last months
    Feature("utilization_now", "share", 1, "high_utilization", True,
            "share of the limit in use", "额度使用率", lambda w: w.now("utilization")),
    Feature("utilization_mean_3", "share", 1, "high_utilization", True,
            "mean share of the limit in use, last 3 months", "近3个月平均额度使用率", lambda w: w.mean("utilization", 3)),
    Feature("utilization_mean_6", "share", 1, "high_utilization", True,
            "mean share of the limit in use, last 6 months", "近6个月平均额度使用率", lambda w: w.mean("utilization", 6)),
    Feature("utilization_mean_12", "share", 1, "high_utilization", True,
            "mean share of the limit in use, last 12 months", "近12个月平均额度使用率", lambda w: w.mean("utilization", 12)),
    Feature("utilization_peak_12", "share", 1, "high_utilization", True,
            "highest share of the limit in use, last 12 months", "近12个月最高额度使用率", lambda w: w.max("utilization", 12)),
    Feature("months_above_90_6", "months", 1, "high_utilization", True,
            "months with over 90 % of the limit in use, last 6", "近6个月额度使用率超过90%的月数",
            lambda w: w.total("above_90", 6)),
    Feature("months_above_90_12", "months", 1, "high_utilization", True,
            "months with over 90 % of the limit in use, last 12", "近12个月额度使用率超过90%的月数",
            lambda w: w.total("above_90", 12)),
    Feature("utilization_rise_6", "share", 1, "high_utilization", True,
            "rise in the share of the limit in use over 6 months", "近6个月额度使用率上升幅度",
            lambda w: w.now("utilization") - w.ago("utilization", 6)),
    # Overspending
    Feature("spend_to_income_3", "share", 1, "overspending", True,
            "monthly spending to income, last 3 months", "近3个月月均消费占收入比例",
            lambda w: ratio(w.mean("spend", 3), w.last_known("income"))),
    Feature("spend_to_income_12", "share", 1, "overspending", True,
            "monthly spending to income, last 12 months", "近12个月月均消费占收入比例",
            lambda w: ratio(w.mean("spend", 12), w.last_known("income"))),
    Feature("spend_to_limit_3", "share", 1, "overspending", True,
            "monthly spending to the limit, last 3 months", "近3个月月均消费占额度比例",
            lambda w: ratio(w.mean("spend", 3), w.now("uncut_limit"))),
    Feature("spend_growth", "times", 1, "overspending", True,
            "monthly spending, last 3 months to the 9 before", "近3个月月均消费与此前9个月之比",
            lambda w: ratio(w.mean("spend", 3), w.mean("spend_3_ago", 9))),
    Feature("spend_peak", "times", 1, "overspending", True,
            "highest monthly spending to the mean, last 12 months", "近12个月最高月消费与平均之比",
            lambda w: ratio(w.max("spend", 12), w.mean("spend", 12))),
    # Weak repayment
    Feature("payment_to_balance_now", "share", -1, "weak_repayment", True,
            "share of the last balance paid", "最近一期账单还款比例",
            lambda w: _paid_share(w, 1)),
    Feature("payment_to_balance_3", "share", -1, "weak_repayment", True,
            "share of balances paid, last 3 months", "近3个月账单还款比例",
            lambda w: _paid_share(w, 3)),
    Feature("payment_to_balance_6", "share", -1, "weak_repayment", True,
            "share of balances paid, last 6 months", "近6个月账单还款比例",
            lambda w: _paid_share(w, 6)),
    Feature("payment_to_balance_12", "share", -1, "weak_repayment", True,
            "share of balances paid, last 12 months", "近12个月账单还款比例",
            lambda w: _paid_share(w, 12)),
    Feature("minimum_only_months_6", "months", 1, "weak_repayment", True,
            "months with little more than the minimum paid, last 6", "近6个月仅还最低还款额的月数",
            lambda w: w.total("minimum_only", 6)),
    Feature("minimum_only_months_12", "months", 1, "weak_repayment", True,
            "months with little more than the minimum paid, last 12", "近12个月仅还最低还款额的月数",
            lambda w: w.total("minimum_only", 12)),
    Feature("missed_minimum_months_6", "months", 1, "weak_repayment", True,
            "months with less than the minimum paid, last 6", "近6个月未还足最低还款额的月数",
            lambda w: w.total("missed_minimum", 6)),
    Feature("paid_in_full_months_6", "months", -1, "weak_repayment", True,
            "months paid in full, last 6", "近6个月全额还款月数", lambda w: w.total("paid_in_full", 6)),
    Feature("payment_mean_6", "CNY", -1, "weak_repayment", True,
            "mean monthly payment, last 6 months", "近6个月月均还款额", lambda w: w.mean("payment", 6)),
    Feature("payment_least_3", "CNY", -1, "weak_repayment", True,
            "smallest monthly payment, last 3 months", "近3个月最低月还款额", lambda w: w.min("payment", 3)),
    Feature("repaid_spending_3", "CNY", -1, "weak_repayment", True,
            "monthly spending matched by payments, last 3 months", "近3个月月均由当月还款覆盖的消费额",
            lambda w: w.mean("repaid_spend", 3)),
    Feature("repaid_spending_6", "CNY", -1, "weak_repayment", True,
            "monthly spending matched by payments, last 6 months", "近6个月月均由当月还款覆盖的消费额",
            lambda w: w.mean("repaid_spend", 6)),
    Feature("balance_growth_6", "share", 1, "weak_repayment", True,
            "growth of the balance over 6 months to the limit", "近6个月欠款增长占额度比例",
            lambda w: ratio(w.now("balance") - w.ago("balance", 6), w.now("uncut_limit"))),
    # Cash reliance
    Feature("cash_months_3", "months", 1, "cash_reliance", True,
            "months with cash drawn, last 3", "近3个月取现月数", lambda w: w.total("drew_cash", 3)),
    Feature("cash_months_12", "months", 1, "cash_reliance", True,
            "months with cash drawn, last 12", "近12个月取现月数", lambda w: w.total("drew_cash", 12)),
    Feature("cash_to_limit_6", "share", 1, "cash_reliance", True,
            "cash drawn in 6 months to the limit", "近6个月取现金额占额度比例",
            lambda w: ratio(w.total("cash_advance", 6), w.now("uncut_limit"))),
    Feature("cash_to_income_6", "share", 1, "cash_reliance", True,
            "monthly cash drawn to income, last 6 months", "近6个月月均取现占收入比例",
            lambda w: ratio(w.mean("cash_advance", 6), w.last_known("income"))),
    # Credit seeking
    Feature("limit_requests_3", "count", 1, "credit_seeking", True,
            "requests for a higher limit, last 3 months", "近3个月申请提额次数", lambda w: w.total("limit_requests", 3)),
    Feature("limit_requests_12", "count", 1, "credit_seeking", True,
            "requests for a higher limit, last 12 months", "近12个月申请提额次数", lambda w: w.total("limit_requests", 12)),
    Feature("credit_inquiries_3", "count", 1, "credit_seeking", True,
            "credit applications elsewhere, last 3 months", "近3个月在其他机构申请信贷次数",
            lambda w: w.total("credit_inquiries", 3)),
    Feature("credit_inquiries_6", "count", 1, "credit_seeking", True,
            "credit applications elsewhere, last 6 months", "近6个月在其他机构申请信贷次数",
            lambda w: w.total("credit_inquiries", 6)),
    Feature("credit_inquiries_12", "count", 1, "credit_seeking", True,
            "credit applications elsewhere, last 12 months", "近12个月在其他机构申请信贷次数",
            lambda w: w.total("credit_inquiries", 12)),
    # External debt
    Feature("external_debt_to_income", "times", 1, "external_debt", True,
            "debt elsewhere, in monthly incomes", "其他机构负债为月收入的倍数",
            lambda w: ratio(w.last_known("external_debt"), w.last_known("income"))),
    Feature("external_debt_to_limit", "times", 1, "external_debt", True,
            "debt elsewhere to the limit here", "其他机构负债为本额度的倍数",
            lambda w: ratio(w.last_known("external_debt"), w.now("uncut_limit"))),
    Feature("external_debt_growth_6", "share", 1, "external_debt", True,
            "growth of debt elsewhere over 6 months to the limit here", "近6个月其他机构负债增长占本额度比例",
            lambda w: ratio(w.now("external_debt") - w.ago("external_debt", 6), w.now("uncut_limit"))),
    Feature("total_debt_to_income", "times", 1, "external_debt", True,
            "debt here and elsewhere, in monthly incomes", "全部负债为月收入的倍数",
            lambda w: ratio(_owed(w) + w.last_known("external_debt"), w.last_known("income"))),
    # Capacity: what the line was granted on
    Feature("income", "CNY", -1, "capacity", False,
            "monthly income last known", "最近已知月收入", lambda w: w.last_known("income")),
    Feature("income_known", "yes_no", -1, "short_history", True,
            "income known", "收入是否已知", lambda w: (~np.isnan(w.last_known("income"))).astype(np.float64)),
    Feature("established_limit", "CNY", -1, "capacity", False,
            "limit before any cut of the last 6 months", "近6个月调整前的额度", lambda w: w.now("uncut_limit")),
    # Short or incomplete history
    Feature("months_observed", "months", -1, "short_history", False,
            "months of history", "账户历史月数", lambda w: w.months_observed),
    # Who owes little has shown little: "no recent revolving balances" is a usual reason of credit
    # scores.  Months that were paid late are left out, so that lateness is told once, and by its
    # own group.
    Feature("carried_on_time_3", "CNY", -1, "short_history", True,
            "balance carried in months without a late payment, last 3", "近3个月中按时还款月份的月均欠款",
            lambda w: w.mean("carried_on_time", 3)),
    # Facts: for policy rules and the size of a cut, never for the model
    Feature("limit_now", "CNY", 0, "", False, "limit in force", "当前额度", lambda w: w.now("credit_limit")),
    Feature("balance_now", "CNY", 0, "", False, "balance owed", "当前欠款", lambda w: w.now("balance")),
    Feature("idle_months", "months", 0, "", False,
            "latest months in a row without any use", "最近连续未使用月数",
            lambda w: w.months_since("active")),
)  # fmt: skip

BY_NAME: Mapping[str, Feature] = {feature.name: feature for feature in CATALOGUE}
MODEL_FEATURES: tuple[str, ...] = tuple(
    feature.name for feature in CATALOGUE if feature.direction != 0
)
