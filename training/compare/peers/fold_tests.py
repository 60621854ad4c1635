"""Two learners on the same folds: their difference, and how certain it is.

Folds share most of their training rows, so differences over folds are not independent and a plain
t-test rejects too often.  The corrected resampled t-test widens the variance by the share of test
to training rows (Nadeau and Bengio 2003, Machine Learning 52).  With five folds it has little
power: a difference that it does not find may still exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of means over folds, with its 95 % interval and two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float


def difference(
    one: Sequence[float],
    another: Sequence[float],
    test_to_train: float,
) -> Difference:
    """Test ``one`` minus ``another``, fold by fold.

    ``test_to_train`` is rows scored to rows fitted on (1 / 4 with five folds).  p is 1 where they
    are equal in every fold.  Raises ValueError where the folds are not the same two or more.

    >>> difference([0.80, 0.81, 0.82], [0.79, 0.79, 0.80], 0.5).mean  # doctest: +ELLIPSIS
    0.0166...
    """
    if len(one) != len(another) or len(one) < 2:
        raise ValueError(f"expected the same two or more folds, got {len(one)} and {len(another)}")
    gaps = np.subtract(one, another)
    mean = float(gaps.mean())
    # Without the correction the factor would be 1 / folds alone.
    factor = 1.0 / len(gaps) + test_to_train
    error = float(np.sqrt(factor * gaps.var(ddof=1)))
    # The same gap in every fold: t is infinite, or 0 / 0.
    if error == 0.0:
        p = 1.0 if mean == 0.0 else 0.0
        return Difference(mean, mean, mean, p)
    freedom = len(gaps) - 1
    quantile = float(student.ppf(0.975, freedom))
    half_width = quantile * error
    p = float(2.0 * student.sf(abs(mean) / error, freedom))
    return Difference(
        mean=mean,
        low=mean - half_width,
        high=mean + half_width,
        p=p,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests so that *any* false finding stays at the level.

    After Holm (1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    # SciPy controls the false discovery rate only, which allows some false findings.
    tests = len(p_values)
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * tests
    highest = 0.0
    for rank, test in enumerate(order.tolist()):
        remaining = tests - rank
        scaled = min(1.0, p_values[test] * remaining)
        # Adjusted values may not decrease where the p-values increase.
        highest = max(highest, scaled)
        adjusted[test] = highest
    return adjusted
