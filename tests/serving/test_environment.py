"""The service in an environment with the project's runtime dependencies, as a Bento has them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from uv import find_uv_bin

from serving.audit_log.privacy.key_file import read_secrets
from serving.decision.bundle import Bundle
from tests.support import checks
from tests.support.paths import ROOT
from tests.support.project_copies import copy_compiled
from tests.support.served import as_requests

# Creating the environment takes half a minute.
pytestmark = pytest.mark.slow
ABSENT = ("mlflow", "shap", "scikit-learn", "pandas", "matplotlib", "dask", "optuna")
# Bytes of a worker. SQLAlchemy and cryptography, for the audit log, are 18 MiB of it.
MAX_MEMORY = 340 * 2**20
SERVE = """
import json, os, sys, time
from pathlib import Path
import psutil
from serving.operations.client import ask, settings_for, start_service
from serving.operations.pack import store

store(Path("bundle"))
before = time.monotonic()
os.environ |= settings_for(Path.cwd())  # where `ask` finds the token
with start_service(Path("log")) as url:
    ready = time.monotonic() - before
    bodies = json.loads(Path("requests.json").read_text())
    answers = [ask(url, json.dumps(body).encode()).decode() for body in bodies]
    processes = psutil.Process().children(recursive=True)
    memory = max(process.memory_info().rss for process in processes)
    print(json.dumps({"ready": ready, "memory": memory, "answers": answers}))
"""


@pytest.fixture(scope="module")
def serving_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of that environment, with the versions of the lock."""
    place = tmp_path_factory.mktemp("environment")
    project = place / "project"
    for package in ("features", "serving", "training"):
        shutil.copytree(
            ROOT / package, project / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, project / file)
    # Without the hashes: they would be required of the project too, which has none.
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    (place / "constraints.txt").write_text(re.sub(r" \\\n    --hash=\S+", "", lock), "utf-8")
    venv.create(place / "venv")
    python = place / "venv" / "bin" / "python"
    install = [find_uv_bin(), "pip", "install", "--quiet", "--compile-bytecode"]
    subprocess.run(
        [*install, "--python", python, "-c", place / "constraints.txt", project],
        check=True,
        capture_output=True,
    )
    [packages] = (place / "venv" / "lib").glob("python*/site-packages")
    copy_compiled(packages)
    return python


@pytest.fixture(scope="module")
def served(
    serving_python: Path,
    bundle_folder: Path,
    windows: pl.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """The answers of a service in that environment, its start in seconds and its memory."""
    place = tmp_path_factory.mktemp("served-alone")
    shutil.copytree(bundle_folder, place / "bundle")
    accounts = windows["account_id"].unique(maintain_order=True).head(20)
    chosen = windows.filter(pl.col("account_id").is_in(accounts.to_list()))
    (place / "requests.json").write_text(json.dumps(as_requests(chosen)), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["BENTOML_HOME"] = str(place / "bentoml")
    run = subprocess.run(
        [serving_python, "-c", SERVE],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result | {"id_key": read_secrets(place / "secrets.json").id_key}


def installed(python: Path | str) -> set[str]:
    code = "import importlib.metadata as m; print(*{d.name.lower() for d in m.distributions()})"
    run = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_nothing_of_training_is_installed(serving_python: Path) -> None:
    found = installed(serving_python)
    assert {"bentoml", "lightgbm", "polars", "clearline"} <= found
    assert not found & set(ABSENT)
    # The control: this environment has them.
    assert {"mlflow", "shap", "scikit-learn", "pandas"} <= installed(sys.executable)


def test_its_answers_are_those_of_this_environment(
    served: dict[str, Any], windows: pl.DataFrame, bundle: Bundle
) -> None:
    accounts = windows.partition_by("account_id", maintain_order=True)[:20]
    checks.check_one_is_many(
        lambda _: [text.encode() for text in served["answers"]],
        accounts,
        bundle,
        served["id_key"],
    )


def test_a_worker_stays_small(served: dict[str, Any]) -> None:
    assert served["memory"] <= MAX_MEMORY, f"{served['memory'] / 2**20:.0f} MiB"
