"""The commands as functions, for a notebook: typed, documented, and with the commands' defaults."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gates import write_small_book_gates
from tests.training.conftest import STORE_WARNINGS, Kept
from training import api, cli
from training.__main__ import make_parser
from training.api import compare, fit, promote
from training.tracking.defaults import MODEL
from training.tracking.store import Store

pytestmark = STORE_WARNINGS
# Arguments that a command cannot do without.
REQUIRED = {
    "ingest": ["x.csv", "--mapping", "m.toml", "--out", "data"],
    "compare": ["champion", "v2"],
    "report": ["champion"],
    "monitor": ["records.jsonl"],
}


@pytest.mark.parametrize("name", api.COMMANDS)
def test_every_command_is_printed_by_a_function_of_the_same_name(name: str) -> None:
    options = make_parser().parse_args([name, *REQUIRED.get(name, [])])
    assert options.run is getattr(cli, name)


@pytest.mark.parametrize("name", api.COMMANDS)
def test_the_options_have_the_defaults_of_the_signature(name: str) -> None:
    options = vars(make_parser().parse_args([name, *REQUIRED.get(name, [])]))
    parameters = inspect.signature(api.COMMANDS[name]).parameters
    shared = {p for p in parameters if p in options and parameters[p].default is not p}
    given = set(REQUIRED.get(name, [])) | {"force"}  # ``--force`` takes its reason from ``--why``
    compared = 0
    for parameter in shared:
        default = parameters[parameter].default
        if default is inspect.Parameter.empty or parameter in given or parameter == "model":
            continue
        assert str(options[parameter]) == str(default), parameter
        compared += 1
    assert compared or name == "ingest"


def test_importing_the_functions_imports_no_framework() -> None:
    heavy = {"mlflow", "lightgbm", "optuna", "shap"}
    names = ", ".join(api.COMMANDS)
    program = f"import sys; from training.api import {names}; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("command", api.COMMANDS.values(), ids=list(api.COMMANDS))
def test_a_function_is_typed_and_documented(command: object) -> None:
    signature = inspect.signature(command)  # type: ignore[arg-type]
    assert signature.return_annotation is not inspect.Signature.empty
    assert command.__doc__


@pytest.mark.slow
def test_they_do_what_the_commands_do(
    simulated: Path, another_store: Store, kept: Kept, tmp_path: Path
) -> None:
    store = str(another_store.folder)
    second = fit(simulated, store, trees=40, reference_size=200, leaves=8)
    assert second.version == "2"
    gates = write_small_book_gates(tmp_path)
    done = promote("1", simulated, store, gates=gates)
    assert done.promoted, done.summary
    found = compare("champion", "v2", data=str(simulated), store=store)
    assert [model.name for model in found.models] == ["champion", "v2"]
    assert api.report("v2", simulated, store, tmp_path / "report.html").file.exists()
    assert api.nominate(2, store) == "2"
    aliases = another_store.client().get_registered_model(MODEL).aliases
    assert str(aliases["challenger"]) == "2"
    with pytest.raises(ValueError, match="did you mean 'leaves'"):
        fit(simulated, store, leafs=8)
