"""docs/modelling/first_experiment.md, followed block by block in a copy of the project.

This takes minutes, so `make slow` runs it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
MOST_SECONDS = 600.0  # of machine time: what the page promises


def blocks() -> list[tuple[str, str]]:
    """The page's fenced blocks with their kinds, in order; those of Python that follow one another
    are one kernel's.
    """
    page = (ROOT / "docs" / "modelling" / "first_experiment.md").read_text("utf-8")
    found = re.findall(r"```(sh|python|catalogue)\n(.*?)```", page, flags=re.DOTALL)
    grouped = groupby(found, key=lambda block: block[0])
    return [(kind, "\n".join(block for _, block in several)) for kind, several in grouped]


def test_the_page_is_followed(tmp_path: Path) -> None:
    for package in ("features", "serving", "training"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in ("pyproject.toml", "README.md", "LICENSE", "requirements.lock"):
        shutil.copy(ROOT / file, tmp_path / file)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),  # this copy, and not the project that is installed
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
    }
    said, begun = [], time.monotonic()
    for kind, block in blocks():
        if kind == "catalogue":
            spending = tmp_path / "features" / "catalogue" / "spending.py"
            declared = spending.read_text("utf-8").removesuffix(")\n")
            spending.write_text(declared + block + ")\n", "utf-8")
            continue
        program = ["sh", "-e", "-c", block] if kind == "sh" else [sys.executable, "-c", block]
        run = subprocess.run(
            program,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
        )
        assert run.returncode == 0, f"{block}\n{run.stdout}\n{run.stderr}"
        said.append(run.stdout)
    assert time.monotonic() - begun < MOST_SECONDS
    whole = "\n".join(said)
    assert "shape: (4, 4)" in whole  # the measures of the first fit
    assert re.search(r"^(not shown to be )?better$", whole, re.MULTILINE)
    assert (tmp_path / "report.html").stat().st_size > 100_000
    models = [
        file.read_text("utf-8") for file in sorted((tmp_path / "mlruns").rglob("bundle/model.txt"))
    ]
    # before the idea, and after it
    assert sorted("cash_share_6" in text for text in models) == [False, True]
    assert "reduce" in said[-1]
    assert "The way back" in said[-1]
