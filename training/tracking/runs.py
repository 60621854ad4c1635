"""Params, tables, figures and the bundle to ``mlruns/``.  The only importer of MLflow in training.

One run holds everything of one fit.  The store is SQLite under ``mlruns/`` with the artefacts
beside it; models are LightGBM's own text, never a pickle.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
from matplotlib.figure import Figure
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from training.tracking.store import Store, TrackingError, fetch_run_info, temporary_folder

RUN_NAME, ON_TOP = (
    "mlflow.runName",
    "mlflow.note.content",
)  # tags: what a run is called, and what its page says first (Markdown)
# it tells of each migration of a new database
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)


@contextmanager
def start_run(store: Store, name: str | None = None, again: str | None = None) -> Iterator[str]:
    """A run in the store, active inside the block; gives its id.  An exception inside marks it as
    failed, an interruption as killed, and the tag ``ended_by`` says which it was.

    ``name`` is what MLflow shows it as; one of MLflow's own making if none is given.  ``again`` is
    a run to go on with; a new one where the store has no such run any more.
    """
    experiment_id = store.experiment_id()
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)
    if again is not None and not _is_there(store, again):
        again = None
    with mlflow.start_run(
        run_id=again, experiment_id=experiment_id, run_name=None if again else name
    ) as active:
        try:
            yield str(active.info.run_id)
        except (Exception, KeyboardInterrupt) as error:
            killed = isinstance(error, KeyboardInterrupt)
            mlflow.set_tag(
                "ended_by", "interrupted" if killed else f"{type(error).__name__}: {error}"[:500]
            )
            mlflow.end_run("KILLED" if killed else "FAILED")
            raise


def _is_there(store: Store, run_id: str) -> bool:
    try:
        return str(store.client().get_run(run_id).info.lifecycle_stage) == "active"
    except MlflowException:
        return False


def log_tags(tags: Mapping[str, str]) -> None:
    """Tags of the active run."""
    mlflow.set_tags(dict(tags))


@dataclass(frozen=True, slots=True)
class Child:
    """A run inside another: its name, and the little that is worth keeping of it."""

    name: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


class Children:
    """The runs inside a run, each written whole at its end: three transactions, whatever it holds."""

    def __init__(self, store: Store, parent: str) -> None:
        self._client, self._experiment, self._parent = store.client(), store.experiment_id(), parent

    def names(self) -> set[str]:
        """Those that are there; what a killed process left unfinished is deleted."""
        inside = f"tags.`mlflow.parentRunId` = '{self._parent}'"
        found, token = set(), None
        while True:
            page = self._client.search_runs(
                [self._experiment], inside, max_results=1000, page_token=token
            )
            for child in page:
                if child.info.status == "FINISHED":
                    found.add(str(child.info.run_name))
                else:
                    self._client.delete_run(child.info.run_id)
            if not (token := page.token):
                return found

    def log(self, child: Child) -> None:
        """Keep one."""
        tags = {"mlflow.parentRunId": self._parent, RUN_NAME: child.name} | dict(child.tags)
        run_id = self._client.create_run(self._experiment, tags=tags).info.run_id
        now = int(time.time() * 1000)
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in child.metrics.items()],
            params=[Param(name, str(value)) for name, value in child.params.items()],
        )
        self._client.set_terminated(run_id)


def log_configs(
    configs: Mapping[str, Any], facts: Mapping[str, str], but: Sequence[str] = ()
) -> None:
    """Every field of every config as ``stage.field``, ``but`` these; facts (digests, versions) as
    tags.
    """
    parameters = {
        f"{stage}.{field.name}": getattr(config, field.name)
        for stage, config in configs.items()
        for field in fields(config)
        if f"{stage}.{field.name}" not in but
    }
    mlflow.log_params(parameters)
    mlflow.set_tags(dict(facts))


def log_tables(tables: Mapping[str, pl.DataFrame]) -> None:
    """Each table as CSV under ``tables/``."""
    for name, table in tables.items():
        mlflow.log_text(table.write_csv(), f"tables/{name}.csv")


def log_text(text: str, place: str) -> None:
    """A text of the run under that name."""
    mlflow.log_text(text, place)


def log_figures(figures: Mapping[str, Figure]) -> None:
    """Each figure as PNG under ``figures/``."""
    with draw_in_background(figures):
        pass


@contextmanager
def draw_in_background(figures: Mapping[str, Figure]) -> Iterator[None]:
    """Log figures while the block runs, which leaves matplotlib alone; they are kept when it ends.

    Drawing is most of what keeping a run costs, and what a fit does last are LightGBM's
    predictions, without the interpreter.
    """
    if (active := mlflow.active_run()) is None:
        raise TrackingError("expected a run that is active, to keep figures with; there is none")
    client, run_id = MlflowClient(), active.info.run_id

    def draw() -> None:
        # Pillow's default level takes a fifth of the drawing's time to save a twentieth of the
        # bytes.
        how = {"dpi": 110, "pil_kwargs": {"compress_level": 1}}
        for name, figure in figures.items():
            client.log_figure(run_id, figure, f"figures/{name}.png", save_kwargs=how)

    with ThreadPoolExecutor(1, "figures") as pool:
        drawn = pool.submit(draw)
        yield
        drawn.result()


def log_metrics(metrics: Mapping[str, float]) -> None:
    """Metrics of the run by name."""
    mlflow.log_metrics(dict(metrics))


def fetch_table(store: Store, run_id: str, name: str) -> pl.DataFrame | None:
    """A table that a run keeps; None where it keeps none of that name."""
    place = f"tables/{name}.csv"
    client = store.client()
    if place not in {file.path for file in client.list_artifacts(run_id, "tables")}:
        return None
    with temporary_folder() as folder:
        return pl.read_csv(client.download_artifacts(run_id, place, folder))


def replace_text(store: Store, run_id: str, text: str, place: str) -> None:
    """Keep a text with a run that is over, under that name; one of before is replaced."""
    store.client().log_text(run_id, text, place)


def fetch_run_bundle(store: Store, run_id: str, folder: Path) -> Path:
    """A copy of the bundle that a run keeps, in ``folder``; returns where it is.
    :class:`TrackingError` where it keeps none."""
    fetch_run_info(store, run_id)
    if not store.client().list_artifacts(run_id, "bundle"):
        raise TrackingError(
            f"run {run_id} keeps no bundle: it is no fit, or one that did not finish"
        )
    return Path(store.client().download_artifacts(run_id, "bundle", str(folder)))
