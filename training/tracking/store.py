"""The MLflow store: a folder with its database and artefacts."""

from __future__ import annotations

import datetime
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from fasteners import InterProcessLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from training.tracking.config import FORMER_NAMES

EXPERIMENT = "limit-reduction"  # of all runs, whatever their registered model is called

_threads = threading.Lock()


class TrackingError(LookupError):
    """The store has no such run, version or alias: the message names it and the existing ones."""


def sqlite_uri(file: Path) -> str:
    """Return the URI of a SQLite file, whatever characters its path has.

    >>> sqlite_uri(Path("/loans/mlflow.db"))
    'sqlite:////loans/mlflow.db'
    >>> sqlite_uri(Path("/loans 40%?/mlflow.db"))
    'sqlite+pysqlite:////loans 40%25%3F/mlflow.db'
    """
    plain = f"sqlite:///{file}"
    if sa.make_url(plain).database == str(file):
        return plain
    # With the driver's name: of a URI that begins with sqlite:///, MLflow creates the folder
    # without decoding its name.
    quoted = sa.URL.create("sqlite+pysqlite", database=str(file))
    return quoted.render_as_string(hide_password=False)


@dataclass(frozen=True, slots=True)
class Store:
    """A folder with MLflow's database and artefacts."""

    folder: Path

    @property
    def uri(self) -> str:
        """The tracking URI.  Absolute, because a relative one depends on the working directory."""
        return sqlite_uri(self.folder.resolve() / "mlflow.db")

    def exists(self) -> bool:
        """Whether the store has a database.  A look through MLflow would create and migrate one."""
        return (self.folder / "mlflow.db").is_file()

    def client(self) -> MlflowClient:
        """Return a client of this store; creates the folder.

        Raises PermissionError if the store is read-only: MLflow would raise later, from SQLite.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.folder, self.folder / "mlflow.db"):
            if path.exists() and not os.access(path, os.W_OK):
                raise PermissionError(f"{path}: cannot be written")
        with self.lock():
            # It creates and migrates a new database.  MLflow does so without a lock: of several
            # processes that come to a new store at once, all but one would fail in alembic.
            return MlflowClient(self.uri, self.uri)

    def experiment_id(self) -> str:
        """Return the id of the experiment that all runs belong to; creates it if necessary."""
        client = self.client()
        with self.lock():
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is not None:
                return str(experiment.experiment_id)
            # Named here: by default MLflow would write to ./mlruns of the working directory.
            artifacts = self.folder.resolve() / "artifacts"
            return client.create_experiment(EXPERIMENT, artifact_location=artifacts.as_uri())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the store's lock: other processes and threads that come to it wait.

        The system releases it when the process ends, however it ends.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # The file's lock is the process's, so threads need one of their own.
        with _threads, InterProcessLock(self.folder / "mlflow.lock"):
            yield


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Parameters and tags of a run, who started it, and when (ISO 8601, UTC)."""

    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    by: str
    at: str

    def stage(self, stage: str) -> dict[str, str]:
        """Return the config fields of a stage as text, by their names of today."""
        prefix = f"{stage}."
        values = {}
        for key, value in self.parameters.items():
            if key.startswith(prefix):
                name = key.removeprefix(prefix)
                values[FORMER_NAMES.get(name, name)] = value
        return values


def fetch_run_info(store: Store, run_id: str) -> RunInfo:
    """Return the parameters and tags of a run; :class:`TrackingError` if there is no such run."""
    if not store.exists():
        raise TrackingError(f"expected a store in {store.folder}, found none")
    try:
        run = store.client().get_run(run_id)
    except MlflowException as error:
        raise TrackingError(f"no run {run_id} is in {store.folder}") from error
    seconds = run.info.start_time / 1000
    start = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return RunInfo(
        parameters=run.data.params,
        tags=run.data.tags,
        by=str(run.data.tags.get("mlflow.user", "")),
        at=f"{start:%Y-%m-%dT%H:%M:%SZ}",
    )


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for files on their way into or out of the store."""
    return tempfile.TemporaryDirectory(prefix="clearline-")
