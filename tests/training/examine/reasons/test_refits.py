"""Other models of the same accounts, and the reasons that they state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serving.decision.bundle import Bundle
from tests.support.each import each
from training.data.dataset import Source
from training.data.labels import Labelled, soon_after
from training.examine.advice.other_models import fit_models
from training.examine.reasons import refits
from training.examine.reasons.refits import Origin, bundle_of, measure_stability
from training.examine.truth.cut_accounts import CutAccounts
from training.fit.bundle import BundleConfig
from training.fit.config import FitConfig
from training.fit.fit import Fitted
from training.fit.reason_quality.stated import CutReasons, find_cut_reasons

CONFIG = FitConfig(trees=80, min_leaf=30)


@pytest.fixture(scope="module")
def origin(source: Source, data: Labelled, bundle: Bundle) -> Origin:
    return Origin(source, data, CONFIG, BundleConfig(reference_size=300), bundle)


@pytest.fixture(scope="module")
def cuts(cut_accounts: CutAccounts) -> CutReasons:
    population = cut_accounts.population
    return find_cut_reasons(
        cut_accounts.statements, cut_accounts.bundle, soon_after(population.as_of)
    )


def test_the_same_fit_again_is_the_served_model(
    origin: Origin, fitted: Fitted, data: Labelled, bundle: Bundle
) -> None:
    again = bundle_of(fitted, data, origin)
    assert again.reference_digest == bundle.reference_digest
    assert again.wording == bundle.wording
    strict = replace(bundle, policy=replace(bundle.policy, version="another"))
    other = bundle_of(fitted, data, replace(origin, served=strict))
    assert other.policy.version == "another"


@pytest.mark.torture
def test_other_models_agree_less_the_more_differs(origin: Origin, cuts: CutReasons) -> None:
    models = [model for _, model in fit_models(origin.data, CONFIG, refits=2)][1:]
    table = measure_stability(cuts, origin, models, seeds=2)
    assert table["against"].to_list() == [
        "reference_sample",
        "nudge",
        "another_seed",
        "redrawn_accounts",
    ]
    assert table["others"].to_list() == [1, 16, 2, 2]
    same = dict(table.select("against", "same_first").iter_rows())
    assert same["redrawn_accounts"] < same["reference_sample"]
    for row in each(table.iter_rows(named=True)):
        assert 0.5 < row["same_first"] <= row["among_equals"] <= 1.0
        assert row["least_among"] <= row["among_equals"]


@pytest.mark.slow
def test_a_seed_that_changes_nothing_agrees_in_all(
    origin: Origin, cuts: CutReasons, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the measurement: models that are the served one state its reasons."""
    monkeypatch.setattr(refits, "fit", lambda data, config: fitted)
    monkeypatch.setattr(refits, "resample_accounts", lambda data, seed: data)
    table = measure_stability(cuts, origin, [fitted], seeds=1)
    others = table[2:]
    assert others["cut_too"].to_list() == [1.0, 1.0]
    assert others["same_set"].to_list() == [1.0, 1.0]
