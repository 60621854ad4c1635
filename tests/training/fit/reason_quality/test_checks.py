from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from serving.decision.bundle import Bundle
from tests.support.each import each
from training.data.dataset import Source
from training.data.labels import Labelled
from training.fit.bundle import BundleConfig, FitResult, choose_references
from training.fit.fit import Fitted, last_rows
from training.fit.reason_quality import checks
from training.fit.reason_quality.checks import (
    bundle_with_second_sample,
    check_reasons,
    cuts_of_hold_out,
    quality_metrics,
)
from training.fit.reason_quality.stated import CutReasons
from training.fit.reference_population import Population

CONFIG = BundleConfig(reference_size=300)


@pytest.fixture(scope="module")
def result(fitted: Fitted, data: Labelled, source: Source) -> FitResult:
    return FitResult(fitted, data, source, CONFIG)


@pytest.fixture(scope="module")
def references(fitted: Fitted, data: Labelled) -> dict[str, Population]:
    return choose_references(fitted, data, CONFIG)


def test_the_accounts_are_the_hold_out_s_that_the_model_cuts(
    result: FitResult, bundle: Bundle, cuts: CutReasons
) -> None:
    """The same as deciding on the whole hold-out, though only the risky are decided on."""
    found = cuts_of_hold_out(result, bundle)
    assert found is not None
    ids = found.statements["account_id"].unique(maintain_order=True)
    assert ids.equals(cuts.statements["account_id"].unique(maintain_order=True))
    assert found.stated == cuts.stated


def test_many_accounts_are_a_drawn_part(
    result: FitResult, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "MOST_ACCOUNTS", 10)
    some, others = (cuts_of_hold_out(result, bundle, seed) for seed in (0, 1))
    assert some is not None
    assert others is not None
    assert 5 <= len(some) <= 10
    assert some.log_odds.tolist() != others.log_odds.tolist()


def test_accounts_of_several_months_are_each_decided_at_their_own(
    fitted: Fitted, result: FitResult, bundle: Bundle
) -> None:
    """As where the data bring labels: the rows held out are of several as_ofs."""
    everyone = np.arange(len(result.data.label))
    months = replace(result, fitted=replace(fitted, held_out=everyone))
    found = cuts_of_hold_out(months, bundle)
    assert found is not None
    own = result.data.features.accounts[last_rows(result.data, everyone).tolist()]
    decided = found.statements.group_by("account_id").agg(last=pl.col("month").max())
    joined = decided.join(own, on="account_id", how="left")
    assert joined["last"].to_list() == joined["as_of"].to_list()
    assert joined["last"].n_unique() > 1


@pytest.mark.slow
def test_the_tables_of_a_fit_have_metrics(
    result: FitResult, bundle: Bundle, references: dict[str, Population]
) -> None:
    tables = check_reasons(result, bundle, references)
    assert tables["reason_stability"]["against"].to_list() == ["reference_sample", "nudge"]
    metrics = quality_metrics(tables)
    for name in each(["deleted_first", "reference_sample_among_equals", "materially_worse"]):
        low, high = metrics[f"reasons_{name}_low"], metrics[f"reasons_{name}_high"]
        assert low <= metrics[f"reasons_{name}"] <= high + 1e-12
    assert metrics["reasons_reference_sample_among_equals"] > 0.9
    assert metrics["reasons_deleted_stated"] > metrics["reasons_deleted_four_random_high"]


def test_a_fit_that_cuts_nobody_has_tables_without_rows(
    fitted: Fitted, result: FitResult, bundle: Bundle, references: dict[str, Population]
) -> None:
    far_below = replace(fitted.calibration, intercept=fitted.calibration.intercept - 20.0)
    mild = replace(result, fitted=replace(fitted, calibration=far_below))
    tables = check_reasons(mild, bundle, references)
    assert all(table.is_empty() for table in each(tables.values()))
    assert quality_metrics(tables) == {}


def test_the_second_sample_is_another_reference(
    result: FitResult, bundle: Bundle, references: dict[str, Population]
) -> None:
    other = bundle_with_second_sample(result, references)
    assert other is not None
    assert other.reference_digest != bundle.reference_digest
    assert other.scorer.model.model_to_string() == bundle.scorer.model.model_to_string()
    for product, population in each(references.items()):
        assert other.comparisons[product].size == len(population.second)
        empty = {**references, product: replace(population, second=population.second[:0])}
        assert bundle_with_second_sample(result, empty) is None
