from __future__ import annotations

import pytest

from serving.decision.config.run_bounds import NO_BOUNDS, RunBounds
from serving.portfolio.command import totals_text
from serving.portfolio.recorded.bounds import exceeded
from serving.portfolio.totals import Total, Totals

TOTALS = Totals(
    [
        Total("pay_later", "keep", 900, 9_000_000.0, 9_000_000.0, 0.0),
        Total("pay_later", "reduce", 60, 600_000.0, 300_000.0, 0.0, 200_000.0),
        Total("pay_later", "suspend", 40, 400_000.0, 200_000.0, 0.0, 50_000.0),
        Total("cash_loan", "review", 25, 250_000.0, 250_000.0, 100_000.0),
    ]
)


@pytest.mark.parametrize(
    ("bounds", "name", "got"),
    [
        (RunBounds(most_cut_share=0.09), "most_cut_share", "9.76%"),
        (RunBounds(most_taken_from_good=0.024), "most_taken_from_good", "2.44%"),
        (RunBounds(most_reviews=24), "most_reviews", "25"),
    ],
)
def test_a_bound_that_is_exceeded_is_named_with_what_was_expected(
    bounds: RunBounds, name: str, got: str
) -> None:
    [sentence] = exceeded(TOTALS, bounds)
    assert sentence.startswith(name)
    assert sentence.endswith(got) or got in sentence


def test_within_the_bounds_nothing_is_said() -> None:
    bounds = RunBounds(most_cut_share=0.1, most_taken_from_good=0.025, most_reviews=25)
    assert list(exceeded(TOTALS, bounds)) == []
    assert list(exceeded(TOTALS, NO_BOUNDS)) == []
    assert list(exceeded(Totals(), bounds)) == []


def test_an_earlier_run_is_shown_beside_with_what_happened_only_then() -> None:
    then = Totals([Total("pay_later", "restore", 7, 70_000.0, 90_000.0, 0.0)])
    lines = totals_text(TOTALS, then).splitlines()
    assert lines[0].endswith("accounts then   limits after then")
    [restored] = [line for line in lines if "restore" in line]
    assert restored.split() == ["pay_later", "restore", "0", "0", "0", "-", "7", "90,000"]
    assert len(lines) == 6
