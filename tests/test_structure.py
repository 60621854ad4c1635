"""The structure of the code: sizes, density, packages, imports and dependencies."""

from __future__ import annotations

import ast
import graphlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

from tests.support.code_measures import nodes_a_line, sources
from tests.support.each import each
from tests.support.paths import ROOT

PACKAGES = ("features", "serving", "training")
SOURCES = sources(*PACKAGES)
# Nodes of the syntax tree a code line.  Lower it when the code has become airier; never raise it.
MAX_NODES_A_LINE = 7.8
MAX_ENTRIES = 12  # a folder
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# A file that breaks the contract of this number in pyproject.toml.
VIOLATIONS = {
    "1": ("features/planted.py", "import serving.decision"),
    "2": ("serving/schemas/planted.py", "import serving.api"),
    "3": ("serving/decision/reasons/planted.py", "import serving.decision.policy"),
    "4": ("training/data/planted.py", "import training.fit"),
    "5": ("training/fit/planted.py", "import serving.schemas"),
    "6a": ("serving/decision/planted.py", "import pydantic"),
    "6b": ("training/fit/planted.py", "import mlflow"),
    "7": ("training/fit/planted.py", "import numba"),
    "8": ("serving/portfolio/planted.py", "import distributed"),
}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_or_function_is_too_long(file: Path) -> None:
    text = file.read_text("utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_no_folder_has_too_many_entries() -> None:
    for folder in each({file.parent for file in SOURCES}):
        names = {e.name for e in folder.iterdir() if e.is_file() or any(e.rglob("*.py"))}
        assert len(names - {"__init__.py"}) <= MAX_ENTRIES, folder


def test_lines_have_air() -> None:
    assert nodes_a_line(SOURCES) <= MAX_NODES_A_LINE


def test_every_text_file_is_opened_in_utf_8() -> None:
    """Ruff's PLW1514 finds the calls whose object it knows to be a path; this finds the others."""
    for file in each([*SOURCES, *sources("tests")]):
        assert locale_dependent(file.read_text("utf-8")) == [], file


def test_a_text_file_in_the_locale_s_encoding_would_be_found() -> None:
    assert locale_dependent("read().read_text()\nx.write_text(y)\nfdopen(1, 'w')") == [1, 2, 3]
    assert locale_dependent("x.read_text('utf-8')\nx.write_text(y, encoding=z)") == []


def locale_dependent(code: str) -> list[int]:
    """The lines that read or write text without saying in which encoding."""
    least = {"read_text": 1, "write_text": 2, "fdopen": 3, "TextIOWrapper": 2}
    lines: list[int] = []
    if not any(name in code for name in least):
        return lines  # most files, which need not be parsed
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call) or called_name(node) not in least:
            continue
        names = {keyword.arg for keyword in node.keywords}
        is_binary = any(ast.unparse(argument) in ("'rb'", "'wb'") for argument in node.args)
        few = len(node.args) < least[called_name(node)]
        if few and "encoding" not in names and not is_binary:
            lines.append(node.lineno)
    return lines


def called_name(call: ast.Call) -> str:
    """The last name of what is called; empty if it has none."""
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def test_every_package_is_a_package() -> None:
    """setuptools finds packages by their ``__init__.py``."""
    for file in each(SOURCES):
        assert (file.parent / "__init__.py").exists(), file


def test_the_lock_names_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in lock
    assert "--index" not in lock
    assert lock.count("--hash=sha256:") >= lock.count("==")


# Imports


def test_no_imports_are_in_a_circle() -> None:
    """Imports inside functions count too; imports for type checkers alone do not."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()  # CycleError names the modules


def test_a_circle_would_be_found() -> None:
    with pytest.raises(graphlib.CycleError, match="cycle"):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


@pytest.mark.parametrize(
    ("packages", "extras"),
    [
        (("features", "serving"), ()),
        (("training",), ("train",)),
    ],
    ids=["served", "training"],
)
def test_what_is_imported_is_declared(packages: tuple[str, ...], extras: tuple[str, ...]) -> None:
    """A library that comes by way of another one may go with it."""
    declared = declared_distributions(extras)
    distributions = importlib.metadata.packages_distributions()
    for library in each(imported_libraries(packages)):
        assert {normalized(name) for name in distributions[library]} & declared, library


def declared_distributions(extras: tuple[str, ...]) -> set[str]:
    requirements = list(PYPROJECT["project"]["dependencies"])
    for extra in extras:
        requirements += PYPROJECT["project"]["optional-dependencies"][extra]
    names = (re.match(r"[\w.-]+", requirement) for requirement in requirements)
    return {normalized(name.group()) for name in names if name}


def imported_libraries(packages: tuple[str, ...]) -> set[str]:
    """Top-level names of other projects that these packages import when they run."""
    graph = grimp.build_graph(
        *PACKAGES, include_external_packages=True, exclude_type_checking_imports=True
    )
    # ``python -m serving pack`` reads MLflow's registry, the peers are compared if they are
    # installed, and Dask spreads work; all say which extra installs what is missing.
    optional = (
        "serving.operations.pack",
        "serving.portfolio.spread.connect",
        "training.compare.peers.",
    )
    ours = [module for module in graph.modules if not module.startswith(optional)]
    libraries = set()
    for module in ours:
        if module.split(".")[0] in packages:
            imported = graph.find_modules_directly_imported_by(module)
            libraries |= {name.split(".")[0] for name in imported}
    return libraries - set(PACKAGES) - sys.stdlib_module_names


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_contract_has_a_violation_here() -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    assert [contract["name"].split()[0] for contract in contracts] == list(VIOLATIONS)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages, in which no contract is broken."""
    folder = tmp_path_factory.mktemp("copied")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package)
    shutil.copy(ROOT / "pyproject.toml", folder)
    assert broken_contracts(folder) == []
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", VIOLATIONS)
def test_a_contract_breaks_on_a_planted_violation(number: str, copied: Path) -> None:
    place, statement = VIOLATIONS[number]
    planted = copied / place
    assert not planted.exists()
    planted.write_text(f'"""Planted."""\n\n{statement}\n', encoding="utf-8")
    try:
        assert number in broken_contracts(copied)
    finally:
        planted.unlink()


def broken_contracts(folder: Path) -> list[str]:
    """The numbers of the contracts that ``lint-imports`` reports as broken."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "Contracts:" in run.stdout, run.stdout + run.stderr
    return re.findall(r"^(\w+) .* BROKEN", run.stdout, re.MULTILINE)
