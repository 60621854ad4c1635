"""No class is unpickled from a file, or from anything else, at any of the doors; one exception is
named here.

The interpreter tells of each class that a pickle names before it is fetched, and so of each pickle
that could do harm.  Every process that a door starts listens: the hook stands in a
``sitecustomize``, which Python imports before all else.
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

def tell(event, found):
    if event == "pickle.find_class":
        frames, frame = [], sys._getframe(1)
        while frame is not None:
            frames.append([frame.f_code.co_filename, frame.f_code.co_name])
            frame = frame.f_back
        with open(os.environ["UNPICKLED"], "a") as log:
            log.write(json.dumps([".".join(found), frames]) + "\\n")

sys.addaudithook(tell)
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
from serving.schemas.decision import Request, statements
bundle = load(Path(sys.argv[1]))
asked = statements([Request.model_validate_json(json.dumps(REQUEST))])
(found,) = advise_many(asked, bundle, datetime(2026, 11, 20, tzinfo=UTC))
print(found.decision.action)
"""
# A body that BentoML would unpickle, were it let: its own content type for it.
SERVE = """
import datetime, json, pickle, sys
from pathlib import Path
import httpx
import serving.service
from serving.operations.client import ask, started
from serving.schemas.examples import REQUEST
from serving.operations.pack import store
store(Path(sys.argv[1]))
with started(Path("log")) as url:
    print(json.loads(ask(url, json.dumps(REQUEST).encode(), advice=True))["action"])
    for kind in ("application/vnd.bentoml+pickle", "application/json"):
        headers = {"content-type": kind, "payload-container": "DefaultContainer", "payload-meta": "{}"}
        refused = httpx.post(f"{url}/v1/decisions", content=pickle.dumps(datetime.date(2026, 1, 1)), headers=headers)
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
report = run_fit(Path("simulated"), store, (DataConfig(), FitConfig(trees=10), BundleConfig(reference_size=30)))
assert load(registry.fetch_bundle(store, "limit-reduction", report.version, Path("fetched"))).digest == report.bundle
"""


class Heard(NamedTuple):
    """The classes unpickled by a program and all that it started, with the innermost frame's file
    and function first.
    """

    unpickled: list[tuple[str, list[list[str]]]]
    listening: list[str]  # the command of each process

    def beside_the_cache(self) -> list[tuple[str, list[list[str]]]]:
        return [(name, frames) for name, frames in self.unpickled if not of_compiled_code(frames)]


def of_compiled_code(frames: list[list[str]]) -> bool:
    """Whether numba unpickles what it compiled: the one exception.

    Its index and its machine code lie in a folder of the machine's own, written by this code and no
    other: beside the source, whose owner could as well change the source.  A bundle cannot hold
    such a file, and a Bento takes sources and TOML alone.
    """
    file, function = frames[0]
    return Path(file).parts[-3:] == ("numba", "core", "caching.py") and function in (
        "_load_index",
        "_load_data",
    )


def listened(program: str, place: Path, **settings: str) -> Heard:
    """What is heard while a program runs in ``place``, given the golden bundle; ``settings`` of its
    environment.
    """
    log = place / "unpickled"
    (place / "hook").mkdir()
    (place / "hook" / "sitecustomize.py").write_text(HOOK)
    told = {
        "PYTHONPATH": f"{place / 'hook'}:{ROOT}",
        "UNPICKLED": str(log),
        "BENTOML_HOME": str(place / "bentoml"),
    }
    environment = os.environ | told | settings
    run = subprocess.run(
        [sys.executable, "-c", program, str(BUNDLE)],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    lines = log.read_text().splitlines() if log.exists() else []
    return Heard(
        [json.loads(line) for line in lines],
        log.with_name("unpickled.listening").read_text().splitlines(),
    )


@pytest.mark.slow
def test_a_decision_unpickles_nothing_where_nothing_was_compiled(tmp_path: Path) -> None:
    """Compiling takes a quarter of a minute."""
    heard = listened(DECIDE, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "compiled"))
    assert heard.unpickled == []
    assert list((tmp_path / "compiled").rglob("*.nbc"))


def test_a_decision_unpickles_compiled_code_and_nothing_else(
    bundle: Bundle, tmp_path: Path
) -> None:
    heard = listened(DECIDE, tmp_path)
    assert heard.beside_the_cache() == []
    assert heard.unpickled  # so that the exception is one


@pytest.mark.slow
def test_a_service_unpickles_nothing_from_store_to_answer(tmp_path: Path) -> None:
    heard = listened(SERVE, tmp_path)
    assert heard.beside_the_cache() == []
    assert any("bentoml serve" in command for command in heard.listening)
    assert any("worker" in command for command in heard.listening)


@pytest.mark.slow
def test_a_fit_kept_and_fetched_back_unpickles_nothing(tmp_path: Path) -> None:
    assert listened(FIT, tmp_path).beside_the_cache() == []


@pytest.mark.parametrize(
    "reading",
    [
        "pickle.load(open('model.pkl', 'rb'))",
        "pickle.Unpickler(open('model.pkl', 'rb')).load()",
        "subprocess.run([sys.executable, '-c', 'import pickle; pickle.loads(open(\"model.pkl\", \"rb\").read())'], check=True)",
    ],
)
def test_a_pickle_that_is_read_is_heard(reading: str, tmp_path: Path) -> None:
    """The control: loaded here, or by a process that was started."""
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Path("anything")))
    heard = listened(f"import pickle, subprocess, sys\n{reading}", tmp_path)
    assert [name for name, _ in heard.beside_the_cache()] == ["pathlib.PosixPath"]


@pytest.mark.parametrize(
    "name", ["model.pkl", "model.txt.pkl", "custom_objects.pkl", "kernels.nbi", "kernels.nbc"]
)
def test_a_bundle_with_a_pickle_in_it_is_refused(name: str, tmp_path: Path) -> None:
    shutil.copytree(BUNDLE, tmp_path / "bundle")
    (tmp_path / "bundle" / name).write_bytes(pickle.dumps(Path("anything")))
    with pytest.raises(BundleError, match=rf"unexpected \['{name}'\]"):
        load(tmp_path / "bundle")
