"""Data are simulated, ingested and labelled without the served decision and its libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

# Imports every module of a package but the excluded ones; prints what that loaded.
_IMPORT_ALL = """
import importlib, pkgutil, sys
import training.data
for module in pkgutil.walk_packages(training.data.__path__, "training.data."):
    if module.name not in sys.argv[1:]:
        importlib.import_module(module.name)
print("\\n".join(sys.modules))
"""
_FORBIDDEN = {"lightgbm", "numba", "serving.decision.pipeline", "serving.decision.policy"}


def loaded_modules(*excluded: str) -> set[str]:
    command = [sys.executable, "-c", _IMPORT_ALL, *excluded]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_no_module_of_data_loads_the_decision() -> None:
    loaded = loaded_modules("training.data.sample_request")
    assert {"training.data.censoring", "training.data.simulate.lender"} <= loaded
    assert not loaded & _FORBIDDEN


@pytest.mark.torture
def test_control_a_sample_request_is_decided() -> None:
    assert loaded_modules() >= _FORBIDDEN
