from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from features.catalogue import BY_NAME
from serving.decision.reasons.wording import number
from tests.support.each import each
from training.fit.reason_quality.deletion import reference_rows
from training.fit.reason_quality.sentences import measure_sentences, share_better
from training.fit.reason_quality.stated import CutReasons, StatedReasons


def by_measure(cuts: CutReasons) -> dict[str, dict[str, float]]:
    return {row["measure"]: row for row in measure_sentences(cuts).iter_rows(named=True)}


def test_those_counted_are_those_that_the_decision_counts(cuts: CutReasons) -> None:
    """Two ways of counting: one by one here, by sorted values where the decision is made."""
    references = reference_rows(cuts.bundle)
    for product, comparison in each(cuts.bundle.comparisons.items()):
        rows = cuts.matrix[cuts.products == product][:10]
        for place, name in enumerate(cuts.bundle.features):
            others = references[product][:, place]
            if BY_NAME[name].direction == 0:
                continue
            for value in [*rows[:, place].tolist(), math.nan]:
                counted = share_better(name, value, others)
                assert comparison.share_better(name, value) == pytest.approx(counted), (name, value)


def test_a_better_value_that_reads_the_same_is_not_better() -> None:
    others = np.array([0.2, 0.4999, 0.6, math.nan])
    assert number(0.4999, "share", "en") == number(0.5, "share", "en")
    assert share_better("utilization_now", 0.5, others) == 0.25
    assert share_better("utilization_now", 0.1, others) == 0.0
    assert share_better("utilization_now", math.nan, others) == 0.75


def test_every_reason_pushes_and_states_a_material_difference(cuts: CutReasons) -> None:
    found = by_measure(cuts)
    for measure in each(["pushes", "named_pushes", "materially_worse"]):
        assert found[measure]["value"] == 1.0, measure
        assert found[measure]["value_low"] < 1.0, measure
    assert 0.75 <= found["share_better"]["value"] <= 1.0
    reasons = sum(len(own.groups) for own in cuts.stated)
    assert found["pushes"]["of"] == reasons
    assert found["stated"]["value"] == pytest.approx(reasons / len(cuts))


def test_reasons_that_are_turned_round_are_found_out(cuts: CutReasons) -> None:
    """The control: the feature and group that pushed least, stated as the first reason."""
    turned = []
    for row in cuts.contributions:
        name = cuts.bundle.features[int(np.argmin(row))]
        group = BY_NAME[name].group
        turned.append(StatedReasons((group,), frozenset({group}), (name,), (float(min(row)),)))
    found = by_measure(replace(cuts, stated=tuple(turned)))
    for measure in each(["pushes", "named_pushes"]):
        assert found[measure]["value"] == 0.0
    assert found["materially_worse"]["value"] < 0.3
    assert found["first_is_largest"]["value"] < 0.1


def test_accounts_without_a_reason_are_counted(cuts: CutReasons) -> None:
    none = StatedReasons((), frozenset(), (), ())
    before = sum(bool(own.groups) for own in cuts.stated)
    assert by_measure(cuts)["explained"]["value"] == pytest.approx(before / len(cuts))
    silent = by_measure(replace(cuts, stated=(none,) * len(cuts)))
    assert silent.keys() == {"stated", "explained", "first_is_largest"}
    assert silent["explained"]["value"] == silent["stated"]["value"] == 0.0
