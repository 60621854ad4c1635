"""What it costs to import the schemas."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

HEAVY = {"sqlalchemy", "bentoml", "numba"}
IMPORT_ALL = """
import importlib, json, pkgutil, sys
package = importlib.import_module({package!r})
names = [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(json.dumps([names, sorted(name for name in sys.modules if "." not in name)]))
"""


def import_all(package: str) -> tuple[set[str], set[str]]:
    """Import every module of a package in a new process.

    Returns the names of these modules, and of all top-level modules that are loaded then.
    """
    code = IMPORT_ALL.format(package=package)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    modules, loaded = json.loads(run.stdout)
    return set(modules), set(loaded)


def test_schemas_load_no_database_no_framework_and_no_compiler() -> None:
    modules, loaded = import_all("serving.schemas")
    assert modules >= {"serving.schemas.decision", "serving.schemas.review"}
    assert "pydantic" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.torture
@pytest.mark.parametrize("package", ["serving.api"])
def test_a_package_that_runs_decisions_loads_them_all(package: str) -> None:
    """The control: the same walk finds the heavy libraries where they are used."""
    _, loaded = import_all(package)
    assert loaded >= HEAVY
