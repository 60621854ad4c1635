"""Requests of simulated accounts, and one service that answers them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer

from serving.client import started
from serving.pack import store


class Server(NamedTuple):
    """A service that runs: where, what it has logged so far, and its model's tag."""

    url: str
    log: Path
    tag: str


def as_requests(statements: pl.DataFrame) -> list[dict[str, Any]]:
    """The statements as a caller would send them, made without serving.payload."""
    said = statements.with_columns(pl.col("month").dt.strftime("%Y-%m"))
    return [
        {
            "account_id": account,
            "product": rows["product"][0],
            "currency": "CNY",
            "statements": rows.drop("account_id", "product").to_dicts(),
        }
        for (account,), rows in said.group_by("account_id", maintain_order=True)
    ]


@pytest.fixture(scope="session")
def some_windows(windows: pl.DataFrame) -> pl.DataFrame:
    """The windows of 60 accounts, with all lengths of history that there are."""
    lengths = windows.group_by("account_id").len().sort("len", "account_id")
    return windows.filter(pl.col("account_id").is_in(lengths["account_id"].gather_every(lengths.height // 60)[:60].implode()))


@pytest.fixture(scope="session")
def requests(some_windows: pl.DataFrame) -> list[dict[str, Any]]:
    return as_requests(some_windows)


@pytest.fixture(scope="session")
def bentoml_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of the session's own.  BentoML reads the address once in a process, so there is one for all tests."""
    home = tmp_path_factory.mktemp("bentoml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        assert BentoMLContainer.bentoml_home.get() == str(home)
        yield home


@pytest.fixture(scope="session")
def server(bundle_folder: Path, bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("served") / "log"
    tag = store(bundle_folder)
    with started(log) as url:
        yield Server(url, log, tag)
