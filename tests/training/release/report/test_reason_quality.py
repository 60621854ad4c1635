from __future__ import annotations

from contextlib import suppress

import polars as pl

from tests.training.conftest import STORE_WARNINGS, Kept
from training.release.report.reason_quality import (
    EXAMINED_BUNDLE,
    ReasonQuality,
    fetch_reason_quality,
)
from training.tracking import runs
from training.tracking.store import Store

pytestmark = STORE_WARNINGS
SHARES = {"same_first": 0.8, "same_first_low": 0.76, "same_first_high": 0.84}
STABLE = pl.DataFrame(
    {
        "against": ["another_seed", "redrawn_accounts"],
        **{name: [0.99, value] for name, value in SHARES.items()},
        "among_equals": [1.0, 0.91],
        "among_equals_low": [0.99, 0.88],
        "among_equals_high": [1.0, 0.94],
    }
)


def test_a_fit_that_was_not_examined_has_its_own_tables(kept: Kept) -> None:
    found = fetch_reason_quality(kept.store, kept.report.run, kept.report.bundle)
    assert list(found.tables) == ["reason_sentences", "reason_deletion", "reason_stability"]
    assert "has not been examined" in found.paragraph()
    assert len(found.exhibits()) == 3


def test_the_newest_examination_of_the_bundle_is_stated(another_store: Store, kept: Kept) -> None:
    bundle = kept.report.bundle
    for tagged, shares in ((bundle, 0.5), ("0" * 64, 0.1), (bundle, 0.8)):
        table = STABLE.with_columns(same_first=pl.lit(shares))
        with runs.start_run(another_store):
            runs.log_tags({EXAMINED_BUNDLE: tagged})
            runs.log_tables({"reason_stability": table})
    found = fetch_reason_quality(another_store, kept.report.run, bundle)
    assert "80% (95 % interval 76% to 84%)" in found.paragraph()
    assert "91% (95 % interval 88% to 94%)" in found.paragraph()
    assert len(found.exhibits()) == 4


def test_an_examination_that_failed_is_not_stated(another_store: Store, kept: Kept) -> None:
    with suppress(InterruptedError), runs.start_run(another_store):
        runs.log_tags({EXAMINED_BUNDLE: kept.report.bundle})
        runs.log_tables({"reason_stability": STABLE})
        raise InterruptedError
    found = fetch_reason_quality(another_store, kept.report.run, kept.report.bundle)
    assert "examined_stability" not in found.tables


def test_without_a_cut_of_both_nothing_is_stated() -> None:
    null = STABLE.with_columns(same_first=pl.lit(None, pl.Float64))
    assert "not been examined" in ReasonQuality({"examined_stability": null}).paragraph()
