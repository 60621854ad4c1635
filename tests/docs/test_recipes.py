"""The three recipes of docs/service/recipes.md, applied to a copy of the project."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from features.catalogue import BY_NAME
from tests.support.paths import ROOT
from tests.support.project_copies import copy_packages

pytestmark = pytest.mark.slow  # it fits a model in a copy of the project

PROGRAM = ROOT / "tests" / "support" / "follow_recipes.py"
POLICY = Path("serving", "decision", "config", "policy.toml")
REASONS = Path("serving", "decision", "config", "reasons.toml")
SPENDING = Path("features", "catalogue", "spending.py")


def recipe_blocks() -> list[str]:
    """The page's fenced blocks, in order: the feature, the text, the rule."""
    page = (ROOT / "docs" / "service" / "recipes.md").read_text("utf-8")
    return re.findall(r"```(?:python|toml)\n(.*?)```", page, flags=re.DOTALL)


def apply_recipes(project: Path) -> None:
    """Add each block to its file, as the page says."""
    feature, text, rule = recipe_blocks()
    spending = project / SPENDING
    declared = spending.read_text("utf-8").removesuffix(")\n")
    spending.write_text(f"{declared}{feature})\n", "utf-8")
    for name, block in ((REASONS, text), (POLICY, rule)):
        file = project / name
        file.write_text(f"{file.read_text('utf-8')}\n{block}", "utf-8")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/support/follow_recipes.py prints in a copy with the recipes."""
    project = tmp_path_factory.mktemp("recipes")
    copy_packages(project)
    apply_recipes(project)
    # -P and PYTHONPATH: Python imports this copy, not the installed project.
    run = subprocess.run(
        [sys.executable, "-P", str(PROGRAM)],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    printed: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return printed


def test_the_model_is_fitted_with_the_feature(results: dict[str, Any]) -> None:
    assert "cash_share_6" in results["features"]


def test_the_text_words_a_known_and_an_unknown_value(results: dict[str, Any]) -> None:
    known, unknown = results["sentences"]
    assert known == (
        "Of all you drew in the last 6 months, 80% was cash. "
        "For half of the comparison accounts it was 10% or less."
    )
    assert unknown.endswith("so we cannot tell how much of it is cash.")


def test_the_rule_decides_and_is_the_reason(results: dict[str, Any]) -> None:
    [sentence] = results["by_rule"]
    assert sentence.startswith("You drew cash in each of the last 12 months;")
    assert sentence.endswith("may be at most one monthly income, CNY 1,500.")


def test_the_project_itself_has_none_of_the_recipes() -> None:
    assert "cash_share_6" not in BY_NAME
    assert "cash_every_month" not in (ROOT / POLICY).read_text("utf-8")
