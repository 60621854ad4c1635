"""What an unknown value counts for: in the simulation it says nothing, whoever has one."""

from __future__ import annotations

import numpy as np
import pytest

from features.catalogue import BY_NAME
from features.types import Matrix
from serving.decision.scoring.score import probability_of
from training.data.labels import Labelled
from training.fit.fit import Fitted, predict_log_odds

# The features that are unknown together.
OF_DEBT = (
    "external_debt_to_income",
    "external_debt_to_limit",
    "external_debt_growth_6",
    "total_debt_to_income",
)
OF_INCOME = ("income", "external_debt_to_income", "total_debt_to_income", "income_change_12")


@pytest.fixture(scope="module")
def held_out(data: Labelled, fitted: Fitted) -> Matrix:
    return data.features.matrix(fitted.features)[data.rows("test")]


def mean_probability(fitted: Fitted, matrix: Matrix) -> float:
    log_odds = predict_log_odds(fitted, matrix)
    probabilities = probability_of(log_odds)
    return float(probabilities.mean())


@pytest.mark.parametrize("names", [OF_DEBT, OF_INCOME])
def test_an_unknown_counts_like_the_average_and_not_like_the_worst(
    names: tuple[str, ...], held_out: Matrix, fitted: Fitted
) -> None:
    """If all were unknown, the mean probability would hardly move; if all were bad, it would."""
    places = [fitted.features.index(name) for name in names]
    has_unknown = np.isnan(held_out[:, places]).any(axis=1)
    known = held_out[~has_unknown]
    assert len(known) > 500
    as_it_is = mean_probability(fitted, known)
    unknown = known.copy()
    unknown[:, places] = np.nan
    bad = known.copy()
    for name, place in zip(names, places, strict=True):
        worst = 0.95 if BY_NAME[name].direction == 1 else 0.05
        bad[:, place] = np.quantile(known[:, place], worst)
    moved = mean_probability(fitted, unknown) / as_it_is
    moved_by_bad = mean_probability(fitted, bad) / as_it_is
    assert 0.85 < moved < 1.15
    assert moved_by_bad > 1.3  # the control: the bound would notice
