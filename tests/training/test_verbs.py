"""The commands as functions: all of them, under names that no module takes away."""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import training
from tests.training.conftest import STORE_WARNINGS, Kept
from training import compare, fit, promote, verbs
from training.__main__ import _parser
from training.track import Store

pytestmark = STORE_WARNINGS


def test_every_command_is_a_verb_but_the_one_that_writes_a_request() -> None:
    [commands] = [action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert set(training.__all__) == set(verbs.VERBS) == set(commands.choices) - {"request"}


def test_no_module_has_the_name_of_a_verb() -> None:
    """Once imported it would stand where the verb is looked up."""
    assert not {module.name for module in pkgutil.iter_modules(training.__path__)} & set(training.__all__)
    importlib.import_module("training.fitting")
    assert all(inspect.isfunction(getattr(training, verb)) for verb in training.__all__)


def test_looking_one_up_imports_no_framework() -> None:
    heavy = "assert not {'mlflow', 'lightgbm', 'optuna', 'shap'} & set(sys.modules), sys.modules.keys()"
    program = f"import sys; from training import {', '.join(training.__all__)}; {heavy}"
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(ImportError, match="fitt"):
        exec("from training import fitt")


@pytest.mark.parametrize("verb", verbs.VERBS.values(), ids=list(verbs.VERBS))
def test_a_verb_is_typed_and_told(verb: object) -> None:
    signature = inspect.signature(verb)  # type: ignore[arg-type]
    assert signature.return_annotation is not inspect.Signature.empty
    assert verb.__doc__


@pytest.mark.slow
def test_they_do_what_the_commands_do(simulated: Path, another_store: Store, kept: Kept, tmp_path: Path) -> None:
    store = str(another_store.folder)
    second = fit(simulated, store, trees=40, reference_size=200, leaves=8)
    assert second.version == "2"
    done = promote("1", simulated, store)
    assert done.promoted, done.summary
    found = compare("champion", "v2", data=str(simulated), store=store)
    assert [model.name for model in found.models] == ["champion", "v2"]
    assert verbs.report("v2", simulated, store, tmp_path / "report.html").file.exists()
    with pytest.raises(ValueError, match="did you mean 'leaves'"):
        fit(simulated, store, leafs=8)
