"""The monitor: a period's decision records against what the version was fitted on.

Read :func:`run_monitor` first.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from training.data.config import DataError
from training.evaluate.drift import DriftSample, compare_samples, drift_sample
from training.evaluate.holdout import Evaluation
from training.evaluate.unseen_accounts import caveats, evaluate_version
from training.release.monitor.alerts import Breach, drift_breaches, performance_breaches
from training.release.monitor.bounds import Bounds, read_bounds
from training.release.monitor.estimate import estimated, realised
from training.release.monitor.page import as_json, render_page
from training.release.monitor.records import RecordFileError, Records, read_labels, read_records
from training.tracking.store import Store

PERFORMANCE = {
    "month": pl.String,
    "basis": pl.String,
    "accounts": pl.Int64,
    "measure": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "reference": pl.Float64,
}


@dataclass(frozen=True, slots=True)
class Monitored:
    """What a monitor found.

    ``drift``: ``month`` ("2026-09") and the columns of
    :func:`training.evaluate.drift.drift_table`.  ``performance``: ``month``, ``basis`` (estimated,
    or realised of the decisions that have labels), ``accounts``, ``measure`` (auc, brier, rate),
    ``value``, ``low``, ``high`` (95 %) and ``reference``.  ``verdict``: beyond or within bounds, or
    too little to judge. ``page`` and ``json`` are the report.
    """

    drift: pl.DataFrame
    performance: pl.DataFrame
    breaches: tuple[Breach, ...]
    notes: tuple[str, ...]
    verdict: str
    page: str
    json: str

    @property
    def code(self) -> int:
        """For a scheduler: 1 where a bound is broken, else 0."""
        return 1 if self.breaches else 0

    def write(self, stem: Path) -> tuple[Path, Path]:
        """The report as ``stem.md`` and ``stem.json``."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        places = stem.with_name(stem.name + ".md"), stem.with_name(stem.name + ".json")
        for place, text in zip(places, (self.page, self.json), strict=True):
            place.write_text(text, encoding="utf-8")
        return places


def run_monitor(
    records_file: Path,
    data_folder: Path,
    store: Store,
    name: str,
    version: str,
    labels_file: Path | None = None,
    bounds: Bounds | None = None,
) -> Monitored:
    """Hold the decisions of a version against the accounts that its fit held out; ``data_folder``
    is what it was fitted on.

    Raises RecordFileError for records or labels that cannot be used, DataError for other data,
    TrackingError.

    An example, with the names of :mod:`training.release.monitor.monitor` and
    :mod:`training.tracking.runs`::

        found = run_monitor(Path("data/2026-10.jsonl"), Path("data/simulated"),
        Store(Path("mlruns")), "limit-reduction", "1") print(found.code, [breach.name for breach in
        found.breaches])
    """
    bounds = read_bounds() if bounds is None else bounds
    reference, source, _ = evaluate_version(data_folder, store, name, version)
    if reference.bundle.provenance.training_data != source.digest:
        raise DataError(
            f"{data_folder}: expected the data that version {version} of {name} was fitted on, got other data"
        )
    records = read_records(records_file, reference.bundle.digest)
    labels = (
        None if labels_file is None else _joined(records, read_labels(labels_file), labels_file)
    )
    drift, breaches = _drift(records, reference, bounds)
    performance = _performance(records, labels, reference)
    found = (*breaches, *performance_breaches(performance, bounds))
    notes = (*caveats(source), *_notes(records, labels, performance, bounds))
    facts = _facts(records, reference)
    judged = bool((performance["accounts"] >= bounds.min_accounts).any())
    verdict = (
        "beyond bounds" if found else "within bounds" if judged else "too few decisions to judge"
    )
    told = (facts | {"verdict": verdict}, notes, found, drift, performance)
    return Monitored(drift, performance, found, notes, verdict, render_page(*told), as_json(*told))


def _drift(
    records: Records, reference: Evaluation, bounds: Bounds
) -> tuple[pl.DataFrame, list[Breach]]:
    names = reference.bundle.features if records.with_asked else ()
    was = drift_sample(reference, names)
    tables, breaches = [], []
    for month in records.months:
        rows = records.of(month)
        table = compare_samples(names, was, _seen(records, month, names))
        breaches += drift_breaches(_named(month), table, (len(was.log_odds), rows.height), bounds)
        tables.append(table.select(pl.lit(_named(month)).alias("month"), pl.all()))
    return pl.concat(tables), breaches


def _seen(records: Records, month: datetime.date, names: Sequence[str]) -> DriftSample:
    rows = records.of(month)
    p = rows["probability"].to_numpy()
    matrix = records.features_of(month).matrix(names) if names else np.empty((len(p), 0))
    return DriftSample(matrix, np.log(p) - np.log1p(-p), rows["first_reason"].to_list())


def _performance(
    records: Records, labels: pl.DataFrame | None, reference: Evaluation
) -> pl.DataFrame:
    """Each month estimated over all its decisions, and realised over those that have a label."""
    told = {
        "estimated": _by_measure(estimated(reference.probability)),
        "realised": _by_measure(realised(reference.label, reference.probability)),
    }
    parts = []
    for month in records.months:
        p = records.of(month)["probability"].to_numpy()
        parts.append(_rows(month, "estimated", len(p), estimated(p), told["estimated"]))
        known = None if labels is None else labels.filter(pl.col("as_of") == month)
        if known is not None and known.height:
            label, p = known["label"].to_numpy(), known["probability"].to_numpy()
            parts.append(
                _rows(
                    month,
                    "realised",
                    len(p),
                    realised(label, p),
                    told["realised"] | {"rate": float(p.mean())},
                )
            )
    return pl.concat(parts)


def _by_measure(table: pl.DataFrame) -> dict[str, float | None]:
    return dict(table.select("measure", "value").iter_rows())


def _rows(
    month: datetime.date,
    basis: str,
    accounts: int,
    table: pl.DataFrame,
    reference: dict[str, float | None],
) -> pl.DataFrame:
    rows = [
        (_named(month), basis, accounts, measure, value, low, high, reference[measure])
        for measure, value, low, high in table.iter_rows()
    ]
    return pl.DataFrame(rows, PERFORMANCE, orient="row")


def _joined(records: Records, labels: pl.DataFrame, file: Path) -> pl.DataFrame:
    if not records.with_asked:
        raise RecordFileError(
            f"{file}: labels need accounts to join them to: export the records with --asked"
        )
    joined = records.rows.join(labels, on=["account_id", "as_of"], how="inner")
    if joined.is_empty():
        raise RecordFileError(
            f"{file}: expected labels of the accounts and months decided, got none of {labels.height}"
        )
    return joined.sort("as_of", "account_id")


def _notes(
    records: Records, labels: pl.DataFrame | None, performance: pl.DataFrame, bounds: Bounds
) -> tuple[str, ...]:
    notes = [
        f"{count:,} decisions left out: {why}" for why, count in records.left_out.items() if count
    ]
    if not records.with_asked:
        notes.append("features are not compared: the records were exported without --asked")
    if labels is not None:
        notes.append(f"{labels.height:,} of {records.rows.height:,} decisions have a label")
    few = (
        performance.filter(pl.col("accounts") < bounds.min_accounts)
        .select("month", "basis")
        .unique(maintain_order=True)
    )
    notes += [
        f"{month}: too few accounts to judge the {basis} performance"
        for month, basis in few.iter_rows()
    ]
    return tuple(notes)


def _facts(records: Records, reference: Evaluation) -> dict[str, object]:
    months = [_named(month) for month in records.months]
    return {
        "name": reference.name.capitalize(),
        "bundle": reference.bundle.digest[:12],
        "accounts": records.rows.height,
        "months": months[0] if len(months) == 1 else f"{months[0]} to {months[-1]}",
        "reference": len(reference.label),
        "as_of": _named(reference.hold_out.as_of),
    }


def _named(month: datetime.date) -> str:
    return f"{month:%Y-%m}"
