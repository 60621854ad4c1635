"""The monitor on simulated periods: without drift, with planted drift, and in harder times."""

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
from training.evaluate.drift import compare_samples, drift_sample
from training.evaluate.model_lookup import RegisteredVersion
from training.evaluate.unseen_accounts import evaluate_version
from training.examine.truth.population import simulation_of
from training.release.monitor.alerts import drift_breaches
from training.release.monitor.bounds import read_bounds
from training.release.monitor.monitor import MonitorFiles, run_monitor
from training.release.monitor.records import RecordFileError
from training.release.monitor.reference import decide_reference
from training.tracking.defaults import MODEL
from training.tracking.registry import fetch_bundle

pytestmark = STORE_WARNINGS
MONTH = datetime.date(2026, 10, 1)  # the first after the data that the model was fitted on
BOUNDS = read_bounds()


@pytest.fixture(scope="module")
def served(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("served")
    return load_bundle(fetch_bundle(kept.store, MODEL, kept.report.version, folder))


def version_1(kept: Kept) -> RegisteredVersion:
    return RegisteredVersion(kept.store, MODEL, "1")


def simulate_statements(simulated: Path, folder: Path, **changes: float) -> pl.DataFrame:
    """The statements of 1,400 accounts half a year later, past due or not, as a service sees them.

    The accounts are the first ones of the simulation, or of one with changed settings.
    """
    own = simulation_of(simulated)
    config = replace(own, accounts=1400, months=43, **changes)  # type: ignore[arg-type]
    write(config, folder)
    return load(folder).statements


def select_risky(some: list[str], count: int) -> list[str]:
    """The lines of the decisions with the highest probabilities."""
    by_risk = sorted(some, key=lambda text: -float(json.loads(text)["probability"]))
    return by_risk[:count]


@pytest.fixture(scope="module")
def calm(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """The statements of a period without drift."""
    return simulate_statements(simulated, tmp_path_factory.mktemp("calm"))


@pytest.fixture(scope="module")
def calm_lines(calm: pl.DataFrame, served: Bundle) -> list[str]:
    return lines(calm, served, MONTH)


def test_a_healthy_month_is_within_bounds_and_labels_confirm_the_estimate(
    kept: Kept, simulated: Path, calm: pl.DataFrame, calm_lines: list[str], tmp_path: Path
) -> None:
    records = write_lines(tmp_path / "r.jsonl", calm_lines)
    labels = tmp_path / "labels.parquet"
    of_nobody = labels_of(calm, MONTH).head(2).with_columns(account_id=pl.Series(["x", "y"]))
    pl.concat([labels_of(calm, MONTH), of_nobody]).write_parquet(labels)
    found = run_monitor(MonitorFiles(records, simulated, labels), version_1(kept))
    assert "2 labels left out: there is no decision on the account and month" in found.notes
    assert (found.code, found.breaches) == (0, ())
    bases = found.performance["basis"].unique(maintain_order=True)
    assert bases.to_list() == ["estimated", "realised"]
    in_default = calm.filter((pl.col("month") == MONTH) & (pl.col("days_past_due") >= 60)).height
    assert in_default > 20
    # A label is defined for accounts that are not in default.
    decided = len(calm_lines)
    counts = set(found.performance["accounts"])
    assert counts == {decided, decided - in_default}
    assert f"{in_default} labels left out: the account was in default at as_of" in found.notes
    aucs = found.performance.filter(measure="auc")
    estimated = aucs.filter(basis="estimated").row(0, named=True)
    realised = aucs.filter(basis="realised").row(0, named=True)
    assert estimated["low"] <= realised["value"] <= estimated["high"]
    report = json.loads(found.json)
    assert (report["status"], report["breaches"], report["months"]) == (0, [], "2026-10")
    assert len(report["drift"]) == found.drift.height
    assert found.page.startswith("# Monitor: within bounds")


@pytest.mark.slow
def test_without_accounts_past_due_in_the_reference_a_healthy_month_would_alarm(
    kept: Kept, simulated: Path, calm_lines: list[str], tmp_path: Path
) -> None:
    """The control: against the labelled hold-out, the accounts past due alone are a drift."""
    records = write_lines(tmp_path / "r.jsonl", calm_lines)
    found = run_monitor(MonitorFiles(records, simulated), version_1(kept))
    served, source, config = evaluate_version(simulated, kept.store, MODEL, "1")
    names = served.bundle.features
    hold_out = drift_sample(served, names)
    reference = decide_reference(source, config, served.bundle).sample(names)
    assert "account_past_due" in reference.first_reasons
    assert "account_past_due" not in hold_out.first_reasons
    table = compare_samples(names, hold_out, reference)
    breaches = drift_breaches("", table, (len(served.label), len(reference.log_odds)), BOUNDS)
    assert "first reason" in {breach.name for breach in breaches}
    assert found.code == 0


@pytest.mark.slow
def test_planted_drift_is_found(
    kept: Kept, simulated: Path, calm_lines: list[str], tmp_path: Path
) -> None:
    risky = select_risky(calm_lines, len(calm_lines) // 2)
    records = write_lines(tmp_path / "r.jsonl", risky)
    found = run_monitor(MonitorFiles(records, simulated), version_1(kept))
    assert found.code == 1
    assert ("log_odds", "psi") in {(breach.name, breach.measure) for breach in found.breaches}
    assert json.loads(found.json)["status"] == 1
    assert "## Beyond bounds" in found.page


@pytest.mark.slow
def test_harder_times_are_found_when_labels_arrive(
    kept: Kept, simulated: Path, served: Bundle, tmp_path: Path
) -> None:
    hard = simulate_statements(simulated, tmp_path / "hard", shock_rate=6.0)
    records = write_lines(tmp_path / "r.jsonl", lines(hard, served, MONTH))
    labels = tmp_path / "labels.csv"
    labels_of(hard, MONTH).write_csv(labels)
    found = run_monitor(MonitorFiles(records, simulated, labels), version_1(kept))
    assert "realised rate" in {breach.name for breach in found.breaches}
    realised = found.performance.filter(basis="realised", measure="rate").row(0, named=True)
    assert realised["low"] > realised["reference"] + BOUNDS.rate_gap


@pytest.mark.slow
def test_without_requests_only_score_and_reasons_are_compared(
    kept: Kept, simulated: Path, calm: pl.DataFrame, served: Bundle, tmp_path: Path
) -> None:
    few = calm["account_id"].unique().sort().head(80)
    some = calm.filter(pl.col("account_id").is_in(few.implode()))
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


@pytest.mark.slow
def test_the_exit_code_is_for_a_scheduler(
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
    bounds.write_text(text.replace("feature_psi = 0.25", "feature_psi = 2.0"), encoding="utf-8")
    page, data = tmp_path / "reports" / "august.md", tmp_path / "reports" / "august.json"
    folders = ["--data", str(simulated), "--store", str(kept.store.folder)]
    command = ["monitor", str(records), *folders, "--version", "1"]
    command += ["--report", str(tmp_path / "reports" / "august")]
    assert main([*command, "--bounds", str(bounds)]) == 0
    assert "within bounds" in capsys.readouterr().out
    assert json.loads(data.read_text("utf-8"))["status"] == 0
    assert page.exists()

    strict = text.replace("score_psi = 0.20", "score_psi = 0.0")
    bounds.write_text(strict.replace("false_alarm = 0.01", "false_alarm = 0.5"), encoding="utf-8")
    write_lines(records, select_risky(calm_lines, 200))
    assert main([*command, "--bounds", str(bounds)]) == 1
    assert "log_odds: psi" in capsys.readouterr().out

    write_lines(records, ["{"])
    data.unlink()
    assert main(command) == 2
    assert "r.jsonl:1" in capsys.readouterr().err
    assert not data.exists()


def test_other_data_are_refused(
    kept: Kept, simulated: Path, calm_lines: list[str], tmp_path: Path
) -> None:
    write(replace(simulation_of(simulated), accounts=300), tmp_path / "other")
    records = write_lines(tmp_path / "r.jsonl", calm_lines[:5])
    with pytest.raises(DataError, match="got other data"):
        run_monitor(MonitorFiles(records, tmp_path / "other"), version_1(kept))


def test_an_exported_request_has_the_window_of_the_decision(
    calm: pl.DataFrame, calm_lines: list[str]
) -> None:
    request = json.loads(calm_lines[0])["asked"]
    window = select_windows(calm, MONTH).filter(account_id=request["account_id"])
    months = [statement["month"] for statement in request["statements"]]
    assert months == [f"{month:%Y-%m}" for month in window["month"]]
