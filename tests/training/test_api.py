"""The commands as functions, for a notebook: one function a command, typed and documented, cheap to
import.
"""

from __future__ import annotations

import argparse
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.conftest import STORE_WARNINGS, Kept
from training import api
from training.__main__ import make_parser
from training.api import compare, fit, promote
from training.tracking.store import Store

pytestmark = STORE_WARNINGS


def test_every_command_has_a_function_but_the_one_that_writes_a_request() -> None:
    [commands] = [
        action
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    assert set(api.VERBS) == set(commands.choices) - {"request"}


def test_importing_the_functions_imports_no_framework() -> None:
    heavy = (
        "assert not {'mlflow', 'lightgbm', 'optuna', 'shap'} & set(sys.modules), sys.modules.keys()"
    )
    program = f"import sys; from training.api import {', '.join(api.VERBS)}; {heavy}"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("verb", api.VERBS.values(), ids=list(api.VERBS))
def test_a_function_is_typed_and_documented(verb: object) -> None:
    signature = inspect.signature(verb)  # type: ignore[arg-type]
    assert signature.return_annotation is not inspect.Signature.empty
    assert verb.__doc__


@pytest.mark.slow
def test_they_do_what_the_commands_do(
    simulated: Path, another_store: Store, kept: Kept, tmp_path: Path
) -> None:
    store = str(another_store.folder)
    second = fit(simulated, store, trees=40, reference_size=200, leaves=8)
    assert second.version == "2"
    done = promote("1", simulated, store)
    assert done.promoted, done.summary
    found = compare("champion", "v2", data=str(simulated), store=store)
    assert [model.name for model in found.models] == ["champion", "v2"]
    assert api.report("v2", simulated, store, tmp_path / "report.html").file.exists()
    with pytest.raises(ValueError, match="did you mean 'leaves'"):
        fit(simulated, store, leafs=8)
