"""Two learners on the same folds: how far apart they are, and how sure that is.

Folds share most of their training rows, so that differences over folds are not independent and a
plain t-test finds too much. The corrected resampled t-test widens the variance by the share of test
to training rows (Nadeau and Bengio 2003, Machine Learning 52).  With five folds it has little
power: what it does not find may still be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student


@dataclass(frozen=True, slots=True)
class Difference:
    """Of means over folds, with its 95 % interval, and the two-sided p of no difference."""

    mean: float
    low: float
    high: float
    p: float


def difference(one: Sequence[float], another: Sequence[float], test_to_train: float) -> Difference:
    """``one`` minus ``another``, fold by fold; ``test_to_train`` = rows scored to rows fitted on (1
    / 4 in five folds).

    p is 1 where they are the same in every fold.  ValueError where the folds are not the same two
    or more.

    >>> difference([0.80, 0.81, 0.82], [0.79, 0.79, 0.80], 0.5).mean  # doctest: +ELLIPSIS
    0.0166...
    """
    if len(one) != len(another) or len(one) < 2:
        raise ValueError(f"expected the same two or more folds, got {len(one)} and {len(another)}")
    gaps = np.subtract(one, another)
    mean, error = (
        float(gaps.mean()),
        float(np.sqrt((1.0 / len(gaps) + test_to_train) * gaps.var(ddof=1))),
    )
    half = float(student.ppf(0.975, len(gaps) - 1)) * error
    if error == 0.0:
        return Difference(mean, mean, mean, 1.0 if mean == 0.0 else 0.0)
    return Difference(
        mean, mean - half, mean + half, float(2.0 * student.sf(abs(mean) / error, len(gaps) - 1))
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, raised so that the chance of *any* false finding stays at the
    level (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    raised, highest = [0.0] * len(p_values), 0.0
    for place, number in enumerate(order.tolist()):
        highest = max(highest, min(1.0, p_values[number] * (len(p_values) - place)))
        raised[number] = highest
    return raised
