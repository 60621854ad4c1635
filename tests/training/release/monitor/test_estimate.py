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
from tests.support.paths import ROOT
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import select_windows, soon_after
from training.evaluate.drift import drift_table
from training.evaluate.holdout import evaluate, select_hold_out
from training.release.monitor.alerts import drift_breaches, performance_breaches
from training.release.monitor.bounds import read_bounds
from training.release.monitor.estimate import estimated, realised
from training.release.monitor.records import RecordFileError, read_labels, read_records

MONTH = datetime.date(2026, 8, 1)


@pytest.fixture(scope="module")
def some(source: Source) -> pl.DataFrame:
    """The statements of sixty accounts."""
    there = source.statements.filter((pl.col("month") == MONTH) & (pl.col("days_past_due") < 60))[
        "account_id"
    ].head(60)
    return source.statements.filter(pl.col("account_id").is_in(there.implode()))


@pytest.fixture(scope="module")
def written(some: pl.DataFrame, bundle: Bundle) -> list[str]:
    return lines(some, bundle, MONTH)


def value(table: pl.DataFrame, measure: str) -> tuple[Any, Any, Any]:
    return table.filter(measure=measure).select("value", "low", "high").row(0)


def test_the_estimate_foretells_what_labels_say_where_probabilities_are_right() -> None:
    random = np.random.default_rng(2)
    inside = dict.fromkeys(("auc", "brier", "rate"), 0)
    apart = dict.fromkeys(inside, 0.0)
    for seed in range(20):
        p = random.beta(0.4, 6.0, 800).clip(1e-6, 1 - 1e-6)
        label = (random.random(800) < p).astype(float)
        told, seen = estimated(p, seed), realised(label, p, seed)
        for measure in inside:
            _, low, high = value(told, measure)
            inside[measure] += low <= value(seen, measure)[0] <= high
            apart[measure] += (value(told, measure)[0] - value(seen, measure)[0]) / 20
    assert all(hits >= 17 for hits in inside.values()), inside
    assert all(abs(mean) < 0.02 for mean in apart.values()), apart


def test_on_simulated_accounts_it_foretells_what_came(bundle: Bundle, source: Source) -> None:
    made = evaluate("champion", bundle, select_hold_out(source, DataConfig()))
    told, seen = estimated(made.probability), realised(made.label, made.probability)
    for measure in ("auc", "brier"):
        _, low, high = value(told, measure)
        assert low <= value(seen, measure)[0] <= high


def test_it_cannot_see_that_the_same_accounts_default_more_often_and_labels_can() -> None:
    random = np.random.default_rng(2)
    p = random.beta(0.4, 6.0, 3000).clip(1e-6, 0.49)
    label = (random.random(3000) < 2 * p).astype(float)
    _, _, high = value(estimated(p), "rate")
    assert value(realised(label, p), "rate")[1] > high


def test_one_label_has_no_ranking() -> None:
    seen = realised(np.zeros(50), np.full(50, 0.1))
    assert value(seen, "auc") == (None, None, None)
    assert value(seen, "rate")[:2] == (0, 0)
    assert value(estimated(np.full(20, 1e-9)), "auc")[1:] == (None, None)


def test_records_tell_what_was_decided_and_from_what(
    written: list[str], some: pl.DataFrame, bundle: Bundle, tmp_path: Path
) -> None:
    records = read_records(write_lines(tmp_path / "r.jsonl", written), bundle.digest)
    assert (records.months, records.with_asked, sum(records.left_out.values())) == (
        [MONTH],
        True,
        0,
    )
    decisions = decide_many(select_windows(some, MONTH), bundle, soon_after(MONTH))
    rows = records.of(MONTH)
    assert rows["account_id"].to_list() == [d.account_id for d in decisions]
    assert rows["probability"].to_list() == [d.probability for d in decisions]
    assert rows["first_reason"].to_list() == [
        d.reasons[0].code if d.reasons else "" for d in decisions
    ]
    there, here = build(select_windows(some, MONTH)), records.features_of(MONTH)
    assert here.accounts.equals(there.accounts)
    np.testing.assert_array_equal(here.values, there.values)


def test_what_is_left_out_is_counted(written: list[str], bundle: Bundle, tmp_path: Path) -> None:
    first = json.loads(written[0])
    other = first | {"bundle": "0" * 64}
    erased = first | {"erased": True, "probability": None, "reasons": None, "asked": None}
    again = first | {"decided_at": "2026-08-30T00:00:00.000000Z", "probability": 0.5}
    changed = [json.dumps(one) for one in (again, other, erased)]
    records = read_records(write_lines(tmp_path / "r.jsonl", [*changed, *written]), bundle.digest)
    assert records.left_out == {"other bundles": 1, "erased": 1, "decided again": 1}
    assert records.rows.filter(account_id=first["asked"]["account_id"])[
        "probability"
    ].to_list() == [0.5]
    with pytest.raises(RecordFileError, match="got none of 1: 1 are of other bundles"):
        read_records(write_lines(tmp_path / "o.jsonl", changed[1:2]), bundle.digest)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: "{", "r.jsonl:2"),
        (lambda one: "[1]", "r.jsonl:2"),
        (
            lambda one: json.dumps({k: v for k, v in one.items() if k != "asked"}),
            "no field 'asked'",
        ),
        (lambda one: json.dumps(one | {"probability": 1.5}), "probability is 1.5"),
        (lambda one: json.dumps(one | {"probability": "0.5"}), "probability is '0.5'"),
        (lambda one: json.dumps(one | {"as_of": "soon"}), "r.jsonl:2"),
        (lambda one: json.dumps(one | {"tenant": None}), "tenant is None"),
        (lambda one: json.dumps(one | {"tenant": "another"}), "decisions of one tenant"),
    ],
)
def test_a_file_that_is_no_export_is_refused(
    written: list[str],
    bundle: Bundle,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], str],
    told: str,
) -> None:
    file = write_lines(tmp_path / "r.jsonl", [written[0], change(json.loads(written[1]))])
    with pytest.raises(RecordFileError, match=told):
        read_records(file, bundle.digest)


def test_no_file_and_an_empty_one_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(RecordFileError, match="JSON lines"):
        read_records(tmp_path / "none.jsonl", bundle.digest)
    with pytest.raises(RecordFileError, match="an empty file"):
        read_records(write_lines(tmp_path / "r.jsonl", []), bundle.digest)


@pytest.mark.parametrize(
    "change",
    [
        lambda statements: [*statements[:-1], statements[-1] | {"balance": "much"}],
        lambda statements: [*statements[:-1], statements[-1] | {"credit_limit": -1.0}],
        lambda statements: statements[:-1],
        lambda statements: [1],
    ],
)
def test_statements_that_are_none_are_refused(
    written: list[str], bundle: Bundle, tmp_path: Path, change: Callable[[list[Any]], list[Any]]
) -> None:
    one = json.loads(written[0])
    one["asked"]["statements"] = change(one["asked"]["statements"])
    records = read_records(write_lines(tmp_path / "r.jsonl", [json.dumps(one)]), bundle.digest)
    with pytest.raises(RecordFileError, match="records of 2026-08"):
        records.features_of(MONTH)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_labels_are_read_from_either(source: Source, tmp_path: Path, suffix: str) -> None:
    labels = labels_of(source.statements, datetime.date(2026, 1, 1))
    file = tmp_path / f"labels.{suffix}"
    labels.write_parquet(file) if suffix == "parquet" else labels.write_csv(file)
    assert read_labels(file).equals(labels.with_columns(pl.col("label").cast(pl.Float64)))
    (tmp_path / "months.csv").write_text("account_id,as_of,label\nA-1,2026-01,1\n")
    assert read_labels(tmp_path / "months.csv").row(0) == ("A-1", datetime.date(2026, 1, 1), 1.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("account_id,label\nA-1,1\n", "expected the columns"),
        ("account_id,as_of,label\nA-1,2026-01,2\n", "labels of 0 or 1"),
        ("account_id,as_of,label\nA-1,2026-01,\n", "labels of 0 or 1"),
        ("account_id,as_of,label\nA-1,soon,1\n", "Parquet or CSV"),
        ("account_id,as_of,label\nA-1,2026-01,1\nA-1,2026-01-01,0\n", "one label an account"),
        ("", "Parquet or CSV"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(RecordFileError, match=told):
        read_labels(tmp_path / "labels.csv")
    with pytest.raises(RecordFileError, match="ends in"):
        read_labels(tmp_path / "labels.txt")


def test_bounds_are_read_strictly(tmp_path: Path) -> None:
    file = tmp_path / "bounds.toml"
    text = (ROOT / "training" / "release" / "monitor" / "bounds.toml").read_text("utf-8")
    file.write_text(text)
    assert read_bounds(file) == read_bounds()
    for changed, told in (
        (text.replace("auc_drop", "auc_dorp"), "auc_drop"),
        (text + "more = 1\n", "unknown key"),
        (text.replace("feature_psi = 0.25", "feature_psi = -1"), "Bounds.feature_psi"),
        (text.replace("feature_psi = 0.25", "feature_psi = true"), "a finite number"),
        ("[", "expected TOML"),
    ):
        file.write_text(changed)
        with pytest.raises(ValueError, match=told):
            read_bounds(file)


def test_drift_is_judged_beyond_the_bound_and_beyond_chance(bundle: Bundle, source: Source) -> None:
    bounds = read_bounds()
    made = evaluate("champion", bundle, select_hold_out(source, DataConfig()))
    shuffled = np.random.default_rng(1).permutation(len(made.label))
    few = evaluate("few", bundle, made.hold_out.take(np.sort(shuffled[:40])))
    sizes = (len(made.label), 40)
    calm = drift_table(made, few)
    assert calm["psi"].max() > bounds.feature_psi  # type: ignore[operator]  # forty accounts move by themselves
    assert drift_breaches("2026-08", calm, sizes, bounds) == []
    risky = evaluate("risky", bundle, made.hold_out.take(np.sort(np.argsort(made.log_odds)[-600:])))
    found = drift_breaches("2026-08", drift_table(made, risky), (len(made.label), 600), bounds)
    assert {("log_odds", "psi"), ("log_odds", "wasserstein")} <= {
        (one.name, one.measure) for one in found
    }
    assert all(one.value > one.bound for one in found)


def row(
    basis: str, measure: str, told: tuple[float | None, ...], accounts: int = 1000
) -> pl.DataFrame:
    """``told`` is value, low, high and reference."""
    values = dict(zip(("value", "low", "high", "reference"), told, strict=True))
    return pl.DataFrame(
        [{"month": "2026-08", "basis": basis, "accounts": accounts, "measure": measure} | values]
    )


@pytest.mark.parametrize(
    ("basis", "measure", "told", "accounts", "broken"),
    [
        ("estimated", "auc", (0.70, 0.67, 0.73, 0.85), 1000, True),
        ("estimated", "auc", (0.70, 0.55, 0.86, 0.85), 1000, False),  # chance would do
        ("estimated", "auc", (0.82, 0.81, 0.83, 0.85), 1000, False),  # not by much
        ("estimated", "auc", (0.95, 0.94, 0.96, 0.85), 1000, False),
        ("estimated", "auc", (0.70, 0.67, 0.73, 0.85), 100, False),  # too few
        ("realised", "auc", (0.70, 0.67, 0.73, 0.85), 1000, True),
        ("realised", "auc", (None, None, None, 0.85), 1000, False),
        ("realised", "rate", (0.10, 0.09, 0.11, 0.05), 1000, True),
        ("realised", "rate", (0.02, 0.01, 0.03, 0.08), 1000, True),
        ("realised", "rate", (0.10, 0.04, 0.16, 0.05), 1000, False),
        # of the mix, not of the model
        ("estimated", "rate", (0.10, 0.09, 0.11, 0.05), 1000, False),
        ("realised", "brier", (0.10, 0.09, 0.11, 0.05), 1000, False),
    ],
)
def test_performance_is_judged_beyond_the_bound_and_its_interval(
    basis: str, measure: str, told: tuple[float | None, ...], accounts: int, broken: bool
) -> None:
    assert bool(performance_breaches(row(basis, measure, told, accounts), read_bounds())) == broken
