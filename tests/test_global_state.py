"""An import of the project and a call of its functions leave what is global as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tests.support.paths import ROOT
from training.evaluate.figures import contributions

# What may change: MLflow sends no telemetry, see training/tracking/__init__.py.
_ALLOWED = {"MLFLOW_DISABLE_TELEMETRY"}
# The libraries are imported first: what they change is their own.
_IMPORT_ALL = """
import importlib, json, locale, logging, os, pkgutil, random, signal, sys, warnings
import bentoml, bentoml.bentos, fairlearn.metrics, httpx, lightgbm, matplotlib, mlflow, numba
import numpy, optuna, pandas, polars, shap, sklearn, sqlalchemy, starlette
import circus

def snapshot():
    state = {f"environment {name}": value for name, value in os.environ.items()}
    settings = matplotlib.rcParams
    state |= {f"matplotlib {name}": settings._get(name) for name in settings}
    loggers = logging.root.manager.loggerDict
    levels = {name: logging.getLogger(name).level for name in KNOWN_LOGGERS}
    state |= {f"level of {name}": level for name, level in levels.items()}
    state["log handlers"] = logging.root.level, logging.root.handlers[:]
    state["warnings"] = warnings.filters[:]
    state["locale"] = locale.setlocale(locale.LC_ALL)
    state["numpy"] = numpy.geterr(), numpy.get_printoptions()
    state["polars"] = polars.Config.state()
    state["random"] = random.getstate(), repr(numpy.random.get_state())
    state["signals"] = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    state["hooks"] = sys.excepthook, sys.displayhook, sys.getswitchinterval()
    return {name: repr(value) for name, value in state.items()}

KNOWN_LOGGERS = sorted(logging.root.manager.loggerDict)
before, count = snapshot(), 0
for name in ("features", "serving", "training"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            count += 1

def changed():
    after = snapshot()
    return sorted(name for name in before | after if before.get(name) != after.get(name))

found = {"modules": count, "imports": changed()}
for statement in sys.argv[1:]:
    exec(statement)
print(json.dumps(found | {"statements": changed()}))
"""


# Changes that must be noticed, and under which names.
_CONTROLS = {
    "matplotlib.use('agg')": "matplotlib backend",
    "os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'": "environment OMP_WAIT_POLICY",
    "warnings.simplefilter('ignore')": "warnings",
    "optuna.logging.set_verbosity(40)": "level of optuna",
}


@pytest.mark.slow
def test_importing_every_module_changes_nothing_global() -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLFLOW_", "BENTOML_", "OMP_", "MPLBACKEND"))
    }
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL, *_CONTROLS],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["modules"] > 200
    assert set(found["imports"]) <= {f"environment {name}" for name in _ALLOWED}
    assert set(found["statements"]) >= set(_CONTROLS.values())


@contextmanager
def notebook() -> Iterator[Figure]:
    """The figure of a caller who chose another backend and the interactive mode."""
    backend = mpl.get_backend()
    plt.switch_backend("svg")
    plt.ion()
    figure = plt.figure()
    try:
        yield figure
    finally:
        plt.close(figure)
        plt.ioff()
        plt.switch_backend(backend)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # shap's use of matplotlib
def test_figures_leave_a_notebook_s_own_plots_alone() -> None:
    random = np.random.default_rng(0)
    values, data = random.normal(size=(2, 60, 5))
    with notebook() as own:
        settings = {name: mpl.rcParams._get(name) for name in mpl.rcParams}
        drawn = contributions(values, np.zeros(60), data, list("abcde"), 3)
        assert {name: mpl.rcParams._get(name) for name in mpl.rcParams} == settings
        assert mpl.get_backend() == "svg"
        assert plt.isinteractive()
        assert plt.get_fignums() == [own.number]
        assert plt.gcf() is own
    assert sorted(drawn) == ["shap_bar", "shap_beeswarm", "shap_dependence", "shap_waterfall"]
