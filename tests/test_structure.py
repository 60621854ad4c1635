"""The structure's own promises: contracts name every module, and no module or function outgrows its
room.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SOURCES = [
    file
    for package in ("features", "serving", "training")
    for file in sorted((ROOT / package).rglob("*.py"))
]
CONTRACTS = {
    contract["name"].split(":")[0]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
}
# The modules of training that keep what they do in MLflow, through track alone.
KEEPS_RUNS = {
    f"training.{name}"
    for name in (
        "__main__", "commands", "comparing", "examination", "experiment", "lab", "models", "monitoring", "promotion",
        "registered", "reporting", "searched", "track", "tuning", "unseen", "verbs",
    )
}  # fmt: skip


def modules(package: str) -> set[str]:
    """The modules and packages right below a package."""
    found = list((ROOT / package.replace(".", "/")).iterdir())
    return {
        f"{package}.{path.stem}"
        for path in found
        if path.suffix == ".py" and path.stem != "__init__"
    } | {f"{package}.{path.name}" for path in found if (path / "__init__.py").exists()}


def test_the_contracts_name_every_module() -> None:
    hidden = set(
        CONTRACTS["training uses nothing of serving but the decision"]["forbidden_modules"]
    )
    assert hidden == modules("serving") - {"serving.decision"}
    light = set(CONTRACTS["a request needs none of training's libraries"]["source_modules"])
    assert light == modules("serving") - {"serving.operations.pack", "serving.__main__"}
    without_mlflow = set(CONTRACTS["one importer of MLflow in training"]["source_modules"])
    assert without_mlflow == modules("training") - KEEPS_RUNS
    without_numba = set(CONTRACTS["one importer of numba"]["source_modules"])
    others = modules("serving") - {"serving.decision"} | modules("serving.decision") - {
        "serving.decision.scoring.numba_cache"
    }
    assert without_numba == {"features", "training"} | others


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_or_function_is_too_long(file: Path) -> None:
    text = file.read_text("utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_every_package_is_packed() -> None:
    packages = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"][
            "packages"
        ]
    )
    assert packages >= {str(file.parent.relative_to(ROOT)).replace("/", ".") for file in SOURCES}


def test_the_lock_names_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in lock
    assert "--index" not in lock
    assert lock.count("--hash=sha256:") >= lock.count("==")
