"""Features of the use of the limit: utilization, spending and cash."""

from __future__ import annotations

from features.catalogue.feature import Feature
from features.window import Values, Window, ratio

# A cash loan is drawn in cash; its rare purchases are no habit that could be compared.
WITH_PURCHASES = ("pay_later",)


def _spend_to_income(w: Window, months: int) -> Values:
    """Spending divided by the income on file, over the same months."""
    return ratio(w.total("spend_with_income", months), w.total("income_with_spend", months))


# Utilization is measured against the limit before any cut of the last months.
HIGH_UTILIZATION: tuple[Feature, ...] = (
    Feature(
        name="utilization_now",
        unit="share",
        direction=+1,
        group="high_utilization",
        en="share of the limit in use",
        zh="额度使用率",
        expression=lambda w: w.now("utilization"),
    ),
    Feature(
        name="utilization_mean_3",
        unit="share",
        direction=+1,
        group="high_utilization",
        en="mean share of the limit in use, last 3 months",
        zh="近3个月平均额度使用率",
        expression=lambda w: w.mean("utilization", 3),
    ),
    Feature(
        name="utilization_mean_6",
        unit="share",
        direction=+1,
        group="high_utilization",
        en="mean share of the limit in use, last 6 months",
        zh="近6个月平均额度使用率",
        expression=lambda w: w.mean("utilization", 6),
    ),
    Feature(
        name="utilization_mean_12",
        unit="share",
        direction=+1,
        group="high_utilization",
        en="mean share of the limit in use, last 12 months",
        zh="近12个月平均额度使用率",
        expression=lambda w: w.mean("utilization", 12),
    ),
    Feature(
        name="utilization_peak_12",
        unit="share",
        direction=+1,
        group="high_utilization",
        en="highest share of the limit in use, last 12 months",
        zh="近12个月最高额度使用率",
        expression=lambda w: w.max("utilization", 12),
    ),
    Feature(
        name="months_above_90_6",
        unit="months",
        direction=+1,
        group="high_utilization",
        en="months with over 90% of the limit in use, last 6",
        zh="近6个月额度使用率超过90%的月数",
        expression=lambda w: w.total("above_90", 6),
    ),
    Feature(
        name="months_above_90_12",
        unit="months",
        direction=+1,
        group="high_utilization",
        en="months with over 90% of the limit in use, last 12",
        zh="近12个月额度使用率超过90%的月数",
        expression=lambda w: w.total("above_90", 12),
    ),
    Feature(
        name="utilization_rise_6",
        unit="share",
        direction=+1,
        group="high_utilization",
        en="rise in the share of the limit in use over 6 months",
        zh="近6个月额度使用率上升幅度",
        expression=lambda w: w.now("utilization") - w.ago("utilization", 6),
    ),
)

OVERSPENDING: tuple[Feature, ...] = (
    Feature(
        name="spend_to_income_3",
        unit="share",
        direction=+1,
        group="overspending",
        en="monthly spending to income, last 3 months",
        zh="近3个月月均消费占收入比例",
        products=WITH_PURCHASES,
        expression=lambda w: _spend_to_income(w, 3),
    ),
    Feature(
        name="spend_to_income_12",
        unit="share",
        direction=+1,
        group="overspending",
        en="monthly spending to income, last 12 months",
        zh="近12个月月均消费占收入比例",
        products=WITH_PURCHASES,
        expression=lambda w: _spend_to_income(w, 12),
    ),
    Feature(
        name="spend_to_limit_3",
        unit="share",
        direction=+1,
        group="overspending",
        en="monthly spending to the limit, last 3 months",
        zh="近3个月月均消费占额度比例",
        products=WITH_PURCHASES,
        expression=lambda w: ratio(w.mean("spend", 3), w.now("uncut_limit")),
    ),
    Feature(
        name="spend_growth",
        unit="times",
        direction=+1,
        group="overspending",
        en="monthly spending, last 3 months to the 9 before",
        zh="近3个月月均消费与此前9个月之比",
        products=WITH_PURCHASES,
        expression=lambda w: ratio(w.mean("spend", 3), w.mean("spend_3_ago", 9)),
    ),
    Feature(
        name="spend_peak",
        unit="times",
        direction=+1,
        group="overspending",
        en="highest monthly spending to the mean, last 12 months",
        zh="近12个月最高月消费与平均之比",
        products=WITH_PURCHASES,
        expression=lambda w: ratio(w.max("spend", 12), w.mean("spend", 12)),
    ),
)

CASH_RELIANCE: tuple[Feature, ...] = (
    Feature(
        name="cash_months_3",
        unit="months",
        direction=+1,
        group="cash_reliance",
        en="months with cash drawn, last 3",
        zh="近3个月取现月数",
        expression=lambda w: w.total("drew_cash", 3),
    ),
    Feature(
        name="cash_months_12",
        unit="months",
        direction=+1,
        group="cash_reliance",
        en="months with cash drawn, last 12",
        zh="近12个月取现月数",
        expression=lambda w: w.total("drew_cash", 12),
    ),
    Feature(
        name="cash_to_limit_6",
        unit="share",
        direction=+1,
        group="cash_reliance",
        en="cash drawn in 6 months to the limit",
        zh="近6个月取现金额占额度比例",
        expression=lambda w: ratio(w.total("cash_advance", 6), w.now("uncut_limit")),
    ),
    Feature(
        name="cash_to_income_6",
        unit="share",
        direction=+1,
        group="cash_reliance",
        en="monthly cash drawn to income, last 6 months",
        zh="近6个月月均取现占收入比例",
        expression=lambda w: ratio(w.total("cash_with_income", 6), w.total("income_with_cash", 6)),
    ),
)
