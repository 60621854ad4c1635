from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from features.window import lay_out
from serving.decision.reasons.ranking import sums_of
from serving.decision.scoring.score import log_odds_of
from tests.support.each import each
from training.examine.reasons.effects import DRIVEN, compute_effects, levels_of, medians_of
from training.examine.reasons.levels import Levels
from training.examine.reasons.mechanism import effects_by_mechanism, log_odds_without
from training.examine.truth.cut_accounts import CutAccounts
from training.examine.truth.drivers import DRIVERS


@pytest.fixture(scope="module")
def levels(cut_accounts: CutAccounts) -> Levels:
    return levels_of(medians_of(cut_accounts.bundle), cut_accounts.products.tolist())


def test_the_year_as_it_was_is_judged_as_it_was(cut_accounts: CutAccounts, levels: Levels) -> None:
    expected = [advised.decision.log_odds for advised in cut_accounts.advised]
    assert log_odds_without(cut_accounts, None, levels) == pytest.approx(expected, abs=1e-12)
    # And under no driver is it the same.
    for driver in DRIVERS:
        assert log_odds_without(cut_accounts, driver, levels) != pytest.approx(
            expected, abs=1e-3, nan_ok=True
        )


def test_an_account_s_year_does_not_depend_on_the_others(
    cut_accounts: CutAccounts, levels: Levels
) -> None:
    places = np.arange(len(cut_accounts))[::3]
    some = dataclasses.replace(cut_accounts, places=cut_accounts.places[places])
    theirs = Levels(
        **{field.name: getattr(levels, field.name)[places] for field in dataclasses.fields(Levels)}
    )
    for driver in DRIVERS:
        whole = log_odds_without(cut_accounts, driver, levels)[places]
        assert np.array_equal(log_odds_without(some, driver, theirs), whole, equal_nan=True)


def test_levels_that_nobody_is_above_change_nothing(
    cut_accounts: CutAccounts, levels: Levels
) -> None:
    """The control: where every account is better than the level, a driver changes nothing."""
    high = Levels(
        **{field.name: np.full(len(cut_accounts), 1e9) for field in dataclasses.fields(Levels)}
        | {"paid_share": levels.used * 0}
    )
    as_it_was = log_odds_of(cut_accounts.matrix, cut_accounts.bundle.scorer)
    for driver in each(set(DRIVEN) - {"repayment"}):
        assert log_odds_without(cut_accounts, driver, high) == pytest.approx(as_it_was, abs=1e-12)


def test_a_driver_s_effect_is_how_far_the_log_odds_fall(
    cut_accounts: CutAccounts, levels: Levels
) -> None:
    found = effects_by_mechanism(cut_accounts)
    assert found.shape == (len(cut_accounts), len(DRIVEN))
    assert np.isfinite(found).all()
    as_it_was = log_odds_of(cut_accounts.matrix, cut_accounts.bundle.scorer)
    for place, driver in enumerate(DRIVEN):
        under = log_odds_without(cut_accounts, driver, levels)
        open_then = ~np.isnan(under)
        assert found[open_then, place] == pytest.approx((as_it_was - under)[open_then], abs=1e-12)
        assert (found[~open_then, place] == 0).all()
    # The ledger knows less than the mechanism, and yet says more of it than the contributions do,
    # of the same groups.
    window = lay_out(cut_accounts.statements)
    by_ledger = compute_effects(window, cut_accounts.products.tolist(), cut_accounts.bundle)
    both = np.isfinite(by_ledger)
    summed = [
        sums_of(dict(zip(cut_accounts.bundle.features, row, strict=True)))
        for row in cut_accounts.contributions.tolist()
    ]
    contributed = np.array([[sums.get(group, 0.0) for group in DRIVEN] for sums in summed])

    def likeness(effects: NDArray[np.float64]) -> float:
        return float(np.corrcoef(found[both], effects[both])[0, 1])

    assert likeness(by_ledger) > likeness(contributed) + 0.1
    # Of repayment it knows most: the time of a payment in full, its amount by the balance.
    late = DRIVEN.index("repayment")
    known = both[:, late]
    assert np.corrcoef(found[known, late], by_ledger[known, late])[0, 1] > 0.7
    shuffled = np.random.default_rng(0).permutation(by_ledger[both])
    assert abs(np.corrcoef(found[both], shuffled)[0, 1]) < 0.2
