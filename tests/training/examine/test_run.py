"""The whole examination, small, as a run in a store."""

from __future__ import annotations

import datetime
from pathlib import Path

import mlflow
import polars as pl
import pytest

from tests.training.conftest import STORE_WARNINGS, Kept, copy_of
from training.data.config import DataError
from training.data.simulate.config import SimulationConfig
from training.examine.page import FIGURES, SECTIONS, ExaminedVersion, page
from training.examine.run import ExaminationResult, Stage, metrics, run_examination
from training.examine.truth.population import ExamineConfig, draw_population, simulation_of
from training.tracking.store import Store, TrackingError

pytestmark = [*STORE_WARNINGS, pytest.mark.slow]
CONFIG = ExamineConfig(accounts=900, seed=99, futures=6, refits=1, seeds=1)
NAME = "limit-reduction"


@pytest.fixture(scope="module")
def store(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return copy_of(kept.store, tmp_path_factory.mktemp("examined") / "mlruns")


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def findings(simulated: Path, store: Store, kept: Kept, told: list[str]) -> ExaminationResult:
    return run_examination(simulated, store, NAME, kept.report.version, CONFIG, told.append)


def test_everything_found_is_in_the_run(
    findings: ExaminationResult, store: Store, told: list[str]
) -> None:
    assert told == list(Stage)
    run = store.client().get_run(findings.run)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == pytest.approx(metrics(findings.tables))
    assert run.data.params["examine.futures"] == "6"
    assert run.data.tags["examined.bundle"] == findings.examined.bundle
    files = {
        f.path
        for folder in ("tables", "figures")
        for f in store.client().list_artifacts(findings.run, folder)
    }
    assert {f"tables/{name}.csv" for name in findings.tables} <= files
    assert {
        "figures/recovery_path.png",
        "figures/fidelity.png",
        "figures/deletion.png",
        "figures/stability.png",
        "figures/validity_by_month.png",
    } <= files
    mlflow.set_tracking_uri(store.uri)
    assert mlflow.artifacts.load_text(f"runs:/{findings.run}/examination.md") == findings.page


def test_the_page_tells_every_table_and_what_was_examined(
    findings: ExaminationResult, simulated: Path
) -> None:
    world = draw_population(simulation_of(simulated), CONFIG)
    assert page(findings.examined, world, CONFIG, findings.tables) == findings.page
    assert f"bundle `{findings.examined.bundle[:12]}`" in findings.page
    assert world.digest[:16] in findings.page
    assert findings.page.count("\n## ") == len(findings.tables)
    # An interval whose ends are equal, as of a rate that is 0, is left out.
    uncertain = findings.tables["fidelity"].filter(pl.col("top_1_low") < pl.col("top_1_high"))
    assert not uncertain.is_empty()
    for row in uncertain.iter_rows(named=True):
        interval = f"[{row['top_1_low']:.3f}, {row['top_1_high']:.3f}]"
        assert f"{row['top_1']:.3f} {interval}" in findings.page
    assert "_low" not in findings.page


def test_less_margin_keeps_fewer_promises_that_come_sooner(findings: ExaminationResult) -> None:
    """The control of the whole measurement: advice that ought to be worse is seen to be."""
    rules = {row["rules"]: row for row in findings.tables["promises"].iter_rows(named=True)}
    served, bold, boldest = rules["as served"], rules["margin 0.0"], rules["both, margin 0.0"]
    assert bold["plans"] >= served["plans"]
    assert bold["months"] < served["months"]
    assert max(boldest["kept"], bold["kept"]) < served["kept"]
    # Who may go on with cash and new credit has less to do, and it may take longer.
    assert boldest["effort"] < bold["effort"] < served["effort"]
    assert served["kept"] == pytest.approx(findings.tables["validity"]["kept"][0])


def test_data_that_are_no_simulation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"simulation\.json: expected simulated data"):
        simulation_of(tmp_path)


def test_a_version_that_is_not_there_is_refused(simulated: Path, store: Store) -> None:
    with pytest.raises(TrackingError, match="expected a version"):
        run_examination(simulated, store, NAME, "77", CONFIG, lambda _: None)


def test_figures_beside_intervals_are_one_cell() -> None:
    table = pl.DataFrame(
        {"x": [0.5, None], "x_low": [0.25, None], "x_high": [0.75, None], "n": [3, 4]}
    )
    world = draw_population(SimulationConfig(accounts=40, months=20), ExamineConfig(accounts=40))
    assert world.as_of == datetime.date(2024, 11, 1)
    ways = pl.DataFrame({name: ["keep"] for name in FIGURES["treatment"]})
    tables = dict.fromkeys(SECTIONS, table) | {"treatment": ways}
    text = page(ExaminedVersion("m", "1", "b" * 64, 3), world, ExamineConfig(), tables)
    assert "| x | n |\n|---|---|\n| 0.500 [0.250, 0.750] | 3 |\n|  | 4 |\n" in text
