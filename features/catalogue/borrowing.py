"""Features of the search for credit and of debt elsewhere: credit seeking, external debt."""

from __future__ import annotations

import numpy as np

from features.catalogue.feature import Feature
from features.window import Values, Window, ratio


def total_debt(w: Window) -> Values:
    """Debt here and elsewhere."""
    return np.maximum(w.now("balance"), 0.0) + w.last_known("external_debt")


CREDIT_SEEKING: tuple[Feature, ...] = (
    Feature(
        name="limit_requests_3",
        unit="count",
        direction=+1,
        group="credit_seeking",
        en="requests for a higher limit, last 3 months",
        zh="近3个月申请提额次数",
        expression=lambda w: w.total("limit_requests", 3),
    ),
    Feature(
        name="limit_requests_12",
        unit="count",
        direction=+1,
        group="credit_seeking",
        en="requests for a higher limit, last 12 months",
        zh="近12个月申请提额次数",
        expression=lambda w: w.total("limit_requests", 12),
    ),
    Feature(
        name="credit_inquiries_3",
        unit="count",
        direction=+1,
        group="credit_seeking",
        en="credit applications elsewhere, last 3 months",
        zh="近3个月在其他机构申请信贷次数",
        expression=lambda w: w.total("credit_inquiries", 3),
    ),
    Feature(
        name="credit_inquiries_6",
        unit="count",
        direction=+1,
        group="credit_seeking",
        en="credit applications elsewhere, last 6 months",
        zh="近6个月在其他机构申请信贷次数",
        expression=lambda w: w.total("credit_inquiries", 6),
    ),
    Feature(
        name="credit_inquiries_12",
        unit="count",
        direction=+1,
        group="credit_seeking",
        en="credit applications elsewhere, last 12 months",
        zh="近12个月在其他机构申请信贷次数",
        expression=lambda w: w.total("credit_inquiries", 12),
    ),
)

EXTERNAL_DEBT: tuple[Feature, ...] = (
    Feature(
        name="external_debt_to_income",
        unit="times",
        direction=+1,
        group="external_debt",
        en="debt elsewhere, in monthly incomes",
        zh="其他机构负债为月收入的倍数",
        expression=lambda w: ratio(w.last_known("external_debt"), w.last_known("income")),
    ),
    Feature(
        name="external_debt_to_limit",
        unit="times",
        direction=+1,
        group="external_debt",
        en="debt elsewhere to the limit here",
        zh="其他机构负债为本额度的倍数",
        expression=lambda w: ratio(w.last_known("external_debt"), w.now("uncut_limit")),
    ),
    Feature(
        name="external_debt_growth_6",
        unit="share",
        direction=+1,
        group="external_debt",
        en="growth of debt elsewhere over 6 months to the limit here",
        zh="近6个月其他机构负债增长占本额度比例",
        expression=lambda w: ratio(
            w.now("external_debt") - w.ago("external_debt", 6), w.now("uncut_limit")
        ),
    ),
    Feature(
        name="total_debt_to_income",
        unit="times",
        direction=+1,
        group="external_debt",
        en="debt here and elsewhere, in monthly incomes",
        zh="全部负债为月收入的倍数",
        expression=lambda w: ratio(total_debt(w), w.last_known("income")),
    ),
)
