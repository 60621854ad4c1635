"""What is on the front, what is taken and what is given up, each against its own definition in
plain loops.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.tune.pareto import (
    TrialScore,
    dominated_by,
    fold_noise,
    pareto_front,
    smallest_within_noise,
    standard_error,
)

FOLDS = 4
SCORES = st.lists(
    st.tuples(
        st.tuples(*[st.integers(700, 760).map(lambda n: n / 1000)] * FOLDS),
        st.tuples(*[st.integers(1, 60).map(float)] * FOLDS),
    ),
    min_size=1,
    max_size=12,
).map(lambda drawn: [TrialScore(number, auc, leaves) for number, (auc, leaves) in enumerate(drawn)])


def dominates(one: TrialScore, other: TrialScore) -> bool:
    no_worse = one.mean_auc >= other.mean_auc and one.mean_leaves <= other.mean_leaves
    return no_worse and (one.mean_auc > other.mean_auc or one.mean_leaves < other.mean_leaves)


@given(SCORES)
def test_the_front_is_what_nothing_dominates(scored: list[TrialScore]) -> None:
    expected = {
        (s.mean_auc, s.mean_leaves)
        for s in scored
        if not any(dominates(other, s) for other in scored)
    }
    found = pareto_front(scored)
    assert {(s.mean_auc, s.mean_leaves) for s in found} == expected
    assert len(found) == len(expected)  # of equals one
    assert [s.mean_leaves for s in found] == sorted(s.mean_leaves for s in found)


@given(SCORES)
def test_taken_is_the_smallest_within_one_paired_standard_error_of_the_best(
    scored: list[TrialScore],
) -> None:
    best = max(s.mean_auc for s in scored)
    top = min((s for s in scored if s.mean_auc == best), key=lambda s: s.mean_leaves)
    taken = smallest_within_noise(scored)
    gap = [a - b for a, b in zip(top.auc, taken.auc, strict=True)]
    mean = sum(gap) / FOLDS
    error = (sum((g - mean) ** 2 for g in gap) / (FOLDS - 1)) ** 0.5 / FOLDS**0.5
    assert mean <= error + 1e-12
    for other in scored:
        if other.mean_leaves < taken.mean_leaves:
            assert top.mean_auc - other.mean_auc > standard_error(top, other)


def test_how_unlike_the_folds_are_is_no_excuse() -> None:
    easy_and_hard = (0.70, 0.75, 0.80, 0.85)
    best = TrialScore(0, easy_and_hard, (90.0,) * 4)
    worse = TrialScore(1, tuple(a - 0.01 for a in easy_and_hard), (10.0,) * 4)
    assert smallest_within_noise([best, worse]) is best  # the best's own standard error is 0.03


def test_nothing_can_be_chosen_from_nothing() -> None:
    with pytest.raises(ValueError, match="at least one finished trial"):
        smallest_within_noise([])
    with pytest.raises(ValueError, match="same two or more folds, got 2 and 3"):
        standard_error(TrialScore(0, (0.1, 0.2), (1, 1)), TrialScore(1, (0.1, 0.2, 0.3), (1, 1, 1)))


def test_noise_is_that_of_the_difference_of_two_models() -> None:
    random = np.random.default_rng(0)
    hard, good = random.normal(0.8, 0.05, FOLDS), random.normal(0, 0.02, 2000)
    table = hard + good[:, None] + random.normal(0, 0.003, (2000, FOLDS))
    scored = [
        TrialScore(number, tuple(row), (1.0,) * FOLDS) for number, row in enumerate(table.tolist())
    ]
    assert fold_noise(scored) == pytest.approx(0.003 * 2**0.5, rel=0.05)
    assert fold_noise(scored[:3]) is None


def test_hopeless_is_larger_and_worse_beyond_noise_and_nothing_less() -> None:
    random = np.random.default_rng(1)
    finished = [
        TrialScore(number, tuple(0.80 + random.normal(0, 0.001, FOLDS)), (50.0 + number,) * FOLDS)
        for number in range(8)
    ]
    deviation = fold_noise(finished)
    assert deviation is not None
    assert 0.0005 < deviation < 0.003
    assert dominated_by(TrialScore(9, (0.75, 0.75), (90.0, 90.0)), finished, 2.5) is not None
    assert (
        dominated_by(TrialScore(9, (0.75, 0.75), (90.0, 40.0)), finished, 2.5) is None
    )  # smaller in a fold: may be on the front
    assert dominated_by(TrialScore(9, (0.75, 0.75), (40.0, 40.0)), finished, 2.5) is None
    # worse, but within noise
    assert dominated_by(TrialScore(9, (0.7995, 0.7995), (90.0, 90.0)), finished, 2.5) is None
    # too few to know the noise
    assert dominated_by(TrialScore(9, (0.75, 0.75), (90.0, 90.0)), finished[:3], 2.5) is None
