"""The probability of log-odds, and the check that contributions add up to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.decision.scoring.kernels import add_up
from serving.decision.scoring.score import probability_of, probability_of_one

LOG_ODDS = st.floats(allow_nan=False)


@given(st.lists(LOG_ODDS, min_size=1, max_size=40))
@example([math.inf, -math.inf, 0.0, -0.0, 709.9, -745.2])
def test_one_number_has_the_probability_that_it_has_among_many(log_odds: list[float]) -> None:
    together = probability_of(np.array(log_odds)).tolist()
    assert [probability_of_one(one) for one in log_odds] == together
    for one, probability in zip(log_odds, together, strict=True):
        size = math.exp(-abs(one))
        expected = 1.0 / (1.0 + size) if one >= 0 else size / (1.0 + size)
        assert probability == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("gap", [0.0, 2e-9, -2e-9, math.nan, math.inf])
@pytest.mark.parametrize("row", [0, 1])
def test_a_row_that_does_not_add_up_is_found(gap: float, row: int) -> None:
    contributions = np.array([[0.5, -0.25], [1.0, 2.0]])
    base = np.array([0.125, -3.0])
    log_odds = base + contributions.sum(axis=1)
    log_odds[row] += gap
    assert add_up(base, contributions, log_odds, 1e-9) == (gap == 0.0)
