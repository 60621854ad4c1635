from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from serving.decision.bundle import Bundle
from serving.decision.golden import load as load_bundle
from tests.support.decision_lines import labels_of, lines, write_lines
from tests.support.paths import ROOT
from tests.training.conftest import STORE_WARNINGS, Kept
from training.__main__ import main
from training.data.config import DataError
from training.data.dataset import load
from training.data.labels import select_windows
from training.data.simulate.output import write
from training.evaluate.model_lookup import RegisteredVersion
from training.examine.truth.population import simulation_of
from training.release.monitor.bounds import read_bounds
from training.release.monitor.monitor import MonitorFiles, run_monitor
from training.release.monitor.records import RecordFileError
from training.tracking.defaults import MODEL
from training.tracking.registry import fetch_bundle

pytestmark = STORE_WARNINGS
MONTH = datetime.date(2026, 8, 1)
# In the simulation nobody opens an account after its thirtieth month: whatever is not known of new
# accounts, is known of all.
CALM = replace(read_bounds(), feature_psi=0.9)


@pytest.fixture(scope="module")
def served(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(
        fetch_bundle(
            kept.store, "limit-reduction", kept.report.version, tmp_path_factory.mktemp("served")
        )
    )


def version_1(kept: Kept) -> RegisteredVersion:
    return RegisteredVersion(kept.store, MODEL, "1")


def lived(simulated: Path, folder: Path, **changes: float) -> pl.DataFrame:
    """The same lender's first 1,400 accounts half a year on, or another world's: statements of
    those not in default.
    """
    config = replace(simulation_of(simulated), accounts=1400, months=42, **changes)  # type: ignore[arg-type]
    write(config, folder)
    statements = load(folder).statements
    good = statements.filter((pl.col("month") == MONTH) & (pl.col("days_past_due") < 60)).select(
        "account_id"
    )
    return statements.join(good, on="account_id", how="semi", maintain_order="left")


@pytest.fixture(scope="module")
def calm(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    return lived(simulated, tmp_path_factory.mktemp("calm"))


@pytest.fixture(scope="module")
def calm_lines(calm: pl.DataFrame, served: Bundle) -> list[str]:
    return lines(calm, served, MONTH)


def test_a_calm_month_is_within_bounds_and_labels_stand_beside_the_estimate(
    kept: Kept, simulated: Path, calm: pl.DataFrame, calm_lines: list[str], tmp_path: Path
) -> None:
    records = write_lines(tmp_path / "r.jsonl", calm_lines)
    labels = tmp_path / "labels.parquet"
    labels_of(calm, MONTH).write_parquet(labels)
    found = run_monitor(MonitorFiles(records, simulated, labels), version_1(kept), CALM)
    assert (found.code, found.breaches) == (0, ())
    assert found.performance["basis"].unique(maintain_order=True).to_list() == [
        "estimated",
        "realised",
    ]
    assert found.performance["accounts"].unique().to_list() == [len(calm_lines)]
    told, seen = (
        found.performance.filter(basis=basis, measure="auc").row(0, named=True)
        for basis in ("estimated", "realised")
    )
    assert told["low"] <= seen["value"] <= told["high"]
    report = json.loads(found.json)
    assert (report["status"], report["breaches"], report["months"]) == (0, [], "2026-08")
    assert len(report["drift"]) == found.drift.height
    assert found.page.startswith("# Monitor: within bounds")


def test_planted_drift_is_found(
    kept: Kept, simulated: Path, calm_lines: list[str], tmp_path: Path
) -> None:
    risky = sorted(calm_lines, key=lambda one: -float(json.loads(one)["probability"]))[
        : len(calm_lines) // 2
    ]
    records = write_lines(tmp_path / "r.jsonl", risky)
    found = run_monitor(MonitorFiles(records, simulated), version_1(kept), CALM)
    assert found.code == 1
    assert ("log_odds", "psi") in {(breach.name, breach.measure) for breach in found.breaches}
    assert json.loads(found.json)["status"] == 1
    assert "## Beyond bounds" in found.page


def test_harder_times_are_found_when_labels_arrive(
    kept: Kept, simulated: Path, served: Bundle, tmp_path: Path
) -> None:
    hard = lived(simulated, tmp_path / "hard", shock_rate=6.0)
    records = write_lines(tmp_path / "r.jsonl", lines(hard, served, MONTH))
    labels = tmp_path / "labels.csv"
    labels_of(hard, MONTH).write_csv(labels)
    found = run_monitor(MonitorFiles(records, simulated, labels), version_1(kept), CALM)
    assert "realised rate" in {breach.name for breach in found.breaches}
    realised = found.performance.filter(basis="realised", measure="rate").row(0, named=True)
    assert realised["low"] > realised["reference"] + CALM.rate_gap


def test_without_what_was_asked_the_score_is_watched_alone(
    kept: Kept, simulated: Path, calm: pl.DataFrame, served: Bundle, tmp_path: Path
) -> None:
    some = calm.filter(
        pl.col("account_id").is_in(calm["account_id"].unique().sort().head(80).implode())
    )
    records = write_lines(tmp_path / "r.jsonl", lines(some, served, MONTH, with_asked=False))
    found = run_monitor(MonitorFiles(records, simulated), version_1(kept))
    assert set(found.drift["kind"]) == {"score", "reason"}
    assert any("without --asked" in note for note in found.notes)
    assert any("too few accounts" in note for note in found.notes)
    assert (found.verdict, found.code) == ("too few decisions to judge", 0)
    assert found.page.startswith("# Monitor: too few decisions to judge")
    labels = tmp_path / "labels.csv"
    labels_of(calm, MONTH).write_csv(labels)
    with pytest.raises(RecordFileError, match="--asked"):
        run_monitor(MonitorFiles(records, simulated, labels), version_1(kept))


def test_the_command_tells_a_scheduler(
    kept: Kept,
    simulated: Path,
    calm: pl.DataFrame,
    calm_lines: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    records = write_lines(tmp_path / "r.jsonl", calm_lines[:300])
    bounds = tmp_path / "bounds.toml"
    text = (ROOT / "training" / "release" / "monitor" / "bounds.toml").read_text("utf-8")
    bounds.write_text(text.replace("feature_psi = 0.25", "feature_psi = 2.0"))
    asked = [
        "monitor",
        str(records),
        "--data",
        str(simulated),
        "--store",
        str(kept.store.folder),
        "--version",
        "1",
    ]
    report = ["--report", str(tmp_path / "reports" / "august")]
    assert main([*asked, *report, "--bounds", str(bounds)]) == 0
    assert "within bounds" in capsys.readouterr().out
    assert json.loads((tmp_path / "reports" / "august.json").read_text("utf-8"))["status"] == 0
    assert (tmp_path / "reports" / "august.md").exists()
    bounds.write_text(
        text.replace("score_psi = 0.20", "score_psi = 0.0").replace(
            "false_alarm = 0.01", "false_alarm = 0.5"
        )
    )
    risky = sorted(calm_lines, key=lambda one: -float(json.loads(one)["probability"]))[:200]
    write_lines(records, risky)
    assert main([*asked, *report, "--bounds", str(bounds)]) == 1
    assert "log_odds: psi" in capsys.readouterr().out
    write_lines(records, ["{"])
    (tmp_path / "reports" / "august.json").unlink()
    assert main([*asked, *report]) == 2
    assert "r.jsonl:1" in capsys.readouterr().err
    assert not (tmp_path / "reports" / "august.json").exists()


def test_other_data_are_refused(
    kept: Kept, simulated: Path, calm_lines: list[str], tmp_path: Path
) -> None:
    write(replace(simulation_of(simulated), accounts=300), tmp_path / "other")
    records = write_lines(tmp_path / "r.jsonl", calm_lines[:5])
    with pytest.raises(DataError, match="got other data"):
        run_monitor(MonitorFiles(records, tmp_path / "other"), version_1(kept))


def test_a_window_is_what_was_decided_from(calm: pl.DataFrame, calm_lines: list[str]) -> None:
    first = json.loads(calm_lines[0])["asked"]
    seen = select_windows(calm, MONTH).filter(pl.col("account_id") == first["account_id"])
    assert [one["month"] for one in first["statements"]] == [
        f"{month:%Y-%m}" for month in seen["month"]
    ]
