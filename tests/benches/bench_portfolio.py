"""A portfolio from Parquet to Parquet, beside a loop over `decide_many` that writes as much."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.build import build
from features.schema import check
from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide_many
from serving.portfolio.order import Order
from serving.portfolio.run import run
from serving.schemas.base import encode
from serving.schemas.decision import make_answer
from tests.benches.accounts import on_the_day
from tests.support.records import settings_in
from training.data.dataset import Source
from training.data.labels import select_windows

FILES = 10


@pytest.fixture(scope="module")
def order(
    full_source: Source, champion_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Order:
    """The last month's accounts of the default data, each in all files under another name."""
    last = full_source.statements["month"].max()
    assert isinstance(last, datetime.date)
    windows = check(select_windows(full_source.statements, last))
    folder = tmp_path_factory.mktemp("portfolio")
    for number in range(FILES):
        renamed = pl.format("{}-{}", "account_id", pl.lit(number)).alias("account_id")
        windows.with_columns(renamed).write_parquet(folder / f"part-{number}.parquet")
    return Order(folder, folder.with_name("decisions"), champion_folder, on_the_day(last))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_portfolio_by_processes(
    benchmark: Any, order: Order, workers: int, tmp_path: Path
) -> None:
    numbers = itertools.count()

    def decide() -> int:
        place = tmp_path / str(next(numbers))
        return run(dataclasses.replace(order, decisions=place, workers=workers)).totals.accounts

    accounts = benchmark.pedantic(decide, rounds=3, warmup_rounds=1)
    benchmark.extra_info |= {"rows": accounts, "unit": "accounts"}


def test_a_recorded_portfolio(benchmark: Any, order: Order, tmp_path: Path) -> None:
    """Each time into a new audit log in SQLite."""
    numbers = itertools.count()

    def make_order() -> tuple[tuple[Order], dict[str, Any]]:
        place = tmp_path / str(next(numbers))
        place.mkdir()
        settings = settings_in(place)
        AuditLog(settings).close()
        recorded = dataclasses.replace(
            order,
            decisions=place / "decisions",
            workers=2,
            record=settings,
            tenant="bank",
            records=True,
        )
        return (recorded,), {}

    def decide(recorded: Order) -> int:
        return run(recorded).totals.accounts

    accounts = benchmark.pedantic(decide, setup=make_order, rounds=3, warmup_rounds=1)
    benchmark.extra_info |= {"rows": accounts, "unit": "accounts"}


def test_features_of_a_portfolio(benchmark: Any, order: Order) -> None:
    """On all cores, of statements that are read and checked."""
    tables = [pl.read_parquet(file) for file in sorted(order.statements.glob("*.parquet"))]
    statements = check(pl.concat(tables))

    def compute() -> int:
        return build(statements).accounts.height

    accounts = benchmark.pedantic(compute, rounds=5, warmup_rounds=1)
    benchmark.extra_info |= {"rows": accounts, "unit": "accounts"}


def test_a_portfolio_by_a_loop(
    benchmark: Any, order: Order, champion: Bundle, tmp_path: Path
) -> None:
    """One file of it, each account decided with its reasons."""

    def decide() -> int:
        statements = pl.read_parquet(order.statements / "part-0.parquet")
        assert order.decided_at is not None
        decisions = decide_many(statements, champion, order.decided_at)
        answers = [encode(make_answer(decision, champion)) for decision in decisions]
        table = pl.DataFrame({"account_id": [d.account_id for d in decisions], "answer": answers})
        table.write_parquet(tmp_path / "answers.parquet")
        return len(answers)

    accounts = benchmark.pedantic(decide, rounds=3, warmup_rounds=1)
    benchmark.extra_info |= {"rows": accounts, "unit": "accounts"}
