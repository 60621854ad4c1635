"""The decisions of several months on many trajectories, each put into force before the next."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from features.program.numba_cache import compiled_with
from serving.decision.policy.compiled import days, limits, memory, outcome, rules

_decide = outcome.decide
_put_in_force = outcome.put_in_force
_PROBABILITY = outcome.PROBABILITY
_LOG_ODDS = outcome.LOG_ODDS
_LOG_ODDS_NOW = outcome.LOG_ODDS_NOW
_AS_OF = outcome.AS_OF
_TODAY = outcome.TODAY
_NEW_LIMIT = outcome.NEW_LIMIT
_OWN_WIDTH = outcome.OWN_WIDTH
_CHANGE_WIDTH = memory.CHANGE_WIDTH


@compiled_with(days, limits, memory, rules, outcome)
def logit(probability: float) -> float:
    """As :func:`serving.decision.scoring.score.logit`."""
    if probability == 0.0:
        return -math.inf
    if probability == 1.0:
        return math.inf
    return math.log(probability) - math.log1p(-probability)


@compiled_with(days, limits, memory, rules, outcome)
def decide_months(  # noqa: PLR0913  # numba takes plain arrays
    probability: Any,
    features: Any,
    as_of: Any,
    today: Any,
    in_force: Any,
    product: Any,
    policy: Any,
    priors: Any,
    out: Any,
) -> None:
    """Write the outcome after each month of each trajectory into ``out``.

    Args:
        probability: float64 (months, trajectories).
        features: float64 (months, trajectories, features of the catalogue).
        as_of: float64 (months, trajectories): the month index of the last statement.
        today: As ``as_of``: the day of the decision.
        in_force: float64 (trajectories,): the limit in force before the first, CNY.
        product: int64 (trajectories,).
        policy: The arrays of :class:`serving.decision.policy.compiled.numbers.PolicyNumbers`.
        priors: float64 (trajectories, 12): before the first decision; overwritten.
        out: float64 (months, trajectories, 6), see :mod:`serving.decision.policy.compiled.outcome`.
    """
    settings, products, steps, rules_, conditions, places = policy
    own, change = np.empty(_OWN_WIDTH), np.empty(_CHANGE_WIDTH)
    row = np.empty(features.shape[2])
    for trajectory in range(features.shape[1]):
        limit = in_force[trajectory]
        for month in range(features.shape[0]):
            # By column: numba compiles its words for shapes that differ with each copied slice,
            # which took a tenth of the time that all loops take.
            for column in range(row.size):
                row[column] = features[month, trajectory, column]
            # A statement's limit is what the decision before it put in force.
            row[places[0]] = limit
            own[_PROBABILITY] = probability[month, trajectory]
            own[_LOG_ODDS] = logit(own[_PROBABILITY])
            own[_LOG_ODDS_NOW] = own[_LOG_ODDS]
            own[_AS_OF] = as_of[month, trajectory]
            own[_TODAY] = today[month, trajectory]
            _decide(
                row,
                places,
                own,
                priors[trajectory],
                settings,
                product[trajectory],
                products,
                steps,
                rules_,
                conditions,
                out[month, trajectory],
            )
            _put_in_force(out[month, trajectory], own, change, priors[trajectory])
            limit = out[month, trajectory, _NEW_LIMIT]
