"""Features of the account itself: capacity, income and history, and the facts of the policy."""

from __future__ import annotations

import numpy as np

from features.catalogue.feature import Feature
from features.window import Values, Window, ratio


def _income_known(w: Window) -> Values:
    return (~np.isnan(w.last_known("income"))).astype(np.float64)


CAPACITY_AND_HISTORY: tuple[Feature, ...] = (
    Feature(
        name="income",
        unit="CNY",
        direction=-1,
        group="capacity",
        en="monthly income last known",
        zh="最近已知月收入",
        expression=lambda w: w.last_known("income"),
        own_step=0.0,  # a rule caps limits by it
    ),
    Feature(
        name="income_known",
        unit="yes_no",
        direction=-1,
        group="capacity",
        en="income known",
        zh="收入是否已知",
        expression=_income_known,
    ),
    Feature(
        name="established_limit",
        unit="CNY",
        direction=-1,
        group="capacity",
        en="limit before any cut of the last 6 months",
        zh="近6个月调整前的额度",
        expression=lambda w: w.now("uncut_limit"),
        own_step=0.0,  # limits are round amounts
    ),
    Feature(
        name="months_observed",
        unit="months",
        direction=-1,
        group="short_history",
        en="months of history",
        zh="账户历史月数",
        expression=lambda w: w.months_observed,
    ),
    # A customer who owes little has shown little: "no recent revolving balances" is a common reason
    # of credit scores.  Months with a late payment are left out, so that lateness counts only in
    # its own group.
    Feature(
        name="carried_on_time_3",
        unit="CNY",
        direction=-1,
        group="short_history",
        en="balance carried in months without a late payment, last 3",
        zh="近3个月中按时还款月份的月均欠款",
        expression=lambda w: w.mean("carried_on_time", 3),
    ),
)

# Of one group with the income: to a customer both are "your income".  It stands here because a fit
# depends on the order of the catalogue.
INCOME_FALL: tuple[Feature, ...] = (
    Feature(
        name="income_change_12",
        unit="share",
        direction=-1,
        group="capacity",
        en="monthly income to the highest of the last 12 months",
        zh="月收入占近12个月最高月收入比例",
        expression=lambda w: ratio(w.now("income_on_file"), w.max("income_on_file", 12)),
    ),
)

# Facts are for policy rules and the size of a cut, never for the model.
FACTS: tuple[Feature, ...] = (
    Feature(
        name="limit_now",
        unit="CNY",
        direction=0,
        group="",
        en="limit in force",
        zh="当前额度",
        expression=lambda w: w.now("credit_limit"),
    ),
    Feature(
        name="balance_now",
        unit="CNY",
        direction=0,
        group="",
        en="balance owed",
        zh="当前欠款",
        expression=lambda w: w.now("balance"),
    ),
    Feature(
        name="idle_months",
        unit="months",
        direction=0,
        group="",
        en="latest months in a row without any use",
        zh="最近连续未使用月数",
        expression=lambda w: w.months_since("active"),
    ),
    Feature(
        name="spend_mean_6",
        unit="CNY",
        direction=0,
        group="",
        en="mean monthly spending, last 6 months",
        zh="近6个月月均消费",
        expression=lambda w: w.mean("spend", 6),
    ),
)
