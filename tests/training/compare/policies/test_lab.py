from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.training.conftest import STORE_WARNINGS, Kept
from training.__main__ import main
from training.compare.policies.frontier import PolicyLabError
from training.compare.policies.lab import Cap, LabConfig, run_lab
from training.evaluate.model_lookup import RegisteredVersion
from training.tracking.store import Store

pytestmark = STORE_WARNINGS


@pytest.mark.slow
def test_a_lab_is_kept_as_a_run_that_says_what_it_is(
    another_store: Store, kept: Kept, simulated: Path
) -> None:
    # With fewer futures the oracle's value is not told apart from 0, and has no share.
    config = LabConfig(max_good_cut=0.07, cut_offs=10, futures=40)
    said: list[str] = []
    cap = Cap(4.0, datetime.date(2026, 12, 1))
    found = run_lab(
        simulated,
        RegisteredVersion(another_store, "limit-reduction", kept.report.version),
        config,
        cap,
        said.append,
    )
    run = another_store.client().get_run(found.run)
    assert (
        run.info.run_name
        == "policy lab: version 1 of limit-reduction, at most 7.0% of good customers cut"
    )
    assert run.data.metrics["best_good_cut"] == found.best["good_cut"] <= 0.07
    assert 0 < run.data.metrics["oracle_share_expected"] < 1.2
    assert run.data.params["lab.max_good_cut"] == "0.07"
    client = another_store.client()
    places = {
        f.path
        for folder in ("", "tables", "figures")
        for f in client.list_artifacts(found.run, folder)
    }
    assert places >= {
        "policy_lab.md",
        "figures/policy_frontier.png",
        "tables/oracle.csv",
        "tables/cap.csv",
    }
    assert places >= {"tables/frontier.csv", "tables/points.csv", "tables/true_frontier.csv"}
    for part in (
        found.toml,
        "## Comparison with an oracle",
        "## A cap at 4 monthly incomes from 2026-12",
        "version 1",
    ):
        assert part.lower() in found.page.lower()
    assert len(said) == 4


@pytest.mark.slow
def test_the_command_prints_the_tables_and_refuses_what_cannot_be(
    another_store: Store, simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        "policy",
        "--data",
        str(simulated),
        "--store",
        str(another_store.folder),
        "--version",
        "1",
        "--quiet",
    ]
    quick = ["--set", "futures=0", "--set", "cut_offs=5"]
    page = tmp_path / "lab.md"
    assert main([*asked, *quick, "--max-good-cut", "0.08", "--page", str(page)]) == 0
    out = capsys.readouterr().out
    assert "served" in out
    assert "at most 8.0% of good customers cut" in out
    assert "oracle" not in out
    assert page.read_text("utf-8").startswith("# What policy could do")
    for wrong, told in (
        (["--max-good-cut", "0"], "hard rules"),
        (["--max-good-cut", "2"], "expected 0.0 to 1.0"),
        (["--cap-income-multiple", "4"], "both or neither"),
        (["--cap-income-multiple", "-4", "--from", "2026-12"], "above 0"),
        (["--version", "9"], "expected a version"),
    ):
        assert main([*asked, *quick, *wrong]) == 2
        assert told in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*asked, "--cap-income-multiple", "4", "--from", "soon"])
    assert "a month such as 2026-09" in capsys.readouterr().err


def test_nothing_is_kept_of_a_lab_that_cannot_answer(another_store: Store, simulated: Path) -> None:
    before = len(another_store.client().search_runs([another_store.experiment_id()]))
    with pytest.raises(PolicyLabError):
        run_lab(
            simulated,
            RegisteredVersion(another_store, "limit-reduction", "1"),
            LabConfig(max_good_cut=0.0, cut_offs=3, futures=0),
        )
    assert len(another_store.client().search_runs([another_store.experiment_id()])) == before
