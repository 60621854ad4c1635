"""The image: locked packages, a start script, and files of its own on volumes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.each import each
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
PIN = re.compile(
    r"^([\w.-]+)==([^\s;]+)(?: ;[^\\]*)?(.*(?:\n    --hash=\S+(?: \\)?)*)", re.MULTILINE
)
# MLflow asks for another version than the exporter of spans, and is not in the image.
DIFFERS = {"opentelemetry-proto"}


def pins(text: str) -> dict[str, tuple[set[str], int]]:
    """The versions of each package in a lock, and how many hashes its entries have."""
    found: dict[str, tuple[set[str], int]] = {}
    for name, version, rest in PIN.findall(text):
        versions, hashes = found.get(name, (set(), 0))
        found[name] = versions | {version}, hashes + rest.count("--hash=sha256:")
    return found


SERVED = pins((DEPLOY / "requirements.lock").read_text("utf-8"))
TESTED = pins((ROOT / "requirements.lock").read_text("utf-8"))


def test_every_package_of_the_image_is_locked_by_hash() -> None:
    text = (DEPLOY / "requirements.lock").read_text("utf-8")
    assert "://" not in text
    assert len(SERVED) == text.count("==")
    for name, (_, hashes) in each(sorted(SERVED.items())):
        assert hashes > 0, name


def test_the_image_has_the_versions_that_are_tested() -> None:
    shared = SERVED.keys() & TESTED.keys()
    for name in each(sorted(shared - DIFFERS)):
        assert SERVED[name][0] <= TESTED[name][0], name


def test_the_image_has_what_the_service_declares_and_no_training_library() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["postgres"], *extras["traces"]]
    names = {re.match(r"[\w.-]+", one).group() for one in wanted}  # type: ignore[union-attr]
    assert names <= SERVED.keys()
    assert "psycopg-binary" in SERVED
    assert not SERVED.keys() & {"mlflow", "shap", "scikit-learn", "pandas", "pytest", "optuna"}


def test_a_package_without_a_hash_would_be_found() -> None:
    found = pins("one==1.0 \\\n    --hash=sha256:aa\ntwo==2.0\n")
    assert found == {"one": ({"1.0"}, 1), "two": ({"2.0"}, 0)}


def test_what_is_copied_into_the_image_gets_into_its_build() -> None:
    allowed = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in allowed
    sources = re.findall(r"^(?:COPY|ADD)(?: --chmod=\d+)? (deploy/\S+)", DOCKERFILE, re.MULTILINE)
    for source in each(sources):
        assert f"!{source}" in allowed
        assert (ROOT / source).exists() or source == "deploy/clearline.tar"


def test_the_service_writes_to_its_volume_only_and_is_not_root() -> None:
    variables = dict(re.findall(r"(\w+_(?:HOME|DIR|CHECKPOINTS|SECRETS))=(\S+)", DOCKERFILE))
    written = ("BENTOML_HOME", "NUMBA_CACHE_DIR", "CLEARLINE_CHECKPOINTS", "CLEARLINE_SECRETS")
    for name in each(written):
        assert DOCKERFILE.count(f"{name}=/var/lib/clearline/") == 1, name
    assert variables["BENTOML_HOME"].startswith("/var/lib/clearline/")
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]


def test_hadolint_finds_nothing() -> None:
    assert hadolint(DEPLOY / "Dockerfile").stdout == ""


def test_hadolint_finds_a_fault(tmp_path: Path) -> None:
    planted = tmp_path / "Dockerfile"
    planted.write_text("FROM python:latest\nRUN cd /tmp\n", encoding="utf-8")
    assert "DL3007" in hadolint(planted).stdout


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).with_name("hadolint")
    found = str(beside) if beside.exists() else shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint is not installed (the extra `deploy` has it)")
    return subprocess.run([found, str(file)], capture_output=True, text=True, check=False)


def test_the_start_script_runs_any_command(tmp_path: Path) -> None:
    run = subprocess.run(
        [DEPLOY / "start.sh", "echo", "a word"], capture_output=True, text=True, check=True
    )
    assert run.stdout == "a word\n"
