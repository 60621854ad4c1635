"""Runs: parameters, tags, metrics, tables, figures and texts.

One run keeps everything of one fit, comparison, search or report.  The store is SQLite with the
artefacts in the same folder; models are LightGBM's own text, never a pickle.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import matplotlib as mpl
import mlflow
import polars as pl
from matplotlib.figure import Figure
from mlflow.data.dataset_source_registry import get_dataset_source_from_json
from mlflow.data.polars_dataset import from_polars
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient, is_tracking_uri_set

from training.tracking.config import as_text
from training.tracking.store import Store, TrackingError, fetch_run_info, temporary_folder

RUN_NAME = "mlflow.runName"  # tag: the name that MLflow shows
ON_TOP = "mlflow.note.content"  # tag: Markdown on top of the run's page
# Pillow's default level takes a fifth of the drawing's time to save a twentieth of the bytes.
_FIGURE = {"dpi": 110, "pil_kwargs": {"compress_level": 1}}
_DIGEST_LENGTH = 36  # of a dataset, in MLflow's database
# What a split is for, in MLflow's words.
_CONTEXTS = {"train": "training", "valid": "validation", "test": "evaluation"}
_REGISTRY = "MLFLOW_REGISTRY_URI"
_BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


@contextmanager
def start_run(
    store: Store,
    name: str | None = None,
    resume: str | None = None,
) -> Iterator[str]:
    """Start a run that is active inside the block; yield its id.

    ``name`` is what MLflow shows; None = a name that MLflow makes up.  ``resume`` is the id of a
    run to continue; if the store no longer has it, a new run starts.

    An exception inside marks the run as failed, an interruption as killed; the tag ``ended_by``
    holds the reason.
    """
    with _tracking_to(store), _start(store, name, resume) as run_id:
        yield run_id


@contextmanager
def _tracking_to(store: Store) -> Iterator[None]:
    """Let MLflow write to this store inside the block, and to the caller's own store after it.

    MLflow shows no bars of its own: the caller has a progress.
    """
    is_set = is_tracking_uri_set()  # type: ignore[no-untyped-call]
    tracking = mlflow.get_tracking_uri() if is_set else None
    before = {name: os.environ.get(name) for name in (_REGISTRY, _BARS)}
    os.environ.setdefault(_BARS, "false")
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(tracking)  # type: ignore[arg-type]  # None: MLflow's default
        mlflow.set_registry_uri(before[_REGISTRY] or "")
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


@contextmanager
def _start(store: Store, name: str | None, resume: str | None) -> Iterator[str]:
    experiment_id = store.experiment_id()
    if resume is not None and not _is_active(store, resume):
        resume = None
    # A resumed run keeps its name.
    run_name = name if resume is None else None
    started = mlflow.start_run(
        run_id=resume,
        experiment_id=experiment_id,
        run_name=run_name,
    )
    with started as run:
        try:
            yield str(run.info.run_id)
        except KeyboardInterrupt:
            mlflow.set_tag("ended_by", "interrupted")
            mlflow.end_run("KILLED")
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            mlflow.set_tag("ended_by", reason[:500])
            mlflow.end_run("FAILED")
            raise


def _is_active(store: Store, run_id: str) -> bool:
    try:
        info = store.client().get_run(run_id).info
        # A deleted run can still be read, but nothing can be logged to it.
        return str(info.lifecycle_stage) == "active"
    except MlflowException:
        return False


@dataclass(frozen=True, slots=True)
class Child:
    """A run inside another one."""

    name: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


class Children:
    """The runs inside a run.  Each is written when it has ended, in three transactions."""

    def __init__(self, store: Store, parent: str) -> None:
        self._client = store.client()
        self._experiment = store.experiment_id()
        self._parent = parent

    def names(self) -> set[str]:
        """Return the names of the finished runs; delete those that a killed process left."""
        inside = f"tags.`mlflow.parentRunId` = '{self._parent}'"
        names, token = set(), None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                inside,
                max_results=1000,
                page_token=token,
            )
            for child in page:
                if child.info.status == "FINISHED":
                    names.add(str(child.info.run_name))
                else:
                    self._client.delete_run(child.info.run_id)
            token = page.token
            if not token:
                return names

    def log(self, child: Child) -> None:
        """Write a child run."""
        own_tags = {"mlflow.parentRunId": self._parent, RUN_NAME: child.name}
        run = self._client.create_run(self._experiment, tags=own_tags | dict(child.tags))
        run_id = run.info.run_id
        now = int(time.time() * 1000)  # milliseconds
        metrics = [Metric(name, value, now, 0) for name, value in child.metrics.items()]
        params = [Param(name, str(value)) for name, value in child.params.items()]
        self._client.log_batch(run_id, metrics, params)
        # Last: names() takes a run that is not finished for one that a killed process left.
        self._client.set_terminated(run_id)


def log_tags(tags: Mapping[str, str]) -> None:
    """Set tags of the active run."""
    mlflow.set_tags(dict(tags))


def log_configs(
    configs: Mapping[str, Any],
    facts: Mapping[str, str],
    exclude: Sequence[str] = (),
) -> None:
    """Log config fields as parameters ``stage.field``, and facts (digests, versions) as tags.

    ``configs`` maps a stage to its config; ``exclude`` names parameters that are not logged.
    """
    parameters = {}
    for stage, config in configs.items():
        for field in fields(config):
            name = f"{stage}.{field.name}"
            if name not in exclude:
                parameters[name] = as_text(getattr(config, field.name))
    mlflow.log_params(parameters)
    mlflow.set_tags(dict(facts))


def log_dataset(
    table: pl.DataFrame,
    folder: Path,
    digest: str,
    split: str,
) -> None:
    """Log a split as a dataset input of the active run, with the digest of its data folder.

    MLflow shows its columns and number of rows, and finds the runs on the same data.  Of a digest
    it has room for the first 36 characters; the tag ``digest`` has all.
    """
    place = folder.resolve()
    # By its kind, "local": a guess from the address alone warns that there are two such kinds.
    source = get_dataset_source_from_json(json.dumps({"uri": place.as_uri()}), "local")
    dataset = from_polars(
        table,
        source=source,
        targets="label",
        name=f"{place.name} {split}",
        digest=digest[:_DIGEST_LENGTH],
    )
    mlflow.log_input(dataset, context=_CONTEXTS[split], tags={"digest": digest})


def log_tables(tables: Mapping[str, pl.DataFrame]) -> None:
    """Write each table as CSV under ``tables/``."""
    for name, table in tables.items():
        mlflow.log_text(table.write_csv(), f"tables/{name}.csv")


def log_text(text: str, path: str) -> None:
    """Write a text of the active run to this artefact path."""
    mlflow.log_text(text, path)


def log_metrics(metrics: Mapping[str, float]) -> None:
    """Log metrics of the active run by name."""
    mlflow.log_metrics(dict(metrics))


def log_figures(figures: Mapping[str, Figure]) -> None:
    """Write each figure as PNG under ``figures/``."""
    with draw_in_background(figures):
        pass


@contextmanager
def draw_in_background(figures: Mapping[str, Figure]) -> Iterator[None]:
    """Draw and write figures in a thread while the block runs; the end of the block waits for it.

    Drawing is most of what keeping a run costs, and the last work of a fit, LightGBM's predictions,
    releases the GIL.  The block must not use matplotlib: it is not thread-safe.
    """
    active = mlflow.active_run()
    if active is None:
        raise TrackingError("expected an active run to keep figures with, got none")
    client, run_id = MlflowClient(), active.info.run_id

    def draw() -> None:
        # Hinting glyphs is an eighth of the cost of drawing.
        with mpl.rc_context({"text.hinting": "none"}):
            for name, figure in figures.items():
                client.log_figure(
                    run_id,
                    figure,
                    f"figures/{name}.png",
                    save_kwargs=_FIGURE,
                )

    with ThreadPoolExecutor(1, "figures") as pool:
        drawn = pool.submit(draw)
        yield
        drawn.result()  # raises what the drawing raised


def fetch_table(store: Store, run_id: str, name: str) -> pl.DataFrame | None:
    """Return a table of a run; None if the run has no table of that name."""
    path = f"tables/{name}.csv"
    client = store.client()
    # Listed first, because MLflow's download of a missing artefact is an error.
    tables = client.list_artifacts(run_id, "tables")
    if path not in {file.path for file in tables}:
        return None
    with temporary_folder() as folder:
        file = client.download_artifacts(run_id, path, folder)
        return pl.read_csv(file, glob=False)


def find_newest(store: Store, tag: str, value: str) -> str | None:
    """Return the id of the newest finished run whose tag has this value; None without one."""
    found = store.client().search_runs(
        [store.experiment_id()],
        f"tags.`{tag}` = '{value}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return str(found[0].info.run_id) if found else None


def replace_text(
    store: Store,
    run_id: str,
    text: str,
    path: str,
) -> None:
    """Write a text of a run that has ended; overwrites an earlier one at this path."""
    store.client().log_text(run_id, text, path)


def fetch_run_bundle(store: Store, run_id: str, folder: Path) -> Path:
    """Copy the bundle of a run into ``folder``; return its path.

    Raises :class:`TrackingError` if there is no such run, or if it has no bundle.
    """
    fetch_run_info(store, run_id)  # raises if there is no such run
    client = store.client()
    if not client.list_artifacts(run_id, "bundle"):
        raise TrackingError(
            f"run {run_id} keeps no bundle: it is no fit, or one that did not finish"
        )
    return Path(client.download_artifacts(run_id, "bundle", str(folder)))
