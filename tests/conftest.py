"""Fixtures that several folders share, and which tests a plain ``pytest`` leaves out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
# Tests import LightGBM themselves; the project loads it in training/tracking/lightgbm_import.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, settings

from serving.decision.bundle import Bundle
from serving.decision.golden import load
from tests.support.cached import cached_folder
from tests.support.paths import ROOT
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.dataset import load as load_data
from training.data.labels import Labelled, label_accounts
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import write
from training.fit.bundle import BundleConfig, FitResult, make_bundle
from training.fit.config import FitConfig
from training.fit.fit import Fitted, fit

# Examples are drawn anew on every machine, but a run can be repeated; a slow example is a slow
# machine, not a fault.
settings.register_profile(
    "clearline", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("clearline")

SIMULATION = SimulationConfig(accounts=6000, seed=7)
# What a plain ``pytest`` leaves out: tests with one of these fixtures, directly or through another
# fixture, and tests in these places, which fit, simulate thousands of accounts, or start processes.
INTEGRATION_FIXTURES = {"simulated", "bentoml_home", "postgres_server"}
INTEGRATION_PLACES = (
    "tests/docs",
    "tests/serving/audit_log",
    "tests/serving/decision/test_damaged_bundles.py",
    "tests/serving/operations",
    "tests/serving/storage",
    "tests/serving/test_environment.py",
    "tests/serving/test_no_pickle.py",
    "tests/serving/test_service.py",
    "tests/serving/test_start.py",
    "tests/serving/test_taiwan_flow.py",
    "tests/serving/web/test_raw_http.py",
    "tests/serving/web/test_shutdown.py",
    "tests/test_locales.py",
    "tests/training/compare",
    "tests/training/data/ingest/test_fuzz.py",
    "tests/training/data/ingest/test_uci_taiwan.py",
    "tests/training/data/simulate",
    "tests/training/data/test_censoring.py",
    "tests/training/data/test_sample_request.py",
    "tests/training/examine",
    "tests/training/fit",
    "tests/training/release/monitor/test_estimate.py",
    "tests/training/test_cli.py",
    "tests/training/tracking/test_decision_model.py",
    "tests/training/tracking/test_runs.py",
    "tests/training/tracking/test_store.py",
    "tests/training/tune",
)
FAST = "not integration and not slow and not torture"
NAMED = "not slow and not torture"


def pytest_configure(config: pytest.Config) -> None:
    """Without ``-m``: everything fast, or everything but slow and torture in the paths named."""
    if not config.option.markexpr:
        whole = config.args_source is not pytest.Config.ArgsSource.ARGS
        config.option.markexpr = FAST if whole else NAMED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = item.path.relative_to(ROOT).as_posix()
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & INTEGRATION_FIXTURES or place.startswith(INTEGRATION_PLACES):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def simulated() -> Path:
    """A folder of simulated accounts; only to be read, all tests share it."""
    return cached_folder("simulated", lambda folder: write(SIMULATION, folder))


@pytest.fixture(scope="session")
def source(simulated: Path) -> Source:
    return load_data(simulated)


@pytest.fixture(scope="session")
def data(source: Source) -> Labelled:
    return label_accounts(source, DataConfig())


@pytest.fixture(scope="session")
def fitted(data: Labelled) -> Fitted:
    return fit(data, FitConfig(trees=80, min_leaf=30))


@pytest.fixture(scope="session")
def bundle_folder(fitted: Fitted, data: Labelled, source: Source) -> Path:
    """The bundle of the fitted model; only to be read, all tests share it."""
    result = FitResult(fitted, data, source, BundleConfig(reference_size=300))
    return cached_folder("bundle", lambda folder: make_bundle(result, folder))


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    return load(bundle_folder)


@pytest.fixture(scope="session")
def windows(source: Source) -> pl.DataFrame:
    """The windows of 1,000 drawn accounts at the last month: unknown incomes among them, and
    histories of 1 to 24 months.
    """
    last = source.statements["month"].max()
    accounts = source.statements.filter(pl.col("month") == last)["account_id"].to_numpy()
    random = np.random.default_rng(0)
    drawn = np.sort(random.choice(accounts, 1000, replace=False))
    # The simulation's youngest account has 6 months by its end; a lender's has one.
    longest = np.where(random.random(1000) < 0.1, random.integers(1, 6, 1000), 24)
    kept = pl.DataFrame({"account_id": drawn, "longest": longest})
    seen = source.statements.join(kept, on="account_id", how="inner", maintain_order="left")
    back = pl.col("month").cum_count(reverse=True).over("account_id")
    return seen.filter(back <= pl.col("longest")).drop("longest")


@pytest.fixture(scope="session")
def bentoml_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of the session's own.

    BentoML reads the address once in a process, so there is one for all tests.
    """
    home = tmp_path_factory.mktemp("bentoml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        # Here, so that tests without a service do not import BentoML.
        from bentoml._internal.configuration.containers import BentoMLContainer

        assert BentoMLContainer.bentoml_home.get() == str(home)
        yield home
