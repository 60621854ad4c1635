"""Features of repayment: late payment and weak repayment, one reason group.

A payment that was left out is late and is no payment on the bill: to a customer it is one thing.
"""

from __future__ import annotations

from features.catalogue.feature import Feature
from features.catalogue.spending import WITH_PURCHASES
from features.window import Values, Window, ratio


def _paid_share(w: Window, months: int) -> Values:
    """Payments divided by the balances that they were due for."""
    # Of the means, so that the least denominator is that of a month.
    return ratio(w.mean("payment_of_owed", months), w.mean("owed_before", months))


LATE_PAYMENT: tuple[Feature, ...] = (
    Feature(
        name="late_months_3",
        unit="months",
        direction=+1,
        group="repayment",
        en="months with a late payment, last 3",
        zh="近3个月逾期月数",
        expression=lambda w: w.total("late", 3),
    ),
    Feature(
        name="late_months_6",
        unit="months",
        direction=+1,
        group="repayment",
        en="months with a late payment, last 6",
        zh="近6个月逾期月数",
        expression=lambda w: w.total("late", 6),
    ),
    Feature(
        name="late_months_12",
        unit="months",
        direction=+1,
        group="repayment",
        en="months with a late payment, last 12",
        zh="近12个月逾期月数",
        expression=lambda w: w.total("late", 12),
    ),
    Feature(
        name="days_past_due_now",
        unit="days",
        direction=+1,
        group="repayment",
        en="days past due on the last statement",
        zh="最近一期账单逾期天数",
        expression=lambda w: w.now("days_past_due"),
    ),
    Feature(
        name="worst_days_past_due_6",
        unit="days",
        direction=+1,
        group="repayment",
        en="most days past due, last 6 months",
        zh="近6个月最长逾期天数",
        expression=lambda w: w.max("days_past_due", 6),
    ),
    Feature(
        name="worst_days_past_due_12",
        unit="days",
        direction=+1,
        group="repayment",
        en="most days past due, last 12 months",
        zh="近12个月最长逾期天数",
        expression=lambda w: w.max("days_past_due", 12),
    ),
    Feature(
        name="worst_days_past_due_24",
        unit="days",
        direction=+1,
        group="repayment",
        en="most days past due, last 24 months",
        zh="近24个月最长逾期天数",
        expression=lambda w: w.max("days_past_due", 24),
    ),
    Feature(
        name="months_on_time",
        unit="months",
        direction=-1,
        group="repayment",
        en="latest months in a row without a late payment",
        zh="最近连续按时还款月数",
        expression=lambda w: w.months_since("late"),
    ),
)

WEAK_REPAYMENT: tuple[Feature, ...] = (
    Feature(
        name="payment_to_balance_now",
        unit="share",
        direction=-1,
        group="repayment",
        en="share of the last balance paid",
        zh="最近一期账单还款比例",
        expression=lambda w: _paid_share(w, 1),
    ),
    Feature(
        name="payment_to_balance_3",
        unit="share",
        direction=-1,
        group="repayment",
        en="share of balances paid, last 3 months",
        zh="近3个月账单还款比例",
        expression=lambda w: _paid_share(w, 3),
    ),
    Feature(
        name="payment_to_balance_6",
        unit="share",
        direction=-1,
        group="repayment",
        en="share of balances paid, last 6 months",
        zh="近6个月账单还款比例",
        expression=lambda w: _paid_share(w, 6),
    ),
    Feature(
        name="payment_to_balance_12",
        unit="share",
        direction=-1,
        group="repayment",
        en="share of balances paid, last 12 months",
        zh="近12个月账单还款比例",
        expression=lambda w: _paid_share(w, 12),
    ),
    Feature(
        name="minimum_only_months_6",
        unit="months",
        direction=+1,
        group="repayment",
        en="months with little more than the minimum paid, last 6",
        zh="近6个月仅还最低还款额的月数",
        expression=lambda w: w.total("minimum_only", 6),
    ),
    Feature(
        name="minimum_only_months_12",
        unit="months",
        direction=+1,
        group="repayment",
        en="months with little more than the minimum paid, last 12",
        zh="近12个月仅还最低还款额的月数",
        expression=lambda w: w.total("minimum_only", 12),
    ),
    Feature(
        name="missed_minimum_months_6",
        unit="months",
        direction=+1,
        group="repayment",
        en="months with less than the minimum paid, last 6",
        zh="近6个月未还足最低还款额的月数",
        expression=lambda w: w.total("missed_minimum", 6),
    ),
    Feature(
        name="paid_in_full_months_6",
        unit="months",
        direction=-1,
        group="repayment",
        en="months paid in full, last 6",
        zh="近6个月全额还款月数",
        expression=lambda w: w.total("paid_in_full", 6),
    ),
    Feature(
        name="payment_mean_6",
        unit="CNY",
        direction=-1,
        group="repayment",
        en="mean monthly payment, last 6 months",
        zh="近6个月月均还款额",
        expression=lambda w: w.mean("payment", 6),
    ),
    Feature(
        name="payment_least_3",
        unit="CNY",
        direction=-1,
        group="repayment",
        en="smallest monthly payment, last 3 months",
        zh="近3个月最低月还款额",
        expression=lambda w: w.min("payment", 3),
    ),
    Feature(
        name="repaid_spending_3",
        unit="CNY",
        direction=-1,
        group="repayment",
        en="monthly spending matched by payments, last 3 months",
        zh="近3个月月均由当月还款覆盖的消费额",
        products=WITH_PURCHASES,
        expression=lambda w: w.mean("repaid_spend", 3),
    ),
    Feature(
        name="repaid_spending_6",
        unit="CNY",
        direction=-1,
        group="repayment",
        en="monthly spending matched by payments, last 6 months",
        zh="近6个月月均由当月还款覆盖的消费额",
        products=WITH_PURCHASES,
        expression=lambda w: w.mean("repaid_spend", 6),
    ),
    # To a customer it is the use of the limit that rose, as utilization_rise_6 says too.
    Feature(
        name="balance_growth_6",
        unit="share",
        direction=+1,
        group="high_utilization",
        en="growth of the balance over 6 months to the limit",
        zh="近6个月欠款增长占额度比例",
        expression=lambda w: ratio(w.now("balance") - w.ago("balance", 6), w.now("uncut_limit")),
    ),
)
