"""A new version of a registered model: what MLflow loads, and the native Booster beside it.

The version loads as :class:`training.tracking.decision_model.DecisionModel` over the version's own
bundle.  Its number stands in the bundle, so it is registered first and gets its files afterwards.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from features.schema import COLUMNS, NAMES, Kind
from features.types import Matrix
from training.tracking.code_archive import write_code
from training.tracking.lightgbm_import import lgb
from training.tracking.store import temporary_folder

# Exactly these versions: the bits of an answer depend on them.
_REQUIRED = ("mlflow", "lightgbm", "numba", "numpy", "pandas", "polars", "pyarrow")
_CODE = Path(__file__).with_name("decision_model.py")
_TYPES: Mapping[Kind, DataType] = {
    "identifier": DataType.string,
    "month": DataType.string,
    "product": DataType.string,
    "amount": DataType.double,
    "whole_number": DataType.long,
}
_DESCRIPTION = """\
Reductions of revolving credit limits. A version answers statements with probability, log-odds,
action, new limit, reasons and contributions, to the bit as the endpoint that serves its bundle:

    import mlflow
    model = mlflow.pyfunc.load_model("models:/{name}@champion")
    model.predict(statements)

`python -m training promote` moves the alias `champion` to a version that passes the gates.
"""


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A registered version whose files are being written."""

    name: str
    version: str
    run: str
    model_id: str  # of MLflow's logged model


@contextmanager
def new_version(name: str, run_id: str) -> Iterator[NewVersion]:
    """Register a version of the active run; mark its model as ready, or as failed, at the end.

    It counts as a version with a bundle once :func:`log_bundle` has tagged it.
    """
    client = MlflowClient()
    _create_model(client, name)
    logged = mlflow.initialize_logged_model("model", source_run_id=run_id)
    model_id = str(logged.model_id)
    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    created = client.create_model_version(
        name,
        source=f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
    )
    try:
        yield NewVersion(name, str(created.version), run_id, model_id)
    except BaseException:
        client.finalize_logged_model(model_id, "FAILED")
        raise
    client.finalize_logged_model(model_id, "READY")


def log_booster(booster: lgb.Booster, example: Matrix) -> None:
    """Keep the native Booster with the active run, as its model ``booster``.

    Its answers are raw: neither calibrated nor explained.  ``example`` are rows of features, for
    the type of the output.
    """
    # The signature names the features, so that MLflow orders the columns of a table by name;
    # LightGBM takes them by position.
    features = booster.feature_name()
    inputs = Schema([ColSpec(DataType.double, feature) for feature in features])
    probability = np.asarray(booster.predict(example))
    # -1: any number of rows.
    shape = (-1, *probability.shape[1:])
    outputs = Schema([TensorSpec(probability.dtype, shape)])
    mlflow.lightgbm.log_model(
        booster,
        name="booster",
        signature=ModelSignature(inputs, outputs),
        pip_requirements=_requirements(("mlflow", "lightgbm", "numpy")),
    )


def log_bundle(new: NewVersion, folder: Path, digest: str) -> None:
    """Keep the bundle with the run, and with the model that decides by it; tag the version."""
    mlflow.log_artifacts(str(folder), "bundle")
    client = MlflowClient()
    with temporary_folder() as scratch:
        files = Path(scratch) / "model"
        _write_model(new, folder, files)
        client.log_model_artifacts(new.model_id, str(files))
    client.set_model_version_tag(new.name, new.version, "bundle", digest)


def describe_version(name: str, version: str, text: str) -> None:
    """Set the Markdown text on top of a version's page."""
    MlflowClient().update_model_version(name, version, text)


def _create_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name, description=_DESCRIPTION.format(name=name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _write_model(new: NewVersion, bundle: Path, files: Path) -> None:
    code = files.parent / "code.zip"
    write_code(code)
    example = _example(json.loads((bundle / "golden.json").read_text("utf-8")))
    # Saved and uploaded, not logged: `log_model` would load the model once more.
    with _warnings_only("mlflow.pyfunc"):
        mlflow.pyfunc.save_model(
            str(files),
            mlflow_model=Model(run_id=new.run, model_id=new.model_id),
            python_model=str(_CODE),
            artifacts={"bundle": str(bundle), "code": str(code)},
            signature=_signature(),
            input_example=example,
            pip_requirements=_requirements(_REQUIRED),
        )


@contextmanager
def _warnings_only(name: str) -> Iterator[None]:
    """Keep what a logger tells of its progress off the terminal, inside the block."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _signature() -> ModelSignature:
    inputs: list[ColSpec | TensorSpec] = []
    for column in COLUMNS:
        required = column.null == "never"
        inputs.append(ColSpec(_TYPES[column.kind], column.name, required))
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "account_id"),
        ColSpec(DataType.double, "probability"),
        ColSpec(DataType.double, "log_odds"),
        ColSpec(DataType.string, "action"),
        ColSpec(DataType.double, "new_limit"),
    ]
    texts = ("detail", "decided_at")
    params = ParamSchema([ParamSpec(name, DataType.string, "") for name in texts])
    signature = ModelSignature(Schema(inputs), Schema(outputs), params)
    # MLflow's own check of inputs would refuse Polars, features, and whole numbers of pandas as
    # amounts.  A model that checks its input by itself, as ours does with `features.schema`, is
    # marked so; MLflow sets the mark for models with type hints, and has no public name for it.
    signature._is_signature_from_type_hint = True
    return signature


def _example(golden: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return a golden account's statements as records, and the parameters they are decided with.

    Columns without any value are left out: MLflow cannot tell their type.
    """
    statements = [dict(zip(NAMES, row, strict=True)) for row in golden["statements"]]
    first = statements[0]["account_id"]
    own = [statement for statement in statements if statement["account_id"] == first]
    known = [name for name in NAMES if any(row[name] is not None for row in own)]
    records = [{name: row[name] for name in known} for row in own]
    return records, {"decided_at": golden["decided_at"]}


def _requirements(libraries: tuple[str, ...]) -> list[str]:
    return [f"{library}=={importlib.metadata.version(library)}" for library in libraries]
