"""Every module, name, path and heading that README or a page of docs mentions exists."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.each import each
from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PACKAGES = "features|serving|training"
DOTTED = re.compile(rf"(?<![\w./-])((?:{PACKAGES})(?:\.\w+)+)")
IMPORT = re.compile(rf"^(?:>>> )?from ((?:{PACKAGES})[\w.]*) import (.+)$", re.MULTILINE)
FILE = re.compile(rf"(?<![\w./-])((?:{PACKAGES}|tests|docs)/[\w./-]*\w/?)")
# In the architecture: a function, class or method with parentheses, or a constant.
DEFINITION = re.compile(r"\b([A-Za-z]\w*(?:\.\w+)?)\(\)|`([A-Z][A-Z_]{3,})`")
LINK = re.compile(r"\]\(([^)#:]*)#([^)]+)\)")


def mentions(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """(page, mention) for every match of the pattern's first group, each once."""
    found = set()
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        for match in pattern.finditer(page.read_text("utf-8")):
            found.add((name, match[1]))
    return sorted(found)


def imported_names() -> list[tuple[str, str]]:
    """(page, dotted name) for every name that a page's Python imports from the project."""
    found = []
    for page in PAGES:
        for module, names in IMPORT.findall(page.read_text("utf-8")):
            dotted = [f"{module}.{name.strip()}" for name in names.split(",")]
            found += [(page.name, name) for name in dotted]
    return found


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one, or of a class in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return has_attributes(found, parts[length:])
    return False


def has_attributes(found: object, names: Sequence[str]) -> bool:
    """Whether an object has the first name, its value the second, and so on."""
    for name in names:
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True


@functools.cache
def defined_in(file: Path) -> frozenset[str]:
    """Functions, classes and constants of a module, and methods as ``Class.method``."""
    module = ast.parse(file.read_text("utf-8"))
    return frozenset(_definitions(module.body))


def _definitions(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield ast.unparse(target)
        if isinstance(node, ast.AnnAssign):
            yield ast.unparse(node.target)
        if isinstance(node, ast.ClassDef):
            for name in _definitions(node.body):
                yield f"{node.name}.{name}"


def defined_on(line: str) -> set[str]:
    """What the modules define that a line mentions."""
    found: set[str] = set()
    for path in FILE.findall(line):
        if path.endswith(".py"):
            found |= defined_in(ROOT / path)
    return found


def definitions_named_on(line: str) -> set[str]:
    """The functions, classes, methods and constants that a line mentions."""
    return {function or constant for function, constant in DEFINITION.findall(line)}


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(plain.replace(" ", "-"))
    return found


@pytest.mark.parametrize(("page", "name"), mentions(DOTTED))
def test_a_dotted_name_resolves(page: str, name: str) -> None:
    assert resolves(name), page


@pytest.mark.parametrize(("page", "name"), imported_names())
def test_an_imported_name_exists(page: str, name: str) -> None:
    assert resolves(name), page


@pytest.mark.parametrize(("page", "path"), mentions(FILE))
def test_a_path_exists(page: str, path: str) -> None:
    assert (ROOT / path).exists(), page


def test_the_architecture_names_definitions_where_they_are() -> None:
    """Each ``name()`` or ``CONSTANT`` is defined in one of the modules that its line mentions."""
    checked, missing = 0, {}
    for line in ARCHITECTURE.read_text("utf-8").splitlines():
        names = definitions_named_on(line)
        undefined = names - defined_on(line)
        checked += len(names)
        if undefined:
            missing[line] = undefined
    assert missing == {}
    assert checked > 45


def test_the_architecture_has_the_layers_of_the_import_contracts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    page = ARCHITECTURE.read_text("utf-8")
    for names in each(layers):
        row = " → ".join(f"`{name}`" for name in names)
        row = row.replace(" | ", "` \\| `")
        assert f"| {row} |" in page


def test_every_linked_heading_exists() -> None:
    checked = 0
    for page in PAGES:
        for file, anchor in LINK.findall(page.read_text("utf-8")):
            target = page.parent / file if file else page
            assert anchor in anchors(target), f"{page.name}: {file}#{anchor}"
            checked += 1
    assert checked > 20


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    links = re.findall(r"\]\(([^)#:]+)\)", index.read_text("utf-8"))
    linked = {(index.parent / link).resolve() for link in links}
    others = set(PAGES) - {index, ROOT / "README.md"}
    assert others <= linked


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
