"""The full vector: what every feature of the model was, and what it contributed.

The reasons are the part of it that a customer is told.  It is for reviewers and auditors: it leaks
the statements that it is made from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from features.catalogue import BY_NAME, Unit
from serving.decision.reasons.naming import group_of
from serving.decision.reasons.ranking import Evidence
from serving.decision.scoring.score import ADDITIVITY_TOLERANCE, AdditivityError

_UNKNOWN = (math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class FeatureValue:
    """A feature of one account.

    ``value`` is the account's, ``reference_value`` the median of the reference population and
    ``reference_low`` and ``reference_high`` its quartiles; None = unknown, of the population mostly
    unknown.  ``contribution`` is in log-odds.
    """

    name: str
    group: str
    unit: Unit
    value: float | None
    reference_low: float | None
    reference_value: float | None
    reference_high: float | None
    contribution: float


def full_vector(
    evidence: Evidence, base_log_odds: float, log_odds: float
) -> tuple[FeatureValue, ...]:
    """Every feature of the model, in the order of the model.

    Raises:
        AdditivityError: ``base_log_odds`` and the contributions miss ``log_odds`` by more than
            1e-9.
    """
    total = base_log_odds + math.fsum(evidence.contributions.values())
    if not abs(total - log_odds) <= ADDITIVITY_TOLERANCE:
        raise AdditivityError(
            f"expected base and contributions to add up to the log-odds {log_odds!r}, got {total!r}"
        )
    return tuple(_feature_value(name, evidence) for name in evidence.contributions)


def _feature_value(name: str, evidence: Evidence) -> FeatureValue:
    comparison = evidence.comparison
    low, high = comparison.quartiles.get(name, _UNKNOWN)
    return FeatureValue(
        name=name,
        group=group_of(name),
        # As in a reason: a model may have a feature that the catalogue no longer has.
        unit=BY_NAME[name].unit if name in BY_NAME else "count",
        value=_known(evidence.values[name]),
        reference_low=_known(low),
        reference_value=_known(comparison.medians.get(name, math.nan)),
        reference_high=_known(high),
        contribution=evidence.contributions[name],
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
