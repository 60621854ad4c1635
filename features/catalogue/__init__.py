"""Every feature, declared once.

A feature is an expression over the window, in the verbs of :class:`features.window.Window`:
``w.mean("spend", 3)`` is the mean over the last 3 months, or over as many as there are.

The catalogue must not contain a protected attribute (age, gender, region, ...) or anything computed
from one.

feature     the declaration
repayment   repayment: late payment, weak repayment
spending    high utilization, overspending, cash reliance
borrowing   credit seeking, external debt
account     capacity and income, short history; the facts for policy rules
"""

from __future__ import annotations

from collections.abc import Mapping

from features.catalogue.account import CAPACITY_AND_HISTORY, FACTS, INCOME_FALL
from features.catalogue.borrowing import CREDIT_SEEKING, EXTERNAL_DEBT
from features.catalogue.feature import OF_ANOTHER_PRODUCT, Direction, Feature, Unit
from features.catalogue.repayment import LATE_PAYMENT, WEAK_REPAYMENT
from features.catalogue.spending import CASH_RELIANCE, HIGH_UTILIZATION, OVERSPENDING

__all__ = [
    "BY_NAME",
    "CATALOGUE",
    "MODEL_FEATURES",
    "OF_ANOTHER_PRODUCT",
    "Direction",
    "Feature",
    "Unit",
]

# A fit depends on this order: LightGBM prefers the earlier of two features with the same gain.
CATALOGUE: tuple[Feature, ...] = (
    *LATE_PAYMENT,
    *HIGH_UTILIZATION,
    *OVERSPENDING,
    *WEAK_REPAYMENT,
    *CASH_RELIANCE,
    *CREDIT_SEEKING,
    *EXTERNAL_DEBT,
    *CAPACITY_AND_HISTORY,
    *INCOME_FALL,
    *FACTS,
)
BY_NAME: Mapping[str, Feature] = {feature.name: feature for feature in CATALOGUE}
MODEL_FEATURES = tuple(feature.name for feature in CATALOGUE if feature.direction != 0)
