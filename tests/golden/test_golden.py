"""A bundle that was written once still loads and still answers what it answered then."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from serving.decision.golden import load
from tests.support.paths import GOLDEN, ROOT


@pytest.mark.checked  # loading compiles the loops of advice
def test_the_golden_bundle_answers_as_it_did() -> None:
    """``load`` verifies every byte and runs the golden rows; a changed answer is a BundleError."""
    bundle = load(GOLDEN)
    assert bundle.digest == (GOLDEN / "bundle.sha256").read_text(encoding="utf-8").strip()


def test_its_rows_show_the_actions() -> None:
    answers = json.loads((GOLDEN / "golden.json").read_text("utf-8"))["answers"]
    assert len(answers) >= 8
    assert {"keep", "reduce", "review", "suspend"} <= {answer["action"] for answer in answers}


LOADED = """
import pathlib, sys
from serving.decision.golden import load, load_without_advice
from features.program import ahead
from serving.decision.advice.ahead import judge, roll
from serving.decision.policy.compiled import months
loops = (ahead.run_ahead, roll.write_finances, roll.roll_all, months.decide_months)
loops += (judge.judge_plans, judge.judge_courses)
load_without_advice(pathlib.Path(sys.argv[1]))
before = [len(loop.signatures) for loop in loops]
load(pathlib.Path(sys.argv[1]))
print(before, [len(loop.signatures) for loop in loops])
"""


@pytest.mark.integration
def test_a_loaded_bundle_has_the_loops_of_advice_compiled() -> None:
    """In a process of its own: here other tests have compiled them."""
    command = [sys.executable, "-c", LOADED, str(GOLDEN)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.check_output(command, env=environment, text=True)
    assert out.strip() == "[0, 0, 0, 0, 0, 0] [1, 1, 1, 1, 1, 1]"
