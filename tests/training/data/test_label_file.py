"""Labels made by hand: what cannot be used is named with its row, at both entrances."""

from __future__ import annotations

import datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.schema import table
from training.data.config import DataConfig, DataError
from training.data.dataset import load
from training.data.label_file import check_labels, last_labelled_month
from training.data.labels import label_accounts
from training.release.monitor.records import RecordFileError, read_labels

FILE = Path("labels.parquet")
MONTH = datetime.date(2026, 9, 1)
GOOD: dict[str, list[object]] = {
    "account_id": ["a", "b", "c"],
    "as_of": [MONTH] * 3,
    "label": [0, 1, 0],
}


def write_folder(folder: Path, labels: pl.DataFrame) -> Path:
    """A data folder with three accounts of two months, and these labels."""
    rows = [
        {
            "account_id": name,
            "month": month,
            "product": "pay_later",
            "credit_limit": 1000.0,
            "balance": 100.0,
            "payment": 0.0,
            "days_past_due": 0,
        }
        for name in "abc"
        for month in (datetime.date(2026, 8, 1), MONTH)
    ]
    (folder / "statements").mkdir(parents=True)
    table(rows).write_parquet(folder / "statements" / "part-00000.parquet")
    labels.write_parquet(folder / "labels.parquet")
    (folder / "ingest.json").write_text('{"label": {"definition": "default"}}', encoding="utf-8")
    return folder


def with_row(account: object, as_of: object, label: object) -> pl.DataFrame:
    """Three good labels, and one more in row 4."""
    added = {"account_id": account, "as_of": as_of, "label": label}
    columns: dict[str, list[object]] = {}
    for name, values in GOOD.items():
        columns[name] = [*values, added[name]]
    return pl.DataFrame(columns)


FAULTS = [
    pytest.param(with_row("b", MONTH, 1), "one label an account and month: 2.*row 2", id="twice"),
    pytest.param(with_row("d", MONTH, None), "label is 0 or 1: 1 .*row 4 .account d", id="null"),
    pytest.param(with_row("d", MONTH, -9), "label is 0 or 1: 1 .*row 4 .*label -9", id="-9"),
    pytest.param(with_row("d", MONTH, 2), "label is 0 or 1: 1 .*row 4 .*label 2", id="2"),
    pytest.param(with_row("d", MONTH, 257), "label is 0 or 1: 1 .*row 4 .*label 257", id="257"),
    pytest.param(with_row(None, MONTH, 1), "account_id is known: 1 row.*row 4", id="nobody"),
    pytest.param(with_row("d", None, 1), "as_of is a date, .*: 1 .*row 4", id="no month"),
    pytest.param(
        with_row("d", datetime.date(2026, 9, 15), 1),
        "as_of is the first day of a month: 1 .*row 4 .account d, as_of 2026-09-15",
        id="a month's middle",
    ),
    pytest.param(pl.DataFrame(GOOD).clear(), "expected at least one label, got none", id="none"),
    pytest.param(pl.DataFrame(GOOD).drop("as_of"), "expected the columns", id="a column"),
    pytest.param(
        pl.DataFrame(GOOD | {"account_id": [1, 2, 3]}), "account_id: expected text", id="numbers"
    ),
]


@pytest.mark.parametrize(("labels", "words"), FAULTS)
def test_fit_and_monitor_refuse_the_same_labels(
    tmp_path: Path, labels: pl.DataFrame, words: str
) -> None:
    folder = write_folder(tmp_path / "data", labels)
    with pytest.raises(DataError, match=rf"(?s)labels.parquet: .*{words}"):
        load(folder)
    with pytest.raises(RecordFileError, match=rf"(?s)labels.parquet: .*{words}"):
        read_labels(folder / "labels.parquet")


def test_a_future_month_is_refused(tmp_path: Path) -> None:
    labels = with_row("a", datetime.date(2026, 10, 1), 1)
    words = r"which end in 2026-09: 1 row\(s\): row 4 \(account a, as_of 2026-10-01"
    with pytest.raises(DataError, match=words):
        load(write_folder(tmp_path / "data", labels))


def test_labels_without_a_statement_are_left_out_and_counted(tmp_path: Path) -> None:
    labels = with_row("unknown", MONTH, 1)
    source = load(write_folder(tmp_path / "data", labels))
    assert source.labels is not None
    assert source.labels["account_id"].to_list() == ["a", "b", "c"]
    assert source.unknown_labels == 1
    data = label_accounts(source, DataConfig())
    assert data.label.tolist() == [0.0, 1.0, 0.0]


def test_labels_of_strangers_alone_are_refused(tmp_path: Path) -> None:
    labels = pl.DataFrame(GOOD | {"account_id": ["x", "y", "z"]})
    words = "statement of the month, got none of 3: account x in 2026-09"
    with pytest.raises(DataError, match=words):
        load(write_folder(tmp_path / "data", labels))


def test_a_few_later_labels_are_no_month() -> None:
    """Of the last month only defaults are known yet; of one account the date is wrong."""
    months = [datetime.date(2026, number, 1) for number in (3, 4, 5, 9)]
    counts = (60, 100, 50, 1)
    for expected, used in ((months[2], 4), (months[1], 2), (months[0], 1)):
        rows = [
            (f"{month:%m}-{number}", month, 0)
            for month, count in zip(months[:used], counts[:used], strict=True)
            for number in range(count)
        ]
        labels = pl.DataFrame(rows, ["account_id", "as_of", "label"], orient="row")
        assert last_labelled_month(labels) == expected


def test_every_fault_is_in_one_message() -> None:
    labels = with_row("b", MONTH, 7).with_columns(
        account_id=pl.Series(["a", "b", "", "b"]), label=pl.Series([0, 1, 0, 7])
    )
    with pytest.raises(DataError) as caught:
        check_labels(labels, FILE)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert lines[0] == "labels.parquet: labels that cannot be used"


def test_a_message_names_three_rows_and_counts_the_rest() -> None:
    rows = {"account_id": [f"a{n}" for n in range(9)], "as_of": [MONTH] * 9, "label": [2] * 9}
    with pytest.raises(DataError, match=r"label is 0 or 1: 9 row.*row 3 .* and 6 more$"):
        check_labels(pl.DataFrame(rows), FILE)


@pytest.mark.parametrize(
    ("as_of", "label"),
    [
        (pl.Series([MONTH] * 3), pl.Series([0, 1, 0], dtype=pl.Int64)),
        (pl.Series([datetime.datetime(2026, 9, 1)] * 3), pl.Series([0.0, 1.0, 0.0])),
        (pl.Series(["2026-09"] * 3), pl.Series([False, True, False])),
        (pl.Series(["2026-09-01"] * 3), pl.Series(["0", "1", "0.0"])),
    ],
)
def test_other_types_mean_the_same(as_of: pl.Series, label: pl.Series) -> None:
    labels = pl.DataFrame({"account_id": ["a", "b", "c"], "as_of": as_of, "label": label})
    expected = pl.DataFrame(GOOD, schema_overrides={"label": pl.Int8})
    assert check_labels(labels, FILE).equals(expected)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-1, 2)), min_size=1, max_size=6))
def test_labels_are_taken_as_they_are_or_refused(rows: list[tuple[str, int]]) -> None:
    accounts, outcomes = [row[0] for row in rows], [row[1] for row in rows]
    labels = pl.DataFrame({"account_id": accounts, "as_of": [MONTH] * len(rows), "label": outcomes})
    fit_to_use = len(set(accounts)) == len(accounts) and set(outcomes) <= {0, 1}
    if fit_to_use:
        checked = check_labels(labels, FILE)
        assert checked["account_id"].to_list() == accounts
        assert checked["label"].to_list() == outcomes
    else:
        with pytest.raises(DataError, match="labels that cannot be used"):
            check_labels(labels, FILE)


def test_labels_by_hand_need_a_definition(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", pl.DataFrame(GOOD))
    (folder / "ingest.json").write_text('{"label": null}', encoding="utf-8")
    with pytest.raises(DataError, match=r"ingest.json: expected the definition of the labels"):
        load(folder)
