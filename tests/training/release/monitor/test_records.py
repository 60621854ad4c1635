"""Files of decision records and of labels: read, counted, or refused with the line."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.build import build
from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide_many
from tests.support.decision_lines import labels_of, lines, write_lines
from training.data.dataset import Source
from training.data.labels import select_windows, soon_after
from training.release.monitor.records import (
    RecordFileError,
    Records,
    read_labels,
    read_records,
)

MONTH = datetime.date(2026, 8, 1)
Export = Callable[..., Records]


@pytest.fixture(scope="module")
def statements(source: Source) -> pl.DataFrame:
    """The statements of sixty accounts."""
    not_in_default = (pl.col("month") == MONTH) & (pl.col("days_past_due") < 60)
    accounts = source.statements.filter(not_in_default)["account_id"].head(60)
    return source.statements.filter(pl.col("account_id").is_in(accounts.implode()))


@pytest.fixture(scope="module")
def exported(statements: pl.DataFrame, bundle: Bundle) -> list[str]:
    return lines(statements, bundle, MONTH)


@pytest.fixture
def read(bundle: Bundle, tmp_path: Path) -> Export:
    """Write lines to a file and read it."""

    def write_and_read(*texts: str) -> Records:
        return read_records(write_lines(tmp_path / "r.jsonl", texts), bundle.digest)

    return write_and_read


def test_records_have_the_decisions(
    exported: list[str], statements: pl.DataFrame, bundle: Bundle, read: Export
) -> None:
    records = read(*exported)
    assert records.months == [MONTH]
    assert records.with_requests
    assert sum(records.left_out.values()) == 0
    decisions = decide_many(select_windows(statements, MONTH), bundle, soon_after(MONTH))
    rows = records.of_month(MONTH)
    first_reasons = [d.reasons[0].code if d.reasons else "" for d in decisions]
    assert rows["account_id"].to_list() == [d.account_id for d in decisions]
    assert rows["probability"].to_list() == [d.probability for d in decisions]
    assert rows["first_reason"].to_list() == first_reasons


def test_records_have_the_arm(exported: list[str], read: Export) -> None:
    """Exports of earlier versions have none."""
    arms = ["control", "treated", None]
    texts = [
        json.dumps(json.loads(text) | {"arm": arm})
        for text, arm in zip(exported, arms, strict=False)
    ]
    rows = read(*texts, exported[3]).rows.sort("line")
    assert rows["arm"].to_list() == [*arms, None]


def test_features_of_records_are_those_of_the_statements(
    exported: list[str], statements: pl.DataFrame, read: Export
) -> None:
    expected = build(select_windows(statements, MONTH))
    features = read(*exported).build_features(MONTH)
    assert features.accounts.equals(expected.accounts)
    np.testing.assert_array_equal(features.values, expected.values)


def test_what_is_left_out_is_counted(exported: list[str], read: Export) -> None:
    first = json.loads(exported[0])
    other = first | {"bundle": "0" * 64}
    erased = first | {"erased": True, "probability": None, "reasons": None, "asked": None}
    again = first | {"decided_at": "2026-08-30T00:00:00.000000Z", "probability": 0.5}
    changed = [json.dumps(decision) for decision in (again, other, erased)]
    records = read(*changed, *exported)
    assert records.left_out == {"other bundles": 1, "erased": 1, "decided again": 1}
    newest = records.rows.filter(account_id=first["asked"]["account_id"])
    assert newest["probability"].to_list() == [0.5]


def test_a_file_without_a_decision_of_the_bundle_is_refused(
    exported: list[str], read: Export
) -> None:
    other = json.loads(exported[0]) | {"bundle": "0" * 64}
    with pytest.raises(RecordFileError, match="got none of 1: 1 are of other bundles"):
        read(json.dumps(other))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda decision: "{", "r.jsonl:2"),
        (lambda decision: "[1]", "r.jsonl:2"),
        (
            lambda decision: json.dumps({k: v for k, v in decision.items() if k != "asked"}),
            "no field 'asked'",
        ),
        (lambda decision: json.dumps(decision | {"probability": 1.5}), "probability is 1.5"),
        (lambda decision: json.dumps(decision | {"probability": "0.5"}), "probability is '0.5'"),
        (
            lambda decision: json.dumps(decision | {"probability": float("nan")}),
            "probability is nan",
        ),
        (lambda decision: json.dumps(decision | {"as_of": "soon"}), "r.jsonl:2"),
        (lambda decision: json.dumps(decision | {"tenant": None}), "tenant is None"),
        (lambda decision: json.dumps(decision | {"tenant": "another"}), "decisions of one tenant"),
    ],
)
def test_a_file_that_is_not_an_export_is_refused(
    exported: list[str], read: Export, change: Callable[[dict[str, Any]], str], words: str
) -> None:
    with pytest.raises(RecordFileError, match=words):
        read(exported[0], change(json.loads(exported[1])))


def test_a_missing_and_an_empty_file_are_refused(
    bundle: Bundle, read: Export, tmp_path: Path
) -> None:
    with pytest.raises(RecordFileError, match="JSON lines"):
        read_records(tmp_path / "missing.jsonl", bundle.digest)
    with pytest.raises(RecordFileError, match="an empty file"):
        read()


@pytest.mark.parametrize(
    "change",
    [
        lambda statements: [*statements[:-1], statements[-1] | {"balance": "much"}],
        lambda statements: [*statements[:-1], statements[-1] | {"credit_limit": -1.0}],
        lambda statements: statements[:-1],
        lambda statements: [1],
    ],
)
def test_invalid_statements_are_refused(
    exported: list[str], read: Export, change: Callable[[list[Any]], list[Any]]
) -> None:
    decision = json.loads(exported[0])
    decision["asked"]["statements"] = change(decision["asked"]["statements"])
    records = read(json.dumps(decision))
    with pytest.raises(RecordFileError, match="records of 2026-08"):
        records.build_features(MONTH)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_labels_are_read_from_parquet_and_csv(source: Source, tmp_path: Path, suffix: str) -> None:
    labels = labels_of(source.statements, datetime.date(2026, 1, 1))
    file = tmp_path / f"labels.{suffix}"
    if suffix == "parquet":
        labels.write_parquet(file)
    else:
        labels.write_csv(file)
    assert read_labels(file).equals(labels.with_columns(pl.col("label").cast(pl.Float64)))


def test_the_month_of_a_label_may_be_without_a_day(tmp_path: Path) -> None:
    file = tmp_path / "months.csv"
    file.write_text("account_id,as_of,label\n007,2026-01,1\n", encoding="utf-8")
    assert read_labels(file).row(0) == ("007", datetime.date(2026, 1, 1), 1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("account_id,label\nA-1,1\n", "expected the columns"),
        ("account_id,as_of,label\nA-1,2026-01,2\n", "label is 0 or 1: .*row 1 .account A-1"),
        ("account_id,as_of,label\nA-1,2026-01,\n", "label is 0 or 1: .*row 1 .account A-1"),
        ("account_id,as_of,label\n,2026-01,1\n", "account_id is known: 1 row"),
        ("account_id,as_of,label\nA-1,soon,1\n", "as_of is a date, .*as_of soon"),
        ("account_id,as_of,label\nA-1,2026-01-15,1\n", "as_of is the first day of a month"),
        ("account_id,as_of,label\n", "expected at least one label, got none"),
        ("account_id,as_of,label\nA-1,2026-01,1\nA-1,2026-01-01,0\n", "one label an account"),
        ("", "expected a CSV file, got an empty one"),
        # A lone quote makes one row of two.
        (
            'account_id,as_of,label\n"a,2026-01,1\nb",2026-01,1\n',
            "line 2: expected one row, got a quoted cell that goes on to line 3",
        ),
        ("account_id,as_of,label\nA-1,2026-01\n", "line 2: expected 3 cells, got 2"),
    ],
)
def test_invalid_labels_are_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecordFileError, match=words):
        read_labels(file)


def test_labels_in_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordFileError, match="ends in"):
        read_labels(tmp_path / "labels.txt")
