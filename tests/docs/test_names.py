"""Every module, name, path and heading that README or a page of docs mentions exists."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.each import each
from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = "features|serving|training"
DOTTED = re.compile(rf"(?<![\w./-])((?:{PACKAGES})(?:\.\w+)+)")
IMPORT = re.compile(rf"^(?:>>> )?from ((?:{PACKAGES})[\w.]*) import (.+)$", re.MULTILINE)
FILE = re.compile(rf"(?<![\w./-])((?:{PACKAGES}|tests|docs)/[\w./-]*\w/?)")
# In the architecture: a function, class or method with parentheses, or a constant.
DEFINITION = re.compile(r"\b([A-Za-z]\w*(?:\.\w+)?)\(\)|`([A-Z][A-Z_]{3,})`")
LINK = re.compile(r"\]\(([^)#:]*)#([^)]+)\)")


def mentions(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """(page, mention) for every match of the pattern's first group, each once."""
    found = {
        (str(page.relative_to(ROOT)), match[1])
        for page in PAGES
        for match in pattern.finditer(page.read_text("utf-8"))
    }
    return sorted(found)


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one, or of a class in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


@functools.cache
def defined_in(file: Path) -> frozenset[str]:
    """Functions, classes and constants of a module, and methods as ``Class.method``."""
    return frozenset(_definitions(ast.parse(file.read_text("utf-8")).body))


def _definitions(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{name}" for name in _definitions(node.body))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize(("page", "name"), mentions(DOTTED))
def test_a_dotted_name_resolves(page: str, name: str) -> None:
    assert resolves(name), page


@pytest.mark.parametrize(("page", "path"), mentions(FILE))
def test_a_path_exists(page: str, path: str) -> None:
    assert (ROOT / path).exists(), page


def test_imported_names_exist() -> None:
    imported = [
        (page.name, f"{module}.{name.strip()}")
        for page in PAGES
        for module, names in IMPORT.findall(page.read_text("utf-8"))
        for name in names.split(",")
    ]
    assert len(imported) > 20
    assert [found for found in imported if not resolves(found[1])] == []


def test_the_architecture_names_definitions_where_they_are() -> None:
    """Each ``name()`` or ``CONSTANT`` is defined in one of the modules that its line mentions."""
    lines = (ROOT / "docs" / "architecture.md").read_text("utf-8").splitlines()
    named = [
        (line, {function or constant for function, constant in DEFINITION.findall(line)})
        for line in lines
    ]
    assert sum(len(names) for _, names in named) > 45
    missing = {line: undefined for line, names in named if (undefined := names - _defined_on(line))}
    assert missing == {}


def _defined_on(line: str) -> set[str]:
    modules = [ROOT / path for path in FILE.findall(line) if path.endswith(".py")]
    return {name for module in modules for name in defined_in(module)}


def test_the_architecture_has_the_layers_of_the_import_contracts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for names in each(layers):
        row = " → ".join(f"`{name}`" for name in names).replace(" | ", "` \\| `")
        assert f"| {row} |" in page


def test_every_linked_heading_exists() -> None:
    links = [(page, *link) for page in PAGES for link in LINK.findall(page.read_text("utf-8"))]
    assert len(links) > 20
    for page, file, anchor in links:
        target = (page.parent / file).resolve() if file else page
        assert anchor in anchors(target), f"{page.name}: {file}#{anchor}"


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / link).resolve()
        for link in re.findall(r"\]\(([^)#:]+)\)", index.read_text("utf-8"))
    }
    assert set(PAGES) - {index, ROOT / "README.md"} <= linked


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("features.window.Window.mean", True),
        ("serving.decision.pipeline", True),
        ("features.window.Door", False),
        ("training.fitting", False),
    ],
)
def test_the_control_tells_names_apart(name: str, expected: bool) -> None:
    assert resolves(name) is expected
