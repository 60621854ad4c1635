"""No class is unpickled by a decision, a service or a fit; numba's own cache is the one exception.

Python raises an audit event for each class that a pickle names, before it is imported. The audit
hook is in a ``sitecustomize``, which every process imports first, so that child processes report
too.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from serving.decision.bundle import Bundle, BundleError
from serving.decision.golden import load
from tests.golden.remake import BUNDLE
from tests.support.paths import ROOT

HOOK = """
import json, os, sys

def report(event, found):
    if event == "pickle.find_class":
        frames, frame = [], sys._getframe(1)
        while frame is not None:
            frames.append([frame.f_code.co_filename, frame.f_code.co_name])
            frame = frame.f_back
        with open(os.environ["UNPICKLED"], "a") as log:
            log.write(json.dumps([".".join(found), frames]) + "\\n")

sys.addaudithook(report)
with open(os.environ["UNPICKLED"] + ".listening", "a") as log:
    log.write(" ".join(sys.orig_argv) + "\\n")
"""
DECIDE = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from serving.decision.golden import load
from serving.decision.pipeline import advise_many
from serving.schemas.examples import REQUEST
from serving.schemas.decision import Request, statements_table
bundle = load(Path(sys.argv[1]))
table = statements_table([Request.model_validate_json(json.dumps(REQUEST))])
(advised,) = advise_many(table, bundle, datetime(2026, 11, 20, tzinfo=UTC))
print(advised.decision.action)
"""
# BentoML has a content type for bodies that it unpickles; the service must refuse it.
SERVE = """
import datetime, json, os, pickle, sys
from pathlib import Path
import httpx
import serving.service
from serving.auth.local_token import read_token
from serving.operations.client import ask, settings_for, start_service
from serving.schemas.examples import REQUEST
from serving.operations.pack import store
store(Path(sys.argv[1]))
os.environ |= settings_for(Path.cwd())  # where `ask` finds the token
with start_service(Path("log")) as url:
    print(json.loads(ask(url, json.dumps(REQUEST).encode(), advice=True))["action"])
    for kind in ("application/vnd.bentoml+pickle", "application/json"):
        headers = {"content-type": kind, "payload-container": "DefaultContainer"}
        headers["payload-meta"] = "{}"
        headers["authorization"] = f"Bearer {read_token(Path('record.db.token'))}"
        body = pickle.dumps(datetime.date(2026, 1, 1))
        refused = httpx.post(f"{url}/v1/decisions", content=body, headers=headers)
        assert 400 <= refused.status_code < 500, refused.text
"""
FIT = """
from pathlib import Path
from serving.decision.golden import load
from training.tracking import registry
from training.tracking.store import Store
from training.fit.bundle import BundleConfig
from training.data.config import DataConfig
from training.fit.run import run_fit
from training.fit.config import FitConfig
from training.data.simulate import SimulationConfig, write
write(SimulationConfig(accounts=1500, seed=7), Path("simulated"))
store = Store(Path("mlruns"))
configs = DataConfig(), FitConfig(trees=10), BundleConfig(reference_size=30)
report = run_fit(Path("simulated"), store, configs)
fetched = registry.fetch_bundle(store, "limit-reduction", report.version, Path("fetched"))
assert load(fetched).digest == report.bundle
"""


Frames = list[list[str]]  # file and function, the innermost first


class AuditReport(NamedTuple):
    """What a program and its child processes unpickled."""

    unpickled: list[tuple[str, Frames]]  # class, stack
    processes: list[str]  # the command of each process with the hook

    def without_compiled_code(self) -> list[tuple[str, Frames]]:
        return [(name, frames) for name, frames in self.unpickled if not is_numba_cache(frames)]


def is_numba_cache(frames: Frames) -> bool:
    """Whether numba reads its cache of compiled code: the one exception.

    The cache is in a folder of this machine, written by this code, next to the sources: an attacker
    who could write it could change the sources too. A bundle cannot hold such a file, and a Bento
    has only sources and TOML.
    """
    file, function = frames[0]
    return Path(file).parts[-3:] == ("numba", "core", "caching.py") and function in (
        "_load_index",
        "_load_data",
    )


def run_audited(program: str, place: Path, **settings: str) -> AuditReport:
    """Run a program in a folder with the golden bundle as its argument; ``settings`` are
    environment variables."""
    log = place / "unpickled"
    (place / "hook").mkdir()
    (place / "hook" / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    variables = {
        "PYTHONPATH": f"{place / 'hook'}:{ROOT}",
        "UNPICKLED": str(log),
        "BENTOML_HOME": str(place / "bentoml"),
    }
    environment = os.environ | variables | settings
    run = subprocess.run(
        [sys.executable, "-c", program, str(BUNDLE)],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return AuditReport(
        [json.loads(line) for line in lines],
        log.with_name("unpickled.listening").read_text(encoding="utf-8").splitlines(),
    )


@pytest.mark.torture  # the next test has the same with a cache
def test_a_decision_without_a_cache_unpickles_nothing(tmp_path: Path) -> None:
    """Compiling takes a quarter of a minute."""
    report = run_audited(DECIDE, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "compiled"))
    # numba reads the index that it has just written, where it compiles for another kind of number.
    assert report.without_compiled_code() == []
    assert {frames[0][1] for _, frames in report.unpickled} <= {"_load_index"}
    assert list((tmp_path / "compiled").rglob("*.nbc"))


@pytest.mark.slow
def test_a_decision_unpickles_compiled_code_and_nothing_else(
    bundle: Bundle, tmp_path: Path
) -> None:
    report = run_audited(DECIDE, tmp_path)
    assert report.without_compiled_code() == []
    assert report.unpickled  # the control: the cache is read


@pytest.mark.slow
def test_a_service_unpickles_nothing_from_store_to_answer(tmp_path: Path) -> None:
    report = run_audited(SERVE, tmp_path)
    assert report.without_compiled_code() == []
    assert any("bentoml serve" in command for command in report.processes)
    assert any("worker" in command for command in report.processes)


@pytest.mark.slow
def test_a_fit_and_its_fetched_bundle_unpickle_nothing(tmp_path: Path) -> None:
    assert run_audited(FIT, tmp_path).without_compiled_code() == []


@pytest.mark.parametrize(
    "reading",
    [
        "pickle.load(open('model.pkl', 'rb'))",
        "pickle.Unpickler(open('model.pkl', 'rb')).load()",
        "subprocess.run([sys.executable, '-c', "
        '\'import pickle; pickle.load(open("model.pkl", "rb"))\'], check=True)',
    ],
)
def test_a_pickle_that_is_read_is_reported(reading: str, tmp_path: Path) -> None:
    """The control: in the program itself, and in a child process."""
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Path("anything")))
    report = run_audited(f"import pickle, subprocess, sys\n{reading}", tmp_path)
    assert [name for name, _ in report.without_compiled_code()] == ["pathlib.PosixPath"]


@pytest.mark.parametrize(
    "name", ["model.pkl", "model.txt.pkl", "custom_objects.pkl", "kernels.nbi", "kernels.nbc"]
)
def test_a_bundle_with_a_pickle_in_it_is_refused(name: str, tmp_path: Path) -> None:
    shutil.copytree(BUNDLE, tmp_path / "bundle")
    (tmp_path / "bundle" / name).write_bytes(pickle.dumps(Path("anything")))
    with pytest.raises(BundleError, match=rf"unexpected \['{name}'\]"):
        load(tmp_path / "bundle")
