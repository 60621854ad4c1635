"""Every command in README and docs exists and takes the arguments that it is shown with.

What the pages' Python examples print is checked where they stand (pytest collects *.md); `make
demo` itself is run in CI.
"""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from serving.__main__ import make_parser as serving_parser
from tests.support.paths import ROOT
from training.__main__ import make_parser as training_parser

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PARSERS = {"training": training_parser, "serving": serving_parser}
COMMAND = re.compile(r"python -m (training|serving) ([^`|\n]+)")
TARGET = re.compile(r"`make ([a-z]+)`|^ {4}make ([a-z]+)", re.MULTILINE)


def commands() -> list[tuple[str, str, str]]:
    return [
        (page.name, door, line.strip())
        for page in PAGES
        for door, line in COMMAND.findall(page.read_text("utf-8"))
    ]


@pytest.mark.parametrize(("page", "door", "line"), commands(), ids=lambda value: str(value))
def test_a_command_takes_what_it_is_shown_with(page: str, door: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    name = words[0].rstrip(",;.")
    choices = next(
        a for a in PARSERS[door]()._actions if isinstance(a, argparse._SubParsersAction)
    ).choices
    assert name in choices, f"{page}: {line}"
    command, shown = choices[name], [word.rstrip(",;.") for word in words[1:]]
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            assert shown[0] in action.choices, f"{page}: {line}"
            command = action.choices[shown[0]]
    known = {option for action in command._actions for option in action.option_strings}
    assert {word for word in shown if word.startswith("--")} <= known, f"{page}: {line}"


def test_every_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = {a or b for page in PAGES for a, b in TARGET.findall(page.read_text("utf-8"))}
    assert {"demo", "test", "serve", "ui", "bench"} <= named <= targets


def test_every_linked_page_exists() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_no_page_names_a_place_on_a_machine() -> None:
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)/", page.read_text("utf-8")), (
            page.name
        )
