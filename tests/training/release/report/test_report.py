"""The report on a registered model, as the command writes it."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from tests.training.conftest import STORE_WARNINGS, Kept
from training.__main__ import main
from training.release.report.report import ARTIFACT, ReportConfig, Stage, report
from training.tracking.store import Store

pytestmark = STORE_WARNINGS
TITLES = (
    "The model",
    "Performance",
    "Calibration",
    "The effect of each feature",
    "Reasons",
    "The way back",
    "Fairness",
    "Policy",
    "Stability",
    "How it was fitted",
)


@pytest.mark.slow
def test_the_run_has_a_copy_of_the_file(
    simulated: Path,
    another_store: Store,
    kept: Kept,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stages: list[str] = []
    file = tmp_path / "reports" / "v1.html"
    config = ReportConfig(model=f"v{kept.report.version}")
    done = report(simulated, another_store, file, config, stages.append)
    assert stages == list(Stage)
    assert file.read_text("utf-8") == done.text
    assert done.run == kept.report.run
    mlflow.set_tracking_uri(another_store.uri)
    assert mlflow.artifacts.load_text(f"runs:/{done.run}/{ARTIFACT}") == done.text
    for title in TITLES:
        assert f">{title}</h2>" in done.text
    assert kept.report.bundle in done.text
    assert "&lt;built-in" not in done.text
    folders = ["--data", str(simulated), "--store", str(another_store.folder)]
    assert main(["report", "nothing", *folders]) == 2
    assert "'nothing' is no alias or version" in capsys.readouterr().err
