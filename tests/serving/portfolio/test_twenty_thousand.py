"""Twenty thousand accounts: the bytes of a run are those of the endpoint and of each alone."""

from __future__ import annotations

import datetime
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import httpx
import polars as pl
import pytest

from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide, decide_many
from serving.portfolio.block import SCHEMA
from serving.portfolio.order import Order
from serving.portfolio.run import run
from serving.schemas.base import encode
from serving.schemas.decision import make_answer
from tests.support import checks
from tests.support.each import each
from tests.support.records import settings_in
from tests.support.served import Server, as_requests, cut_batch
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import simulate

pytestmark = pytest.mark.torture
ACCOUNTS = 20_000
SIMULATED = SimulationConfig(accounts=26_000, seed=29)  # some have closed by the last month
ACCOUNTS_A_BATCH = 100
Answers = dict[str, bytes]  # by account


@pytest.fixture(scope="module")
def statements() -> pl.DataFrame:
    everything = pl.concat(block.statements for block in simulate(SIMULATED))
    last = everything.filter(pl.col("month") == everything["month"].max())
    names = last["account_id"].sort()[:ACCOUNTS]
    assert len(names) == ACCOUNTS
    some = everything.filter(pl.col("account_id").is_in(names.implode()))
    return some.sort("account_id", "month").group_by("account_id", maintain_order=True).tail(24)


@pytest.fixture(scope="module")
def alone(statements: pl.DataFrame, bundle: Bundle, server: Server) -> Answers:
    """The function's answers, asked for one account at a time."""
    windows = statements.partition_by("account_id", maintain_order=True)
    decisions = [
        decide(window, bundle, checks.WHEN, None, server.id_key, None) for window in windows
    ]
    actions = Counter(decision.action for decision in decisions)
    assert min(actions[name] for name in ("keep", "reduce", "suspend", "review")) > 10, actions
    return {one.account_id: encode(make_answer(one, bundle)) for one in decisions}


@pytest.fixture
def order(server: Server, bundle_folder: Path, tmp_path: Path) -> Order:
    """With an audit log that remembers nothing and has the service's secrets, as ids need them."""
    settings = settings_in(tmp_path)
    shutil.copy(server.log.parent / "secrets.json", settings.secrets)
    AuditLog(settings).close()
    return Order(
        statements=tmp_path / "statements",
        decisions=tmp_path / "decisions",
        bundle=bundle_folder,
        decided_at=checks.WHEN,
        record=settings,
        tenant="lender",
        with_all_answers=True,
    )


def write(statements: pl.DataFrame, files: int, folder: Path) -> None:
    """The accounts spread over so many files."""
    folder.mkdir()
    place = pl.col("account_id").hash(seed=5) % files
    for part in range(files):
        statements.filter(place == part).write_parquet(folder / f"part-{part:02}.parquet")


def table_of(order: Order) -> pl.DataFrame:
    tables = [pl.read_parquet(file) for file in sorted(order.decisions.glob("*.parquet"))]
    return pl.concat(tables)


class Way(NamedTuple):
    """A way to decide on the same accounts."""

    workers: int
    files: int
    rows_at_once: int = 10_000_000
    is_shuffled: bool = False


@pytest.mark.parametrize(
    "way", [Way(1, 1, is_shuffled=True), Way(1, 1, 100_000), Way(2, 7), Way(4, 40, 3_000, True)]
)
def test_a_run_has_the_bytes_of_each_account_alone(
    statements: pl.DataFrame, alone: Answers, order: Order, way: Way
) -> None:
    some = statements
    if way.is_shuffled:
        some = statements.sample(fraction=1.0, shuffle=True, seed=1)
    write(some, way.files, order.statements)
    run(replace(order, workers=way.workers, rows_at_once=way.rows_at_once))
    table = table_of(order)
    assert table.height == ACCOUNTS
    assert dict(table.select("account_id", "answer").iter_rows()) == alone


def test_arrays_tell_of_plain_accounts_what_their_answers_say(
    statements: pl.DataFrame, alone: Answers, order: Order
) -> None:
    """Of those that plainly keep their limit by their columns, of the others by their bytes."""
    write(statements, 7, order.statements)
    run(replace(order, with_all_answers=False, workers=2))
    plain = 0
    for row in each(table_of(order).iter_rows(named=True)):
        expected = json.loads(alone[row["account_id"]])
        for name in SCHEMA.keys() & expected.keys():
            value = row[name]
            told = value.isoformat() if isinstance(value, datetime.date) else value
            assert told == expected[name] or name in ("decision_id", "as_of"), (name, row)
        if row["answer"] is None:
            plain += 1
            assert expected["notice"] is None
        else:
            assert row["answer"] == alone[row["account_id"]]
    assert ACCOUNTS / 2 < plain < ACCOUNTS


def test_the_endpoint_gives_the_bytes_of_a_run(
    statements: pl.DataFrame, alone: Answers, bundle: Bundle, server: Server, order: Order
) -> None:
    """Over HTTP, in batches; a batch has one time, at which the same accounts are decided."""
    windows = statements.partition_by("account_id", maintain_order=True)
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=60) as client:
        for first in each(range(0, ACCOUNTS, ACCOUNTS_A_BATCH)):
            batch = pl.concat(windows[first : first + ACCOUNTS_A_BATCH])
            answers = send(client, batch)
            at = datetime.datetime.fromisoformat(json.loads(answers[0])["decided_at"])
            decisions = decide_many(batch, bundle, at, {}, server.id_key)
            assert answers == [encode(make_answer(one, bundle)) for one in decisions]
            # Some of them by a run of that time, whose start costs more than its decisions.
            if first % (ACCOUNTS // 10) == 0:
                assert answers == run_at(batch, at, order)
    together = decide_many(statements, bundle, checks.WHEN, {}, server.id_key)
    assert {one.account_id: encode(make_answer(one, bundle)) for one in together} == alone


def send(client: httpx.Client, batch: pl.DataFrame) -> Sequence[bytes]:
    body = {"accounts": as_requests(batch)}
    response = client.post("/v1/decisions/batch", json=body)
    return cut_batch(response.raise_for_status().text)


def run_at(batch: pl.DataFrame, at: datetime.datetime, order: Order) -> list[bytes]:
    name = f"{at:%H%M%S%f}"
    statements = order.statements.with_name(f"statements-{name}")
    write(batch, 1, statements)
    decisions = order.decisions.with_name(f"decisions-{name}")
    wanted = replace(order, statements=statements, decisions=decisions, decided_at=at)
    run(wanted)
    return table_of(wanted).sort("account_id")["answer"].to_list()
