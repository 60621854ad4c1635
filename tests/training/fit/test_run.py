"""A fit that fails leaves no version."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from features.schema import StatementError
from tests.support.small_fit import CONFIGS
from tests.training.conftest import STORE_WARNINGS, Kept, copy_of
from training.data.dataset import Source
from training.data.labels import Labelled
from training.fit.bundle import FitResult, choose_references, make_parts
from training.fit.fit import Fitted
from training.fit.run import register_run
from training.tracking import registry, runs

pytestmark = STORE_WARNINGS


def test_statements_that_cannot_be_decided_register_no_version(
    kept: Kept,
    tmp_path_factory: pytest.TempPathFactory,
    fitted: Fitted,
    data: Labelled,
    source: Source,
) -> None:
    """The golden rows are decided from the statements: the last stage that reads the data."""
    store = copy_of(kept.store, tmp_path_factory.mktemp("store") / "mlruns")
    bundle = CONFIGS[2]
    impossible = source.statements.with_columns(credit_limit=pl.lit(-1.0))
    result = FitResult(fitted, data, replace(source, statements=impossible), bundle)
    parts = make_parts(result, choose_references(fitted, data, bundle))
    newest = registry.newest_version(store, bundle.name)
    before = store.client().search_model_versions(f"name='{bundle.name}'")
    with runs.start_run(store, "fails") as run, pytest.raises(StatementError):
        register_run(parts, result, run)
    after = store.client().search_model_versions(f"name='{bundle.name}'")
    assert [version.version for version in after] == [version.version for version in before]
    assert registry.newest_version(store, bundle.name) == newest
