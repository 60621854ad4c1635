"""The project's programs load LightGBM without libraries that they do not use."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from serving.decision.scoring import lightgbm_import
from tests.support.each import each
from tests.support.paths import ROOT

# As Python runs a module with -m; what comes after `main` is the program's.
_AS_PROGRAM = """
import importlib.util, sys
sys.modules["__main__"].__spec__ = importlib.util.find_spec(sys.argv[1])
"""
_LOADED = """
from serving.decision.scoring.lightgbm_import import lgb
import sys
print(*sorted({"lightgbm", "pandas", "sklearn"} & set(sys.modules)), lgb.Booster.__name__)
"""


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_program_of_the_project_loads_what_it_uses() -> None:
    assert run(_AS_PROGRAM + _LOADED, "serving.__main__") == "lightgbm Booster"


def test_what_was_hidden_can_be_imported_afterwards() -> None:
    later = "\nimport pandas\nprint(pandas.DataFrame.__name__)"
    printed = run(_AS_PROGRAM + _LOADED + later, "serving.__main__").splitlines()
    assert printed == ["lightgbm Booster", "DataFrame"]


@pytest.mark.slow  # loads scikit-learn and pandas
def test_in_a_notebook_lightgbm_is_whole() -> None:
    fits = "\nlgb.LGBMClassifier(n_estimators=1)"
    assert run(_LOADED + fits) == "lightgbm pandas sklearn Booster"


def test_every_program_exists() -> None:
    for program in each(lightgbm_import.PROGRAMS):
        assert importlib.util.find_spec(program) is not None
