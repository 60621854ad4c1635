"""Fixtures of the benchmarks: the default simulation and the default model."""

from __future__ import annotations

import datetime
from pathlib import Path

import polars as pl
import pytest

from features.schema import check
from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.decision.pipeline import stages
from serving.decision.result import Stages
from tests.benches.accounts import on_the_day
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.dataset import load as load_data
from training.data.labels import Labelled, label_accounts
from training.data.labels import select_windows as window_of
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import write
from training.fit import bundle
from training.fit.bundle import BundleConfig
from training.fit.config import FitConfig
from training.fit.fit import fit


@pytest.fixture(scope="session")
def full_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default simulation, 20,000 accounts."""
    folder = tmp_path_factory.mktemp("bench") / "simulated"
    write(SimulationConfig(), folder)
    return folder


@pytest.fixture(scope="session")
def full_source(full_folder: Path) -> Source:
    return load_data(full_folder)


@pytest.fixture(scope="session")
def full_data(full_source: Source) -> Labelled:
    return label_accounts(full_source, DataConfig())


@pytest.fixture(scope="session")
def champion_folder(
    full_source: Source, full_data: Labelled, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bundle of the default model on the default data."""
    folder = tmp_path_factory.mktemp("champion") / "bundle"
    fitted = fit(full_data, FitConfig())
    result = bundle.FitResult(fitted, full_data, full_source, BundleConfig())
    bundle.make_bundle(result, folder)
    return folder


@pytest.fixture(scope="session")
def champion(champion_folder: Path) -> Bundle:
    return load(champion_folder)


@pytest.fixture(scope="session")
def window(full_source: Source) -> pl.DataFrame:
    """An account with 24 statements."""
    recent = full_source.statements.filter(
        pl.col("month") > pl.col("month").max().dt.offset_by("-24mo")
    )
    full = recent.filter(pl.len().over("account_id") == 24)
    return check(full.filter(pl.col("account_id") == full["account_id"][0]))


@pytest.fixture(scope="session")
def decided_at(window: pl.DataFrame) -> datetime.datetime:
    last = window["month"].max()
    assert isinstance(last, datetime.date)
    return datetime.datetime(last.year, last.month, 28, tzinfo=datetime.UTC)


@pytest.fixture(scope="session")
def made(champion: Bundle, full_source: Source) -> Stages:
    """The last month's decisions about every account."""
    last = full_source.statements["month"].max()
    assert isinstance(last, datetime.date)
    return stages(check(window_of(full_source.statements, last)), champion, on_the_day(last))
