"""Fixtures that several folders share, and which tests a plain ``pytest`` leaves out."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
# Tests import LightGBM themselves; the project loads it in training/tracking/lightgbm_import.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import polars as pl
import pytest
from hypothesis import HealthCheck, settings

from tests.support.cached import cached_folder
from tests.support.paths import ROOT

# The fixtures import what they use themselves: the process that only hands tests to the workers
# reads this file too, before it starts them.
if TYPE_CHECKING:
    from xdist.remote import Producer

    from serving.decision.bundle import Bundle
    from tests.support.scheduling import FilesTogether
    from training.data.dataset import Source
    from training.data.labels import Labelled
    from training.fit.fit import Fitted

# Examples are drawn anew on every machine, but a run can be repeated; a slow example is a slow
# machine, not a fault.
settings.register_profile(
    "clearline", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
# A quarter of the examples, for the commands that one waits for: `make test-fast` and `make test`.
settings.register_profile("brief", settings.get_profile("clearline"), max_examples=25)
settings.load_profile("clearline")

# What a plain ``pytest`` leaves out: tests with one of these fixtures, directly or through another
# fixture, and tests in these places, which fit, simulate thousands of accounts, or start processes.
INTEGRATION_FIXTURES = {"simulated", "bentoml_home", "postgres_server"}
INTEGRATION_PLACES = (
    "tests/deploy/test_start.py",
    "tests/docs",
    "tests/serving/api/shadow",
    "tests/serving/audit_log",
    "tests/serving/auth/test_direct_client.py",
    "tests/serving/decision/reasons/test_amounts.py",
    "tests/serving/decision/reasons/test_vector.py",
    "tests/serving/decision/test_damaged_bundles.py",
    "tests/serving/decision/test_memory.py",
    "tests/serving/operations",
    "tests/serving/portfolio",
    "tests/serving/schemas/test_answer_bytes.py",
    "tests/serving/storage",
    "tests/serving/test_",
    "tests/serving/web/telemetry/test_service.py",
    "tests/serving/web/test_raw_http.py",
    "tests/serving/web/test_shutdown.py",
    "tests/test_locales.py",
    "tests/training/compare",
    "tests/training/data/ingest/test_fuzz.py",
    "tests/training/data/ingest/test_uci_taiwan.py",
    "tests/training/data/simulate",
    "tests/training/data/test_censoring.py",
    "tests/training/data/test_sample_request.py",
    "tests/training/evaluate/test_coverage.py",
    "tests/training/evaluate/test_holdout.py",
    "tests/training/evaluate/test_nudges.py",
    "tests/training/evaluate/test_unseen_accounts.py",
    "tests/training/examine",
    "tests/training/fit",
    "tests/training/release/monitor/test_estimate.py",
    "tests/training/release/monitor/test_monitor.py",
    "tests/training/release/report/test_report.py",
    "tests/training/release/test_promote.py",
    "tests/training/test_cli.py",
    "tests/training/tracking/test_decision_model.py",
    "tests/training/tracking/test_runs.py",
    "tests/training/tracking/test_store.py",
    "tests/training/tune",
)
# Fast ones that a plain ``pytest`` leaves to `make check` and `make test`: with a database; with
# the search for advice, whose loops take longest to compile; what training computes, for which two
# seconds of libraries are loaded; what the code and the files of deploy/ look like, as ruff does.
CHECKED_PLACES = (
    "docs/modelling",
    "tests/deploy/test_",
    "tests/serving/api/test_",
    "tests/serving/auth/test_gate.py",
    "tests/serving/auth/test_keys.py",
    "tests/serving/decision/advice",
    "tests/serving/decision/policy/test_compiled.py",
    "tests/serving/decision/scoring/test_lightgbm_import.py",
    "tests/serving/decision/scoring/test_shap_oracle.py",
    "tests/serving/reviews",
    "tests/serving/schemas/test_imports.py",
    "tests/test_global_state.py",
    "tests/test_notebook.py",
    "tests/test_structure.py",
    "tests/training/data/test_imports.py",
    "tests/training/evaluate",
    "tests/training/release",
    "tests/training/test_",
    "tests/training/tracking",
    "training/api.py",
    "training/cli.py",
    "training/cluster.py",
    "training/compare",
    "training/evaluate",
    "training/examine",
    "training/fit",
    "training/release",
    "training/tracking",
    "training/tune",
)
# Modules that cannot be imported, and the tests of `make bench`, which names their folder.
collect_ignore = ["support/absent", "benches"]
CHECKED = "not integration and not slow and not torture"
FAST = f"{CHECKED} and not checked"
NAMED = "not slow and not torture"


# The places that have none of these tests.
LEFT_OUT = {FAST: INTEGRATION_PLACES + CHECKED_PLACES, CHECKED: INTEGRATION_PLACES}


class OnlyWhatHasTests:
    """Leaves files out of the collection that would be imported for nothing.

    A plugin, because a hook of this module would be asked about tests/ alone.
    """

    @staticmethod
    def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
        """True for a place without tests of this run, and for a module without any; None is
        pytest's own rule.
        """
        place = collection_path.relative_to(ROOT).as_posix()
        if place.startswith(LEFT_OUT.get(config.option.markexpr, ())):
            return True
        if collection_path.suffix != ".py" or collection_path.name.startswith(("test_", "bench_")):
            return None
        return None if ">>>" in collection_path.read_text("utf-8") else True


def pytest_configure(config: pytest.Config) -> None:
    """Without ``-m``: everything fast, or everything but slow and torture in the paths named."""
    if not config.option.markexpr:
        whole = config.args_source is not pytest.Config.ArgsSource.ARGS
        config.option.markexpr = FAST if whole else NAMED
    config.pluginmanager.register(OnlyWhatHasTests())


def load_lightgbm_alone() -> None:
    """Import LightGBM as the service does, without libraries that take a second to load.

    None of the fast tests uses them; see serving/decision/scoring/lightgbm_import.py.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("pandas", "sklearn"):
            patch.setitem(sys.modules, name, None)
        importlib.import_module("lightgbm")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Imports and the collection make what stays: looking for garbage costs them a second."""
    option = session.config.option
    only_hands_out = getattr(option, "tx", None) and not hasattr(session.config, "workerinput")
    if option.markexpr == FAST and not only_hands_out:
        load_lightgbm_alone()
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesTogether | None:
    """The scheduler of ``--dist loadfile``; None is xdist's own for the other ways."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.support.scheduling import FilesTogether

    return FilesTogether(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        from tests.support.scheduling import put_longest_first

        put_longest_first(items)
    for item in items:
        place = item.path.relative_to(ROOT).as_posix()
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & INTEGRATION_FIXTURES or place.startswith(INTEGRATION_PLACES):
            item.add_marker(pytest.mark.integration)
        elif place.startswith(CHECKED_PLACES):
            item.add_marker(pytest.mark.checked)


@pytest.fixture(scope="session")
def simulated() -> Path:
    """A folder of simulated accounts; only to be read, all tests share it."""
    from training.data.simulate.config import SimulationConfig
    from training.data.simulate.output import write

    simulation = SimulationConfig(accounts=6000, seed=7)
    return cached_folder("simulated", lambda folder: write(simulation, folder))


@pytest.fixture(scope="session")
def source(simulated: Path) -> Source:
    from training.data.dataset import load

    return load(simulated)


@pytest.fixture(scope="session")
def data(source: Source) -> Labelled:
    from training.data.config import DataConfig
    from training.data.labels import label_accounts

    return label_accounts(source, DataConfig())


@pytest.fixture(scope="session")
def fitted(data: Labelled) -> Fitted:
    from training.fit.config import FitConfig
    from training.fit.fit import fit

    return fit(data, FitConfig(trees=80, min_leaf=30))


@pytest.fixture(scope="session")
def bundle_folder(
    simulated: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bundle of the fitted model; only to be read, all tests share it."""

    def make(folder: Path) -> None:
        from tests.support.policies import write_policy_without_control_arm
        from training.fit.bundle import BundleConfig, FitResult, make_bundle

        # Here, so that no process fits what another has made.
        fitted, data, source = map(request.getfixturevalue, ("fitted", "data", "source"))
        policy = write_policy_without_control_arm(tmp_path_factory.mktemp("policy"))
        config = BundleConfig(reference_size=300, policy=policy)
        make_bundle(FitResult(fitted, data, source, config), folder)

    return cached_folder("bundle", make)


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    from serving.decision.golden import load

    return load(bundle_folder)


@pytest.fixture(scope="session")
def windows(source: Source) -> pl.DataFrame:
    """The windows of 1,000 drawn accounts at the last month: unknown incomes among them, and
    histories of 1 to 24 months.
    """
    import numpy as np

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
