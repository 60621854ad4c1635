"""Every command in README and docs exists and accepts the arguments that it is shown with.

Other tests run the pages' Python examples (pytest collects ``*.md``) and the commands of the
service pages; CI runs ``make demo`` itself.
"""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest

from serving.__main__ import make_parser as serving_parser
from tests.support.each import each
from tests.support.paths import ROOT
from training.__main__ import make_parser as training_parser
from training.compare.peers.compare import PeersConfig
from training.compare.policies.lab import LabConfig
from training.data.config import DataConfig
from training.data.simulate.config import SimulationConfig
from training.examine.truth.population import ExamineConfig
from training.fit.bundle import BundleConfig
from training.fit.config import FitConfig
from training.tune.search import TuneConfig

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PARSERS = {"training": training_parser, "serving": serving_parser}
COMMAND = re.compile(r"python -m (training|serving) ([^`|>\n]+?)(?= {3}|[`|>\n])")
TARGET = re.compile(r"`make ([a-z-]+)`|^(?: {4})?make ([a-z-]+)$", re.MULTILINE)
SETTING = re.compile(r"--set (\w+)=")
CONFIGS = (
    BundleConfig,
    DataConfig,
    ExamineConfig,
    FitConfig,
    LabConfig,
    PeersConfig,
    SimulationConfig,
    TuneConfig,
)
INCOMPLETE = "the following arguments are required"  # a page may name a command without them


def commands() -> list[tuple[str, str, str]]:
    """(page, package, command line after ``python -m PACKAGE``) for every command."""
    return [
        (page.name, package, line.strip())
        for page in PAGES
        for package, line in COMMAND.findall(page.read_text("utf-8"))
    ]


def refusal(package: str, line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command line parser says against a command; empty if it accepts it."""
    try:
        PARSERS[package]().parse_args(shlex.split(line, comments=True))
    except SystemExit:
        return capsys.readouterr().err
    return ""


@pytest.mark.parametrize(("page", "package", "line"), commands(), ids=str)
def test_a_command_is_accepted(
    page: str, package: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(package, line, capsys)
    assert not said or INCOMPLETE in said, f"{page}: {line}"


@pytest.mark.parametrize("line", ["fitt", "fit --no-such-option", "policy --max-good-cut many"])
def test_the_control_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal("training", line, capsys)
    assert said
    assert INCOMPLETE not in said


def test_every_setting_exists() -> None:
    fields = {field.name for config in CONFIGS for field in dataclasses.fields(config)}
    named = {name for page in PAGES for name in SETTING.findall(page.read_text("utf-8"))}
    assert len(named) > 8
    assert named - {"name"} <= fields


def test_every_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {a or b for page in PAGES for a, b in TARGET.findall(page.read_text("utf-8"))}
    assert {"demo", "test", "serve", "ui", "bench"} <= named
    assert named <= targets


def test_every_linked_page_exists() -> None:
    links = [
        (page, link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    ]
    assert len(links) > 50
    for page, link in links:
        assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_no_page_names_a_place_on_a_machine() -> None:
    place = re.compile(r"(?<![\w.])/(home|root|tmp|work|Users)/")
    for page in PAGES:
        assert not place.search(page.read_text("utf-8")), page.name


# What a command writes: by redirection, by `curl -o`, by an option, or as a copy.
WRITTEN = re.compile(r"(?: > | -o | --out | --secrets | backup )([\w-]+(?:/[\w-]+)*\.[a-z]+)\b")


def test_git_ignores_every_file_that_a_page_writes() -> None:
    """Requests, API keys and copies of the audit log: nobody should commit them by accident."""
    written = {name for page in PAGES for name in WRITTEN.findall(page.read_text("utf-8"))}
    assert {"key.txt", "records.jsonl", "decision.json", "copy.db"} <= written
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    # The pages say to copy the demo's request to request.json.
    for name in each(sorted(written | {"request.json"})):
        first, _, rest = name.partition("/")
        patterns = {f"/{first}/"} if rest else {name, f"/{name}"}
        assert patterns & set(ignored), name
