"""Requests of simulated accounts, and services that answer them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from serving.auth.key_cache import KeyCache
from serving.operations.audit import open_audit_log
from serving.operations.client import start_service
from serving.operations.pack import store
from tests.support.gated_app import LIVE, cache_of
from tests.support.records import (
    at_hand,
    fill,
    golden,
    postgres,
    postgres_server,
    record,
    settings_in,
)
from tests.support.scheduling import is_unlisted
from tests.support.served import AS_DEPLOYED, Guarded, Server, as_requests, create_keys

# Fixtures for all tests below this folder.
__all__ = ["at_hand", "fill", "golden", "postgres", "postgres_server", "record"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if is_unlisted(item):
        pytest.fail("add this file to SERVED in tests/support/scheduling.py", pytrace=False)


@pytest.fixture(scope="session")
def some_windows(windows: pl.DataFrame) -> pl.DataFrame:
    """The windows of 60 accounts, of all lengths of history."""
    lengths = windows.group_by("account_id").len().sort("len", "account_id")
    accounts = lengths["account_id"].gather_every(lengths.height // 60)[:60]
    return windows.filter(pl.col("account_id").is_in(accounts.implode()))


@pytest.fixture(scope="session")
def requests(some_windows: pl.DataFrame) -> list[dict[str, Any]]:
    return as_requests(some_windows)


@pytest.fixture(scope="session")
def server(
    bundle_folder: Path, bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("served") / "log"
    tag = store(bundle_folder)
    # These tests are not about the speed of the machine.
    with start_service(log, settings=AS_DEPLOYED | {"CLEARLINE_DEADLINE": "30"}) as url:
        yield Server(url, log, tag)


@pytest.fixture(scope="session")
def guarded(
    bundle_folder: Path, bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    address = f"sqlite:///{folder / 'record.db'}"
    with open_audit_log(settings_in(folder), create=True) as log:
        by_name = create_keys(log.database, log.secrets)
    store(bundle_folder)
    # As above.
    settings = AS_DEPLOYED | {"CLEARLINE_DEADLINE": "30", "CLEARLINE_RECORD": address}
    with start_service(folder / "log", settings=settings) as url:
        yield Guarded(url, folder / "log", address, by_name)


@pytest.fixture
def with_key() -> Iterator[KeyCache]:
    with closing(cache_of(LIVE)) as keys:
        yield keys


@pytest.fixture
def without_key() -> Iterator[KeyCache]:
    with closing(cache_of()) as keys:
        yield keys
