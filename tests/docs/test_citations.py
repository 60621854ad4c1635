"""No page, comment or text cites what a regulator has withdrawn or replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.each import each
from tests.support.paths import ROOT

# What is no longer in force, and what to cite in its place.
WITHDRAWN = {
    r"SR\s+11-7": "SR 26-2 superseded it on 17 April 2026",
    r"Circular\s+20\d\d-03": "withdrawn in May 2025: cite 12 CFR 1002.9(b)(2) and its comments",
}
FOLDERS = ("features", "serving", "training", "docs")
SUFFIXES = {".py", ".toml", ".md", ".html"}


def cited(text: str) -> Iterator[str]:
    for pattern, instead in WITHDRAWN.items():
        if re.search(pattern, text):
            yield f"{pattern}: {instead}"


def files() -> Iterator[Path]:
    yield ROOT / "README.md"
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in SUFFIXES:
                yield file


def test_nothing_withdrawn_is_cited() -> None:
    wrong = [(file, found) for file in each(files()) for found in cited(file.read_text("utf-8"))]
    assert not wrong


@pytest.mark.parametrize("text", ["that SR 11-7\nrequires", "CFPB Circular\n2022-03", "SR\n11-7"])
def test_a_withdrawn_citation_is_found(text: str) -> None:
    """The control."""
    assert list(cited(text))
