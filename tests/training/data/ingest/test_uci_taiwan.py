"""The project's mapping of the UCI card data, on the data.

The file is not part of the project: see docs/modelling/ingest.md.
"""

from __future__ import annotations

import csv
import datetime
import os
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features.schema import check
from tests.support.each import each
from tests.support.paths import ROOT
from training.data.ingest.ingest import Summary, ingest
from training.data.ingest.mapping import MAPPINGS

SHA256 = "a0f0ab49d6326671d6cd83be5c88dcf18007025fe9a53ecd699119c871176ca1"
OLDEST_FIRST = ("6", "5", "4", "3", "2", "1")


@pytest.fixture(scope="module")
def source() -> Path:
    beside = ROOT.parent / "shared" / "data" / "uci_taiwan" / "UCI_Credit_Card.csv"
    file = Path(os.environ.get("CLEARLINE_DATA", beside))
    if not file.is_file():
        pytest.skip(
            f"REAL DATA NOT TESTED: no UCI file at {file}; "
            "set CLEARLINE_DATA to UCI_Credit_Card.csv (docs/modelling/ingest.md)"
        )
    return file


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Summary, Path]:
    folder = tmp_path_factory.mktemp("taiwan") / "data"
    return ingest(source, MAPPINGS / "uci_taiwan.toml", folder), folder


def test_taiwan_every_account_keeps_the_schema(made: tuple[Summary, Path]) -> None:
    summary, folder = made
    assert (summary.rows, summary.accounts, summary.statements) == (30_000, 30_000, 180_000)
    assert summary.rejected == {}
    statements = pl.read_parquet(folder / "statements")
    assert_frame_equal(check(statements), statements)


def test_taiwan_labels_are_the_published_ones(made: tuple[Summary, Path]) -> None:
    summary, folder = made
    labels = pl.read_parquet(folder / "labels.parquet")
    assert labels["label"].sum() == 6_636
    assert summary.label_rate == pytest.approx(0.2212)
    assert labels["as_of"].unique().to_list() == [datetime.date(2005, 9, 1)]
    assert labels["account_id"].head(1).item() == "tw-00001"


def test_taiwan_statements_are_the_cells_of_the_file(
    source: Path, made: tuple[Summary, Path]
) -> None:
    """The oracle reads the file with the standard library and knows nothing of the mapping."""
    _, folder = made
    table = pl.read_parquet(folder / "statements")
    with source.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in each(rows[::600]):
        statements = table.filter(pl.col("account_id") == f"tw-{int(row['ID']):05}")
        late = [max(int(row[f"PAY_{'0' if n == '1' else n}"]), 0) * 30 for n in OLDEST_FIRST]
        balance = [float(row[f"BILL_AMT{n}"]) for n in OLDEST_FIRST]
        payment = [float(row[f"PAY_AMT{n}"]) for n in OLDEST_FIRST]
        spend = [max(balance[k] - balance[k - 1] + payment[k], 0.0) for k in range(1, 6)]
        assert statements["month"].to_list() == [
            datetime.date(2005, month, 1) for month in range(4, 10)
        ]
        assert statements["days_past_due"].to_list() == late
        assert statements["credit_limit"].to_list() == in_cny([float(row["LIMIT_BAL"])] * 6)
        assert statements["balance"].to_list() == in_cny(balance)
        assert statements["payment"].to_list() == in_cny(payment)
        assert statements["spend"].to_list() == [None, *in_cny(spend)]


def in_cny(amounts: list[float]) -> list[float]:
    return [round(amount * 0.245 * 100) / 100 for amount in amounts]


def test_taiwan_personal_columns_stay_out_of_the_statements(made: tuple[Summary, Path]) -> None:
    _, folder = made
    accounts = pl.read_parquet(folder / "accounts")
    assert accounts.columns == ["account_id", "gender", "age_band"]
    assert dict(accounts["gender"].value_counts().rows()) == {"female": 18_112, "male": 11_888}
    assert not set(pl.read_parquet(folder / "statements").columns) & {"gender", "age_band"}


def test_taiwan_file_is_the_one_that_the_figures_are_of(made: tuple[Summary, Path]) -> None:
    assert SHA256 in (made[1] / "ingest.json").read_text(encoding="utf-8")
