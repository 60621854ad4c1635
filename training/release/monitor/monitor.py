"""The monitor: compares a period's decisions with the accounts that the fit held out.

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
from training.evaluate.model_lookup import RegisteredVersion
from training.evaluate.unseen_accounts import caveats, evaluate_version
from training.release.monitor.alerts import Breach, drift_breaches, performance_breaches
from training.release.monitor.bounds import Bounds, read_bounds
from training.release.monitor.estimate import estimated, realised
from training.release.monitor.page import MonitorReport, as_json, render_page
from training.release.monitor.records import RecordFileError, Records, read_labels, read_records

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
class MonitorFiles:
    """Where a monitor reads: the period's decisions, the data of the fit, and known outcomes."""

    records: Path  # JSON lines of ``python -m serving export``
    data: Path  # the folder that the version was fitted on
    labels: Path | None = None  # .parquet or .csv with account_id, as_of, label


@dataclass(frozen=True, slots=True)
class Monitored:
    """The result of a monitor.

    ``drift``: ``month`` ("2026-09") and the columns of
    :func:`training.evaluate.drift.drift_table`.  ``performance``: ``month``, ``basis`` (estimated,
    or realised over the decisions that have labels), ``accounts``, ``measure`` (auc, brier, rate),
    ``value``, ``low``, ``high`` (95 %) and ``reference``.  ``verdict``: beyond or within bounds, or
    too few decisions to judge.  ``page`` (Markdown) and ``json`` are the report.
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
        """The exit code for a scheduler: 1 if a bound is broken, else 0."""
        return 1 if self.breaches else 0

    def write(self, stem: Path) -> tuple[Path, Path]:
        """Write the report as ``stem.md`` and ``stem.json``; returns both paths."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        markdown, json = stem.with_name(f"{stem.name}.md"), stem.with_name(f"{stem.name}.json")
        markdown.write_text(self.page, encoding="utf-8")
        json.write_text(self.json, encoding="utf-8")
        return markdown, json


def run_monitor(
    files: MonitorFiles, model: RegisteredVersion, bounds: Bounds | None = None
) -> Monitored:
    """Compare the decisions of a version with its decisions on the accounts that its fit held out.

    ``bounds`` are the project's own by default.  Raises RecordFileError for records or labels that
    cannot be used, DataError for data that the version was not fitted on, and TrackingError.

    An example::

        model = RegisteredVersion(Store(Path("mlruns")), "limit-reduction", "1")
        files = MonitorFiles(Path("data/2026-10.jsonl"), Path("data/simulated"))
        found = run_monitor(files, model)
        print(found.code, [breach.name for breach in found.breaches])
    """
    bounds = bounds or read_bounds()
    reference, source, _ = evaluate_version(files.data, model.store, model.name, model.version)
    if reference.bundle.provenance.training_data != source.digest:
        fitted_on = f"the data that version {model.version} of {model.name} was fitted on"
        raise DataError(f"{files.data}: expected {fitted_on}, got other data")
    records = read_records(files.records, reference.bundle.digest)
    labels = None if files.labels is None else _join_labels(records, files.labels)
    drift, breaches = _drift(records, reference, bounds)
    performance = _performance(records, labels, reference)
    broken = (*breaches, *performance_breaches(performance, bounds))
    report = MonitorReport(
        facts=_facts(records, reference),
        verdict=_verdict(performance, broken, bounds),
        notes=(*caveats(source), *_notes(records, labels, performance, bounds)),
        breaches=broken,
        drift=drift,
        performance=performance,
    )
    return Monitored(
        drift=drift,
        performance=performance,
        breaches=broken,
        notes=report.notes,
        verdict=report.verdict,
        page=render_page(report),
        json=as_json(report),
    )


def _verdict(performance: pl.DataFrame, broken: Sequence[Breach], bounds: Bounds) -> str:
    if broken:
        return "beyond bounds"
    judged = bool((performance["accounts"] >= bounds.min_accounts).any())
    return "within bounds" if judged else "too few decisions to judge"


def _drift(
    records: Records, reference: Evaluation, bounds: Bounds
) -> tuple[pl.DataFrame, list[Breach]]:
    names = reference.bundle.features if records.with_asked else ()
    was = drift_sample(reference, names)
    tables, breaches = [], []
    for month in records.months:
        now = _sample(records, month, names)
        table = compare_samples(names, was, now)
        sizes = len(was.log_odds), len(now.log_odds)
        breaches += drift_breaches(_text(month), table, sizes, bounds)
        tables.append(table.select(pl.lit(_text(month)).alias("month"), pl.all()))
    return pl.concat(tables), breaches


def _sample(records: Records, month: datetime.date, names: Sequence[str]) -> DriftSample:
    rows = records.of(month)
    p = rows["probability"].to_numpy()
    matrix = records.features_of(month).matrix(names) if names else np.empty((len(p), 0))
    return DriftSample(matrix, np.log(p) - np.log1p(-p), rows["first_reason"].to_list())


def _performance(
    records: Records, labels: pl.DataFrame | None, reference: Evaluation
) -> pl.DataFrame:
    """Each month estimated over all its decisions, and realised over those that have a label."""
    expected = _by_measure(estimated(reference.probability))
    measured = _by_measure(realised(reference.label, reference.probability))
    parts = []
    for month in records.months:
        p = records.of(month)["probability"].to_numpy()
        parts.append(_rows(month, "estimated", len(p), estimated(p), expected))
        if labels is None:
            continue
        known = labels.filter(pl.col("as_of") == month)
        if known.height:
            label, p = known["label"].to_numpy(), known["probability"].to_numpy()
            # The rate of the same decisions, not of the reference: other accounts have other risks.
            compared = measured | {"rate": float(p.mean())}
            parts.append(_rows(month, "realised", len(p), realised(label, p), compared))
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
        (_text(month), basis, accounts, measure, value, low, high, reference[measure])
        for measure, value, low, high in table.iter_rows()
    ]
    return pl.DataFrame(rows, PERFORMANCE, orient="row")


def _join_labels(records: Records, file: Path) -> pl.DataFrame:
    labels = read_labels(file)
    if not records.with_asked:
        raise RecordFileError(
            f"{file}: labels need accounts to join them to: export the records with --asked"
        )
    joined = records.rows.join(labels, on=["account_id", "as_of"], how="inner")
    if joined.is_empty():
        expected = "expected labels of the accounts and months decided"
        raise RecordFileError(f"{file}: {expected}, got none of {labels.height}")
    return joined.sort("as_of", "account_id")


def _notes(
    records: Records, labels: pl.DataFrame | None, performance: pl.DataFrame, bounds: Bounds
) -> tuple[str, ...]:
    notes = []
    for why, count in records.left_out.items():
        if count:
            notes.append(f"{count:,} decisions left out: {why}")
    if not records.with_asked:
        notes.append("features are not compared: the records were exported without --asked")
    if labels is not None:
        notes.append(f"{labels.height:,} of {records.rows.height:,} decisions have a label")
    few = performance.filter(pl.col("accounts") < bounds.min_accounts)
    for month, basis in few.select("month", "basis").unique(maintain_order=True).iter_rows():
        notes.append(f"{month}: too few accounts to judge the {basis} performance")
    return tuple(notes)


def _facts(records: Records, reference: Evaluation) -> dict[str, object]:
    months = [_text(month) for month in records.months]
    return {
        "name": reference.name.capitalize(),
        "bundle": reference.bundle.digest[:12],
        "accounts": records.rows.height,
        "months": months[0] if len(months) == 1 else f"{months[0]} to {months[-1]}",
        "reference": len(reference.label),
        "as_of": _text(reference.hold_out.as_of),
    }


def _text(month: datetime.date) -> str:
    return f"{month:%Y-%m}"
