"""The full vector: all of the model, nothing else, and it adds up."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import polars as pl
import pytest

from features.catalogue import BY_NAME
from serving.decision.bundle import Bundle
from serving.decision.pipeline import stages
from serving.decision.reasons.vector import full_vector
from serving.decision.result import Stages
from serving.decision.scoring.score import AdditivityError
from tests.support.each import each
from tests.support.policies import DECIDED_AT


@pytest.fixture(scope="module")
def made(windows: pl.DataFrame, bundle: Bundle) -> Stages:
    return stages(windows, bundle, DECIDED_AT)


def test_every_feature_of_the_model_is_in_it_and_it_adds_up(made: Stages, bundle: Bundle) -> None:
    for place, decision in enumerate(each(made.decisions)):
        evidence = made.evidence[place]
        vector = full_vector(evidence, decision.base_log_odds, decision.log_odds)
        assert [feature.name for feature in vector] == list(bundle.features)
        total = decision.base_log_odds + sum(feature.contribution for feature in vector)
        assert abs(total - decision.log_odds) <= 1e-9
        # The contributions that MLflow's model answers, and the values that were scored.
        assert [one.contribution for one in vector] == made.scores.contributions[place].tolist()
        scored = made.features.matrix(bundle.features)[place]
        values = [math.nan if one.value is None else one.value for one in vector]
        np.testing.assert_array_equal(values, scored)


def test_the_reference_is_the_one_of_the_product(made: Stages, bundle: Bundle) -> None:
    """The oracle: the quantiles of the reference population in the bundle, by NumPy."""
    seen: set[str] = set()
    for place, decision in enumerate(each(made.decisions)):
        if decision.product in seen:
            continue
        seen.add(decision.product)
        comparison = bundle.comparisons[decision.product]
        vector = full_vector(made.evidence[place], decision.base_log_odds, decision.log_odds)
        for feature in each(vector):
            low, high = comparison.quartiles[feature.name]
            known = not math.isnan(low)
            assert feature.reference_low == (low if known else None)
            assert feature.reference_high == (high if known else None)
            if feature.reference_low is None:
                continue
            assert feature.reference_value is not None
            assert feature.reference_high is not None
            assert feature.reference_low <= feature.reference_value <= feature.reference_high
    assert len(seen) == len(bundle.comparisons)


def test_a_reasons_features_are_those_of_the_vector(made: Stages) -> None:
    for place, decision in enumerate(each(made.decisions)):
        vector = full_vector(made.evidence[place], decision.base_log_odds, decision.log_odds)
        by_name = {feature.name: feature for feature in vector}
        for reason in decision.reasons:
            for shown in reason.features:
                if shown.name not in by_name:
                    continue  # of a rule, on a feature that the model has not
                feature = by_name[shown.name]
                assert shown.value == feature.value
                assert shown.reference_value == feature.reference_value
                assert shown.unit == feature.unit == BY_NAME[shown.name].unit
                assert shown.contribution == feature.contribution


def test_a_vector_that_does_not_add_up_is_refused(made: Stages) -> None:
    decision, evidence = made.decisions[0], made.evidence[0]
    first = next(iter(evidence.contributions))
    moved = dict(evidence.contributions) | {first: evidence.contributions[first] + 1e-8}
    wrong = dataclasses.replace(evidence, contributions=moved)
    with pytest.raises(AdditivityError, match="expected base and contributions to add up to"):
        full_vector(wrong, decision.base_log_odds, decision.log_odds)
