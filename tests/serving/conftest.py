"""Requests of simulated accounts, and one service that answers them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from serving.auth import keys
from serving.auth.caller import SCOPES
from serving.auth.key_cache import KeyCache
from serving.operations.client import start_service
from serving.operations.pack import store
from serving.storage.database import Database
from tests.support.gated_app import LIVE, cache_of
from tests.support.records import at_hand, fill, golden, postgres, postgres_server, record

# fixtures, for all tests below this folder
__all__ = ["at_hand", "fill", "golden", "postgres", "postgres_server", "record"]


class Server(NamedTuple):
    """A service that runs: where, what it has logged so far, and its model's tag."""

    url: str
    log: Path
    tag: str


def as_requests(statements: pl.DataFrame) -> list[dict[str, Any]]:
    """The statements as a caller would send them, made without serving.schemas.decision."""
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


class Guarded(NamedTuple):
    """A service that has keys: where, its log, the address of its record, and the text of each key
    by its name.

    A key that is good is named ``tenant/scope``, or ``tenant/all``; the others ``expired``,
    ``revoked`` and ``slow``, which may ask once in 100 s.
    """

    url: str
    log: Path
    record: str
    keys: dict[str, str]


@pytest.fixture(scope="session")
def some_windows(windows: pl.DataFrame) -> pl.DataFrame:
    """The windows of 60 accounts, with all lengths of history that there are."""
    lengths = windows.group_by("account_id").len().sort("len", "account_id")
    return windows.filter(
        pl.col("account_id").is_in(
            lengths["account_id"].gather_every(lengths.height // 60)[:60].implode()
        )
    )


@pytest.fixture(scope="session")
def requests(some_windows: pl.DataFrame) -> list[dict[str, Any]]:
    return as_requests(some_windows)


@pytest.fixture(scope="session")
def server(
    bundle_folder: Path, bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("served") / "log"
    tag = store(bundle_folder)
    # How long a busy machine takes is not what these tests are about.
    with start_service(log, settings={"CLEARLINE_DEADLINE": "30"}) as url:
        yield Server(url, log, tag)


@pytest.fixture(scope="session")
def guarded(
    bundle_folder: Path, bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    address = f"sqlite:///{folder / 'record.db'}"
    with closing(Database(address)) as database:
        texts = some_keys(database)
    store(bundle_folder)
    with start_service(folder / "log", settings={"CLEARLINE_RECORD": address}) as url:
        yield Guarded(url, folder / "log", address, texts)


def some_keys(database: Database) -> dict[str, str]:
    """Keys of all kinds, of two tenants; see :class:`Guarded`."""
    texts = {}
    for tenant in ("north", "south"):
        for scope in SCOPES:
            texts[f"{tenant}/{scope}"], _ = keys.create(database, tenant, [scope], rate=10_000)
        texts[f"{tenant}/all"], _ = keys.create(database, tenant, SCOPES, rate=10_000)
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=30)
    texts["expired"], _ = keys.create(database, "old", SCOPES, days=29, now=long_ago)
    texts["revoked"], revoked = keys.create(database, "old", SCOPES)
    keys.revoke(database, revoked.key_id)
    texts["slow"], _ = keys.create(database, "slow", SCOPES, rate=0.01)
    return texts


@pytest.fixture
def with_key() -> Iterator[KeyCache]:
    with closing(cache_of(LIVE)) as held:
        yield held


@pytest.fixture
def without_key() -> Iterator[KeyCache]:
    with closing(cache_of()) as held:
        yield held
