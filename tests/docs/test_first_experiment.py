"""docs/modelling/first_experiment.md, followed block by block in a copy of the project.

This takes a minute, so `make slow` runs it: with fewer accounts and trees than the page, which
`make torture` follows as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.policies import POLICY_TEXT, without_control_arm
from tests.support.project_copies import copy_packages
from training.data.simulate.config import SimulationConfig
from training.fit.bundle import BundleConfig
from training.fit.config import FitConfig

pytestmark = pytest.mark.slow
PAGE = ROOT / "docs" / "modelling" / "first_experiment.md"
POLICY = Path("serving", "decision", "config", "policy.toml")
SIMULATION = Path("training", "data", "simulate", "config.py")
FIT = Path("training", "fit", "config.py")
BUNDLE = Path("training", "fit", "bundle.py")
MAX_SECONDS = 600.0  # for each block: more is a hang


def page_blocks() -> list[tuple[str, str]]:
    """The page's fenced blocks with their kinds, in order.

    Python blocks that follow each other are joined: they share one kernel.
    """
    blocks = re.findall(
        r"```(sh|python|catalogue)\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL
    )
    by_kind = groupby(blocks, key=lambda block: block[0])
    return [(kind, "\n".join(text for _, text in several)) for kind, several in by_kind]


def change_default(file: Path, before: str, after: str) -> None:
    text = file.read_text("utf-8")
    assert text.count(before) == 1, before
    file.write_text(text.replace(before, after), "utf-8")


def copy_project(target: Path, accounts: int) -> None:
    """A copy whose simulation has so many accounts by default.

    If they are fewer than the project's, the model has fewer trees and reference accounts too.
    """
    copy_packages(target)
    whole = SimulationConfig().accounts
    change_default(target / SIMULATION, f"accounts: int = {whole:_}", f"accounts: int = {accounts}")
    if accounts < whole:
        trees, references = FitConfig().trees, BundleConfig().reference_size
        change_default(target / FIT, f"trees: int = {trees}", "trees: int = 80")
        change_default(
            target / BUNDLE, f"reference_size: int = {references}", "reference_size: int = 200"
        )
    for file in ("pyproject.toml", "README.md", "LICENSE", "requirements.lock"):
        shutil.copy(ROOT / file, target / file)
    # The project's policy would leave the page's cut account alone in one run of a hundred.
    (target / POLICY).write_text(without_control_arm(POLICY_TEXT), "utf-8")


def add_feature(project: Path, block: str) -> None:
    """Add the page's feature at the end of its group, as the page says."""
    spending = project / "features" / "catalogue" / "spending.py"
    declared = spending.read_text("utf-8").removesuffix(")\n")
    spending.write_text(f"{declared}{block})\n", "utf-8")


def run_block(kind: str, block: str, project: Path) -> str:
    """What a block prints in the project."""
    program = ["sh", "-e", "-c", block] if kind == "sh" else [sys.executable, "-c", block]
    environment = {
        **os.environ,
        "PYTHONPATH": str(project),  # this copy, not the installed project
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "BENTOML_HOME": str(project / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
    }
    run = subprocess.run(
        program,
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=MAX_SECONDS,
        check=False,
    )
    assert run.returncode == 0, f"{block}\n{run.stdout}\n{run.stderr}"
    return run.stdout


def demo_commands() -> str:
    """What `make demo` runs before it packs the champion, with this interpreter."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    runs = "\t$(BIN)/python -m training"
    commands = [line for line in recipe[1].splitlines() if line.startswith(runs)]
    assert len(commands) == 4  # simulate, fit, promote, and request, which the page has too
    return "\n".join(commands[:3]).replace("\t$(BIN)/python", "python")


@pytest.mark.parametrize(
    "accounts",
    [
        8_000,
        pytest.param(SimulationConfig().accounts, marks=pytest.mark.torture),
    ],
)
def test_the_page_is_followed_after_the_demo(tmp_path: Path, accounts: int) -> None:
    copy_project(tmp_path, accounts)
    run_block("sh", demo_commands(), tmp_path)
    outputs = []
    for kind, block in page_blocks():
        if kind == "catalogue":
            add_feature(tmp_path, block)
        else:
            outputs.append(run_block(kind, block, tmp_path))

    printed = "\n".join(outputs)
    assert "shape: (5, 4)" in printed  # the metrics of the first fit
    assert re.search(r"^(not shown to be )?better$", printed, re.MULTILINE)
    assert "reduce" in outputs[-1]
    assert "The way back" in outputs[-1]
    assert (tmp_path / "report.html").stat().st_size > 100_000

    files = (tmp_path / "mlruns").rglob("bundle/model.txt")
    models = {file.read_text("utf-8") for file in files}
    # The demo's model, which the page's first fit makes again to the bit, and the one of the idea.
    assert sorted("cash_share_6" in model for model in models) == [False, True]
