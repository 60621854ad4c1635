"""The cost of each stage; `make bench` runs it and writes the table.

Figures that are compared are measured in the same run.
"""

from __future__ import annotations

import datetime
import operator
import statistics
import time
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest

from features.build import build, values_of
from features.catalogue import CATALOGUE, MODEL_FEATURES
from features.schema import check
from features.types import Matrix
from features.window import Window, lay_out
from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide
from serving.decision.policy.since_last import Earlier
from tests.support.feature_oracle import values_by_verbs
from tests.support.memory import remembered
from tests.training.conftest import STORE_WARNINGS
from training.data.config import DataConfig
from training.data.dataset import load as load_data
from training.data.labels import Labelled, label_accounts
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import simulate
from training.fit import bundle, run
from training.fit.bundle import BundleConfig
from training.fit.config import FitConfig
from training.fit.fit import lightgbm_parameters, train_booster
from training.tracking.store import Store, temporary_folder

pytestmark = [pytest.mark.benchmark(disable_gc=True), *STORE_WARNINGS]
WHOLE_FITS = 10  # pairs


def test_simulate(benchmark: Any) -> None:
    config = SimulationConfig(accounts=5000)
    statements = benchmark.pedantic(
        lambda: sum(b.statements.height for b in simulate(config)), rounds=3, warmup_rounds=1
    )
    benchmark.extra_info |= {"rows": statements, "unit": "statements"}


def test_features_of_one_account(benchmark: Any, window: pl.DataFrame) -> None:
    benchmark(build, window)
    benchmark.extra_info |= {"rows": 24, "unit": "statements"}


@pytest.mark.parametrize("how", ["verbs_in_numpy", "compiled"])
@pytest.mark.parametrize("accounts", [1, 1000])
def test_evaluate(benchmark: Any, window: pl.DataFrame, accounts: int, how: str) -> None:
    """The features of windows that are laid out."""
    laid_out = lay_out(check(window)).take(np.zeros(accounts, dtype=np.int64))

    def by_verbs() -> Matrix:
        # A window of its own: it keeps its derived columns.
        own = Window(laid_out.stored, laid_out.months_observed.astype(np.int64), laid_out.products)
        return values_by_verbs(own, CATALOGUE)

    benchmark(by_verbs if how == "verbs_in_numpy" else lambda: values_of(laid_out))
    benchmark.extra_info |= {"rows": accounts, "unit": "accounts"}


def test_check_one_account(benchmark: Any, window: pl.DataFrame) -> None:
    benchmark(check, window)
    benchmark.extra_info |= {"rows": 24, "unit": "statements"}


def test_features_of_100_000_accounts(benchmark: Any, window: pl.DataFrame) -> None:
    ids = pl.DataFrame({"account_id": [f"a{number:06d}" for number in range(100_000)]})
    many = check(ids.join(window.drop("account_id"), how="cross").select(window.columns))
    benchmark.pedantic(build, (many,), rounds=3, warmup_rounds=1)
    benchmark.extra_info |= {"rows": many.height, "unit": "statements"}


@pytest.mark.parametrize("how", ["bare_lightgbm", "clearline"])
def test_fit(benchmark: Any, full_data: Labelled, how: str) -> None:
    rows = full_data.rows("train")
    matrix, label = full_data.features.matrix(MODEL_FEATURES)[rows], full_data.label[rows]
    config = FitConfig()

    def bare() -> lgb.Booster:
        return lgb.train(lightgbm_parameters(config), lgb.Dataset(matrix, label), config.trees)

    def ours() -> lgb.Booster:
        return train_booster(matrix, label, config)

    benchmark.pedantic(bare if how == "bare_lightgbm" else ours, rounds=5, warmup_rounds=1)
    benchmark.extra_info |= {"rows": len(rows), "unit": "rows"}


def test_whole_fit(benchmark: Any, full_folder: Path, tmp_path: Path) -> None:
    """``fit`` from the files on, with and without figures and MLflow.

    Imports and the migration of a new store are not included.  The two alternate, and each goes
    first equally often, because the machine's speed drifts by more than the cost of tracking.
    """
    configs = (DataConfig(), FitConfig(), BundleConfig())
    store = Store(tmp_path / "mlruns")
    took: dict[str, list[float]] = {"untracked": [], "tracked": []}

    def untracked() -> None:
        source = load_data(full_folder)
        data = label_accounts(source, configs[0])
        measured = run.fit_and_measure(source, data, configs[1], configs[2])
        with temporary_folder() as folder:
            bundle.write_bundle(measured.parts, measured.result, Path(folder) / "bundle")

    def tracked() -> None:
        run.run_fit(full_folder, store, configs)

    def in_turns() -> None:
        for turn in range(WHOLE_FITS):
            for fit in (untracked, tracked) if turn % 2 else (tracked, untracked):
                begun = time.perf_counter()
                fit()
                took[fit.__name__].append(time.perf_counter() - begun)

    untracked()
    tracked()
    benchmark.pedantic(in_turns, rounds=1, warmup_rounds=0)
    benchmark.extra_info |= {how: statistics.median(times) for how, times in took.items()}
    benchmark.extra_info["ratio"] = statistics.median(
        map(operator.truediv, took["tracked"], took["untracked"])
    )


def test_decide_in_process(
    benchmark: Any, champion: Bundle, window: pl.DataFrame, decided_at: datetime.datetime
) -> None:
    benchmark(decide, window, champion, decided_at)
    benchmark.extra_info |= {"rows": 1, "unit": "decisions"}


def test_decide_in_process_with_a_prior(
    benchmark: Any, champion: Bundle, window: pl.DataFrame, decided_at: datetime.datetime
) -> None:
    limit = decide(window, champion, decided_at).credit_limit
    prior = remembered(limit, decided_at.date(), months=1)
    assert decide(window, champion, decided_at, prior).action == "keep"
    benchmark(decide, window, champion, decided_at, prior)
    benchmark.extra_info |= {"rows": 1, "unit": "decisions"}


def test_decide_in_process_since_last(
    benchmark: Any, champion: Bundle, window: pl.DataFrame, decided_at: datetime.datetime
) -> None:
    """With an earlier decision three statements ago, whose features are made again."""
    before = window.sort("month").head(-3)
    answered = decide(before, champion, decided_at)
    earlier = Earlier(
        decision_id=answered.decision_id,
        decided_at=answered.decided_at,
        action=answered.action,
        log_odds=answered.log_odds,
        cut_off=answered.cut_off,
        statements=before,
    )
    assert decide(window, champion, decided_at, earlier=earlier).since_last is not None
    benchmark(decide, window, champion, decided_at, earlier=earlier)
    benchmark.extra_info |= {"rows": 1, "unit": "decisions"}
