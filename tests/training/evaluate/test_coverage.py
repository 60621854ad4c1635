"""How often 95 % intervals hold the truth, on hold-outs of populations that are known exactly.

``python tests/support/coverage.py`` prints the shares that these tests bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tests.support.coverage import (
    make_book,
    make_cases,
    measure_coverage,
    measure_groups,
    stratified_intervals,
)
from tests.support.each import each

# Intervals that may hold the truth more often: a calibration error of 0 is at the end of its range,
# and a worst and a best group that are chosen after looking are allowed for all pairs of groups.
MORE_OFTEN = ("ece", "impact ratio", "reduction gap")


def check_coverage(found: Mapping[str, float], hold_outs: int) -> None:
    """Check that each share is 0.92 to 0.98, give or take two standard errors of so many."""
    error = np.sqrt(0.95 * 0.05 / hold_outs)
    outside = {}
    for name, share in each(found.items()):
        too_many = share > 0.98 + 2 * error and name not in MORE_OFTEN
        if share < 0.92 - 2 * error or too_many:
            outside[name] = share
    assert outside == {}, f"expected 0.92 to 0.98 of {hold_outs} hold-outs, got {outside}"


@pytest.mark.slow
def test_every_interval_holds_the_truth() -> None:
    case = make_cases()["calibrated"]
    check_coverage(measure_coverage(case.population, case.accounts, 100), 100)


@pytest.mark.torture
@pytest.mark.parametrize("name", make_cases())
def test_every_interval_holds_the_truth_nineteen_times_in_twenty(name: str) -> None:
    case = make_cases()[name]
    check_coverage(measure_coverage(case.population, case.accounts, 400), 400)


@pytest.mark.integration
@pytest.mark.parametrize("cut", [(0.1, 0.07), (0.1, 0.1), (0.11, 0.1, 0.07, 0.08, 0.09)])
def test_intervals_of_groups_hold_the_truth(cut: Sequence[float]) -> None:
    check_coverage(measure_groups(cut, 4700, 300), 300)


@pytest.mark.torture
def test_defaults_that_do_not_vary_make_a_brier_score_look_certain() -> None:
    """The control: accounts drawn within each label, as the project once drew them."""
    within_labels = measure_coverage(make_book(), 800, 100, stratified_intervals)
    with pytest.raises(AssertionError, match="brier"):
        check_coverage(within_labels, 100)
    assert within_labels["brier"] < 0.85
    assert within_labels["ks"] < 0.90
