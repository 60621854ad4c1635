"""The MLflow store: a folder with its database and artefacts."""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

EXPERIMENT = "limit-reduction"


class TrackingError(LookupError):
    """A run, version or alias that is not in the store: what was asked for, and what there is."""


@dataclass(frozen=True, slots=True)
class Store:
    """Where runs are kept: a folder with MLflow's database and artefacts."""

    folder: Path

    @property
    def uri(self) -> str:
        """The tracking address, absolute: a relative one would depend on who opens it."""
        return f"sqlite:///{self.folder.resolve()}/mlflow.db"

    def exists(self) -> bool:
        """Whether anything was ever kept here: asking MLflow would make a database and migrate it."""
        return (self.folder / "mlflow.db").is_file()

    def client(self) -> MlflowClient:
        """A client of this store; PermissionError where it cannot be written: MLflow would say so
        late, and in SQL.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for place in (self.folder, self.folder / "mlflow.db"):
            if place.exists() and not os.access(place, os.W_OK):
                raise PermissionError(f"{place}: cannot be written")
        return MlflowClient(self.uri, self.uri)

    def experiment_id(self) -> str:
        """The experiment that runs belong to, made if it is not there: its artefacts stand beside
        the database.
        """
        client = self.client()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return str(experiment.experiment_id)
        return client.create_experiment(
            EXPERIMENT, artifact_location=(self.folder.resolve() / "artifacts").as_uri()
        )


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a run tells of itself: its parameters and tags by name, and who started it when (ISO
    8601, UTC).
    """

    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    by: str
    at: str

    def stage(self, stage: str) -> dict[str, str]:
        """The fields of the config of a stage, as text."""
        return {
            key.removeprefix(f"{stage}."): value
            for key, value in self.parameters.items()
            if key.startswith(f"{stage}.")
        }


def fetch_run_info(store: Store, run_id: str) -> RunInfo:
    """What a run tells; :class:`TrackingError` where it is not in the store."""
    if not store.exists():
        raise TrackingError(f"expected a store in {store.folder}, found none")
    try:
        found = store.client().get_run(run_id)
    except MlflowException as error:
        raise TrackingError(f"no run {run_id} is in {store.folder}") from error
    began = datetime.datetime.fromtimestamp(found.info.start_time / 1000, datetime.UTC)
    return RunInfo(
        found.data.params,
        found.data.tags,
        str(found.data.tags.get("mlflow.user", "")),
        f"{began:%Y-%m-%dT%H:%M:%SZ}",
    )


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for what is on its way into the store."""
    return tempfile.TemporaryDirectory(prefix="clearline-")
