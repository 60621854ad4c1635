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


def test_the_better_are_counted_among_the_known_and_a_value_like_the_median_is_not_worse() -> None:
    others = np.array([0.1, 0.2, 0.3, 0.6, math.nan])
    assert share_better("utilization_now", 0.5, others) == 0.75
    assert share_better("utilization_now", 0.1, others) == 0.0
    assert share_better("utilization_now", math.nan, others) == 0.8
    assert number(0.2501, "share", "en") == number(float(np.nanmedian(others)), "share", "en")
    assert share_better("utilization_now", 0.2501, others) == 0.0
    assert share_better("utilization_now", 0.27, others) == 0.5


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
    groups = np.array([BY_NAME[name].group for name in cuts.bundle.features])
    turned = []
    for row in cuts.contributions:
        group = min(set(groups.tolist()), key=lambda name: float(row[groups == name].sum()))
        members = np.flatnonzero(groups == group)
        least = members[int(np.argmin(row[members]))]
        name = cuts.bundle.features[int(least)]
        turned.append(StatedReasons((group,), frozenset({group}), (name,), (float(row[least]),)))
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
