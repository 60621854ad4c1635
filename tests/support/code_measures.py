"""How dense the code is: nodes of the syntax tree a line of code, and its like.

``python tests/support/code_measures.py`` prints the table, for the packages and the tests.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True, slots=True)
class Measures:
    """Of some files together.  A code line is neither blank, nor a comment, nor in a docstring."""

    files: int
    lines: int
    nodes_a_line: float
    mean_length: float  # characters of a code line
    over_100: float  # share of lines of more than 100 columns
    comprehensions: float  # a hundred code lines
    conditionals: float  # conditional expressions a hundred code lines
    nodes_a_function: float  # of the median function
    lines_a_function: float  # of the median function
    comments: float  # comment lines a thousand lines


def sources(*packages: str) -> list[Path]:
    """The Python files of some folders of the project, in order of path."""
    return [file for package in packages for file in sorted((ROOT / package).rglob("*.py"))]


def measure(files: Sequence[Path]) -> Measures:
    """The measures of these files together; ValueError where there are none."""
    if not files:
        raise ValueError("expected files to measure, got none")
    texts = [file.read_text("utf-8") for file in files]
    trees = [ast.parse(text) for text in texts]
    lines = [line for text in texts for line in text.splitlines()]
    code = [line for text, tree in zip(texts, trees, strict=True) for line in _code(text, tree)]
    nodes = [node for tree in trees for node in _nodes(tree)]
    functions = [node for node in nodes if isinstance(node, _FUNCTIONS)]
    spans = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]
    return Measures(
        files=len(files),
        lines=len(lines),
        nodes_a_line=len(nodes) / len(code),
        mean_length=statistics.mean(len(line) for line in code),
        over_100=sum(len(line) > 100 for line in lines) / len(lines),
        comprehensions=100 * sum(isinstance(n, _COMPREHENSIONS) for n in nodes) / len(code),
        conditionals=100 * sum(isinstance(n, ast.IfExp) for n in nodes) / len(code),
        nodes_a_function=statistics.median(sum(1 for _ in ast.walk(node)) for node in functions),
        lines_a_function=statistics.median(spans),
        comments=1000 * sum(line.lstrip().startswith("#") for line in lines) / len(lines),
    )


def nodes_a_line(files: Sequence[Path]) -> float:
    """This one of the measures, which a test holds, without the others."""
    nodes, code = 0, 0
    for file in files:
        text = file.read_text("utf-8")
        tree = ast.parse(text)
        nodes += sum(1 for _ in _nodes(tree))
        code += sum(1 for _ in _code(text, tree))
    return nodes / code


def _code(text: str, tree: ast.Module) -> Iterator[str]:
    documented = {line for node in _docstrings(tree) for line in _span(node)}
    for number, line in enumerate(text.splitlines(), start=1):
        blank = not line.strip() or line.lstrip().startswith("#")
        if not blank and number not in documented:
            yield line


def _nodes(tree: ast.Module) -> Iterator[ast.AST]:
    documented = {id(part) for node in _docstrings(tree) for part in ast.walk(node)}
    return (node for node in ast.walk(tree) if id(node) not in documented)


def _docstrings(tree: ast.Module) -> Iterator[ast.Expr]:
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            if isinstance(first, ast.Expr):
                yield first


def _span(node: ast.Expr) -> Iterable[int]:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def table() -> str:
    """The measures of the whole code, of each package, and of the tests."""
    packages = ("features", "serving", "training")
    rows = {"code": measure(sources(*packages))}
    rows |= {name: measure(sources(name)) for name in (*packages, "tests")}
    names = list(Measures.__dataclass_fields__)
    lines = [f"{'':18}" + "".join(f"{row:>11}" for row in rows)]
    for name in names:
        values = "".join(f"{getattr(row, name):>11,.3g}" for row in rows.values())
        lines.append(f"{name:18}{values}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
