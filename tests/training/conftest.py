"""One fit that MLflow keeps, and one small world that no model saw, for all tests that look into
them.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
import pytest

from tests.support.cached import cached_folder

# The fixtures import what they use themselves: the tests of the data, which are fast, read this
# file too.
if TYPE_CHECKING:
    from serving.decision.bundle import Bundle
    from training.data.config import DataConfig
    from training.data.dataset import Source
    from training.data.labels import Labelled
    from training.examine.truth.cut_accounts import CutAccounts
    from training.examine.truth.population import Population
    from training.fit.bundle import BundleConfig
    from training.fit.fit import Fitted
    from training.fit.run import FitReport
    from training.tracking.store import Store

# What a module says that uses a store: its own ``pytestmark``, for the first test to ask makes the
# store.
STORE_WARNINGS = [
    # mlflow 3.17.2 with today's SQLAlchemy.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    # The same at import, of its own classes; the message begins with a colour.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    # shap 0.51.0 at import, with today's matplotlib.
    pytest.mark.filterwarnings(
        "ignore:The set_(bad|over|under) function will be deprecated:PendingDeprecationWarning"
    ),
]
# Where MLflow keeps the absolute addresses of artefacts.
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


class Kept(NamedTuple):
    """A store with one finished fit, and what the fit reported."""

    store: Store
    report: FitReport


@pytest.fixture(scope="session")
def kept(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Only to be read; a test that writes takes :func:`another_store`."""
    from training.fit.run import FitReport
    from training.tracking.store import Store

    def make(folder: Path) -> None:
        # In a process of its own: MLflow remembers for its process where a run's artefacts are,
        # and they are moved below.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(fit_into, (simulated, folder))

    cached = cached_folder("mlruns", make)
    saved = json.loads((cached / "report.json").read_text("utf-8"))
    saved |= {"measures": pl.DataFrame(saved["measures"]), "fold_auc": tuple(saved["fold_auc"])}
    folder = tmp_path_factory.mktemp("mlruns") / "a store"  # a path with a space
    shutil.copytree(cached / "a store", folder)
    move_artifacts(folder)
    return Kept(Store(folder), FitReport(**saved))


def fit_into(simulated: Path, folder: Path) -> None:
    """A store with one fit in ``folder``, and the fit's report as JSON."""
    from tests.support.small_fit import CONFIGS
    from training.fit.run import run_fit
    from training.tracking.store import Store

    report = run_fit(simulated, Store(folder / "a store"), CONFIGS)
    fields = asdict(report) | {"measures": report.measures.to_dict(as_series=False)}
    (folder / "report.json").write_text(json.dumps(fields), encoding="utf-8")


def move_artifacts(folder: Path) -> None:
    """Point the addresses of artefacts, which MLflow keeps absolute, at a copied store's own."""
    from training.tracking.store import EXPERIMENT

    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        [(made_at,)] = database.execute(
            "SELECT artifact_location FROM experiments WHERE name = ?", [EXPERIMENT]
        )
        moved_to = (folder.resolve() / "artifacts").as_uri()
        for table, column in _ADDRESSES:
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", [made_at, moved_to]
            )
    for file in folder.rglob("MLmodel"):
        file.write_text(file.read_text("utf-8").replace(made_at, moved_to), encoding="utf-8")


def copy_of(store: Store, folder: Path) -> Store:
    """A store to write to, with the same runs and versions.

    Artefacts are those of the first store: MLflow keeps their addresses.
    """
    from training.tracking.store import Store

    folder.mkdir()
    shutil.copy(store.folder / "mlflow.db", folder / "mlflow.db")
    return Store(folder)


@pytest.fixture
def another_store(kept: Kept, tmp_path: Path) -> Store:
    return copy_of(kept.store, tmp_path / "mlruns")


def add_version(
    store: Store,
    fitted: Fitted,
    data: Labelled,
    source: Source,
    split: DataConfig | None = None,
    bundle: BundleConfig | None = None,
) -> str:
    """A version of a model that is fitted already, without the figures of a whole run; returns its
    number.

    ``split`` is what its run tells that the data were split by, if not what they were.
    """
    from tests.support.small_fit import CONFIGS
    from training.fit.bundle import FitResult, choose_references, make_parts
    from training.fit.run import register_run
    from training.tracking import runs

    bundle = bundle or CONFIGS[2]
    result = FitResult(fitted, data, source, bundle)
    parts = make_parts(result, choose_references(fitted, data, bundle))
    with runs.start_run(store) as run:
        runs.log_configs({"data": split or CONFIGS[0]}, {"data.last_month": source.last_month})
        version, _ = register_run(parts, result, run)
    return version


def understated(fitted: Fitted, by: float) -> Fitted:
    """The model with log-odds that are lower by this much."""
    calibration = fitted.calibration
    lower = replace(calibration, intercept=calibration.intercept - by)
    return replace(fitted, calibration=lower)


@pytest.fixture(scope="session")
def examined(simulated: Path) -> Population:
    """Another population of the session's simulation; its model cuts one account in 75."""
    from training.examine.truth.population import ExamineConfig, draw_population, simulation_of

    return draw_population(simulation_of(simulated), ExamineConfig(accounts=7_500, seed=11))


@pytest.fixture(scope="session")
def cut_accounts(examined: Population, bundle: Bundle) -> CutAccounts:
    """Its accounts, about a hundred, whose limit the session's model cuts."""
    from training.examine.truth.cut_accounts import find_cut_accounts

    return find_cut_accounts(examined, bundle)


def part_of(cut: CutAccounts, which: list[int]) -> CutAccounts:
    """These of the cut accounts, in rising order."""
    rows = np.array(which)
    ids = [cut.advised[row].decision.account_id for row in which]
    return replace(
        cut,
        places=cut.places[rows],
        statements=cut.statements.filter(pl.col("account_id").is_in(ids)),
        advised=tuple(cut.advised[row] for row in which),
        contributions=cut.contributions[rows],
        values=cut.values[rows],
        matrix=cut.matrix[rows],
    )
