from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serving.decision.scoring.score import log_odds_of, score
from tests.support.each import each
from training.fit.reason_quality import deletion
from training.fit.reason_quality.deletion import (
    log_odds_without,
    measure_deletion,
    reference_rows,
)
from training.fit.reason_quality.stated import CutReasons, StatedReasons, groups_of_features


def test_without_any_feature_the_log_odds_are_the_base(cuts: CutReasons) -> None:
    everything = np.ones(cuts.matrix.shape, dtype=np.bool_)
    scores = score(cuts.matrix, cuts.products.tolist(), cuts.bundle.scorer)
    assert log_odds_without(cuts, everything) == pytest.approx(scores.base_log_odds, abs=1e-9)


def test_without_nothing_the_log_odds_are_those_of_the_account(cuts: CutReasons) -> None:
    nothing = np.zeros(cuts.matrix.shape, dtype=np.bool_)
    assert log_odds_without(cuts, nothing) == pytest.approx(cuts.log_odds, abs=1e-9)


def test_a_deletion_is_the_mean_over_the_reference_one_account_at_a_time(cuts: CutReasons) -> None:
    """The definition, row by row; blocks of accounts make no difference."""
    features = np.isin(groups_of_features(cuts.bundle), cuts.stated[0].groups[:1])
    deleted = np.tile(features, (len(cuts), 1))
    found = log_odds_without(cuts, deleted)
    for account in each([0, len(cuts) // 2, len(cuts) - 1]):
        reference = reference_rows(cuts.bundle)[str(cuts.products[account])]
        mixed = []
        for other in reference:
            row = cuts.matrix[account].copy()
            row[features] = other[features]
            mixed.append(row)
        expected = log_odds_of(np.array(mixed), cuts.bundle.scorer).mean()
        assert found[account] == pytest.approx(expected, abs=1e-9)


def test_the_reasons_undo_more_than_random_groups(cuts: CutReasons) -> None:
    table = {row["deleted"]: row for row in measure_deletion(cuts).iter_rows(named=True)}
    assert list(table) == ["first", "stated", "one_random", "four_random"]
    assert table["first"]["undone"] > table["one_random"]["undone_high"]
    assert table["stated"]["undone"] > table["four_random"]["undone_high"]
    assert table["stated"]["undone"] >= table["first"]["undone"]
    for row in each(table.values()):
        assert row["accounts"] == len(cuts)
        assert row["undone_low"] <= row["undone"] <= row["undone_high"] + 1e-12


def test_the_last_groups_undo_less_than_the_first(cuts: CutReasons) -> None:
    """The control: reasons that did not move the decision are found out."""
    names = np.unique(groups_of_features(cuts.bundle))
    groups = groups_of_features(cuts.bundle)
    turned = []
    for contributions in cuts.contributions:
        sums = [contributions[groups == name].sum() for name in names]
        least = str(names[int(np.argmin(sums))])
        turned.append(StatedReasons((least,), frozenset({least}), ("",), (min(sums),)))
    wrong = replace(cuts, stated=tuple(turned))
    first = measure_deletion(wrong).row(0, named=True)
    assert first["deleted"] == deletion.FIRST
    assert first["undone"] < 0.05
    assert first["fall"] < 0


def test_a_cut_is_undone_at_the_cut_off_and_below(cuts: CutReasons) -> None:
    groups = groups_of_features(cuts.bundle)
    deleted = np.array([np.isin(groups, own.groups) for own in cuts.stated])
    expected = (log_odds_without(cuts, deleted) <= cuts.cut_off).mean()
    stated = measure_deletion(cuts).row(1, named=True)
    assert stated["undone"] == pytest.approx(expected)


def test_random_groups_are_the_same_again_and_differ_by_seed(cuts: CutReasons) -> None:
    assert measure_deletion(cuts).equals(measure_deletion(cuts))
    assert not measure_deletion(cuts).equals(measure_deletion(cuts, seed=1))


def test_an_account_without_a_reason_keeps_its_cut(cuts: CutReasons) -> None:
    none = StatedReasons((), frozenset(), (), ())
    silent = replace(cuts, stated=(none,) * len(cuts))
    table = measure_deletion(silent)
    assert table["undone"][:2].to_list() == [0.0, 0.0]
    assert table["groups"][:2].to_list() == [0.0, 0.0]
