"""The monitor: compares a period's decisions with decisions on accounts that no tree saw.

Drift is measured against the accounts of the data's last month
(:mod:`training.release.monitor.reference`), performance against the fit's labelled hold-out.  Read
:func:`run_monitor` first.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from features.display import notebook_display
from training.data.config import DataConfig, DataError
from training.data.dataset import Source
from training.evaluate.drift import DriftSample, compare_samples
from training.evaluate.holdout import Evaluation
from training.evaluate.model_lookup import RegisteredVersion
from training.evaluate.unseen_accounts import caveats, evaluate_version
from training.release.monitor.alerts import Breach, drift_breaches, performance_breaches
from training.release.monitor.bounds import Bounds, read_bounds
from training.release.monitor.estimate import estimate_performance, measure_performance
from training.release.monitor.page import MonitorReport, as_json, render_page
from training.release.monitor.records import RecordFileError, Records, read_labels, read_records
from training.release.monitor.reference import ReferencePopulation, decide_reference

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
    """The files that a monitor reads: a period's decisions, the fit's data, and known outcomes."""

    records: Path  # JSON lines of ``python -m serving export``
    data: Path  # the folder that the version was fitted on
    labels: Path | None = None  # .parquet or .csv with account_id, as_of, label


@notebook_display
@dataclass(frozen=True, slots=True)
class MonitorResult:
    """The tables of a monitor, what they mean, and the report.

    Attributes:
        drift: ``month`` ("2026-09") and the columns of
            :func:`training.evaluate.drift.drift_table`.
        performance: ``month``, ``basis`` (estimated, or realised over the decisions that have
            labels), ``accounts``, ``measure`` (auc, brier, rate), ``value``, ``low``, ``high``
            (95 %) and ``reference``.
        breaches: The broken bounds.
        notes: Caveats of the data, and what was left out.
        verdict: "beyond bounds", "within bounds" or "too few decisions to judge".
        page: The report in Markdown.
        json: The report for a scheduler.
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
        # Not with_suffix: the stem "report.2026" would lose its year.
        markdown = stem.with_name(f"{stem.name}.md")
        json = stem.with_name(f"{stem.name}.json")
        markdown.write_text(self.page, encoding="utf-8")
        json.write_text(self.json, encoding="utf-8")
        return markdown, json


def run_monitor(
    files: MonitorFiles,
    model: RegisteredVersion,
    bounds: Bounds | None = None,
) -> MonitorResult:
    """Compare a version's decisions of a period with those on accounts that its fit held out.

    ``bounds`` are the project's own by default.

    Raises:
        RecordFileError: Records or labels that cannot be used.
        DataError: Data that the version was not fitted on.
        TrackingError: A version that is not in the store.

    An example::

        model = RegisteredVersion(Store(Path("mlruns")), "limit-reduction", "1")
        files = MonitorFiles(Path("data/2026-10.jsonl"), Path("data/simulated"))
        found = run_monitor(files, model)
        print(found.code, [breach.name for breach in found.breaches])
    """
    bounds = bounds or read_bounds()
    hold_out, source, config = evaluate_version(files.data, model.store, model.name, model.version)
    if hold_out.bundle.provenance.training_data != source.digest:
        fitted_on = f"the data that version {model.version} of {model.name} was fitted on"
        # The fit's split applied to other data would not be its hold-out.
        raise DataError(f"{files.data}: expected {fitted_on}, got other data")
    records = read_records(files.records, hold_out.bundle.digest)
    reference = decide_reference(source, config, hold_out.bundle)
    labels, left_out = _read_outcomes(records, files.labels, source, config)
    drift, drifted = _measure_drift(records, reference, hold_out, bounds)
    performance = _measure_performance(records, labels, (reference, hold_out))
    breaches = (*drifted, *performance_breaches(performance, bounds))
    notes = (*_notes(records, labels, performance, bounds), *left_out)
    report = MonitorReport(
        facts=_facts(records, reference, hold_out),
        verdict=_verdict(performance, breaches, bounds),
        notes=(*caveats(source), *notes),
        breaches=breaches,
        drift=drift,
        performance=performance,
    )
    return MonitorResult(
        drift=drift,
        performance=performance,
        breaches=breaches,
        notes=report.notes,
        verdict=report.verdict,
        page=render_page(report),
        json=as_json(report),
    )


def _verdict(
    performance: pl.DataFrame,
    breaches: Sequence[Breach],
    bounds: Bounds,
) -> str:
    if breaches:
        return "beyond bounds"
    judged = bool((performance["accounts"] >= bounds.min_accounts).any())
    return "within bounds" if judged else "too few decisions to judge"


def _measure_drift(
    records: Records,
    reference: ReferencePopulation,
    hold_out: Evaluation,
    bounds: Bounds,
) -> tuple[pl.DataFrame, list[Breach]]:
    # Without the requests there are no statements to compute features from.
    names = hold_out.bundle.features if records.with_requests else ()
    was = reference.sample(names)
    tables, breaches = [], []
    for month in records.months:
        now = _sample_month(records, month, names)
        table = compare_samples(names, was, now)
        sizes = len(was.log_odds), len(now.log_odds)
        label = _format_month(month)
        breaches += drift_breaches(label, table, sizes, bounds)
        tables.append(table.select(pl.lit(label).alias("month"), pl.all()))
    return pl.concat(tables), breaches


def _sample_month(
    records: Records,
    month: datetime.date,
    names: Sequence[str],
) -> DriftSample:
    rows = records.of_month(month)
    probability = rows["probability"].to_numpy()
    log_odds = np.log(probability) - np.log1p(-probability)
    matrix = np.empty((len(probability), 0))
    if names:
        matrix = records.build_features(month).matrix(names)
    return DriftSample(matrix, log_odds, rows["first_reason"].to_list())


def _measure_performance(
    records: Records,
    labels: pl.DataFrame | None,
    references: tuple[ReferencePopulation, Evaluation],
) -> pl.DataFrame:
    """Return each month's performance: estimated over all decisions, realised over the labelled.

    Estimates are compared with the estimate of the first reference, whose accounts too are all that
    a service is asked about; measures with labels with those of the second, the hold-out.
    """
    reference, hold_out = references
    expected = _by_measure(estimate_performance(reference.probability))
    measured = _by_measure(measure_performance(hold_out.label, hold_out.probability))
    parts = []
    for month in records.months:
        probability = records.of_month(month)["probability"].to_numpy()
        estimate = estimate_performance(probability)
        parts.append(
            _make_rows(
                month,
                "estimated",
                len(probability),
                estimate,
                expected,
            )
        )
        if labels is None:
            continue
        labelled = labels.filter(pl.col("as_of") == month)
        if labelled.height:
            parts.append(_realised_rows(month, labelled, measured))
    return pl.concat(parts)


def _realised_rows(
    month: datetime.date,
    labelled: pl.DataFrame,
    reference: Mapping[str, float | None],
) -> pl.DataFrame:
    label = labelled["label"].to_numpy()
    probability = labelled["probability"].to_numpy()
    # The rate of the same decisions, not of the reference: other accounts have other risks.
    expected = {**reference, "rate": float(probability.mean())}
    realised = measure_performance(label, probability)
    return _make_rows(
        month,
        "realised",
        len(label),
        realised,
        expected,
    )


def _by_measure(table: pl.DataFrame) -> dict[str, float | None]:
    return dict(table.select("measure", "value").iter_rows())


def _make_rows(
    month: datetime.date,
    basis: str,
    accounts: int,
    table: pl.DataFrame,
    reference: Mapping[str, float | None],
) -> pl.DataFrame:
    rows = []
    for measure, value, low, high in table.iter_rows():
        expected = reference[measure]
        row = (_format_month(month), basis, accounts, measure, value, low, high, expected)
        rows.append(row)
    return pl.DataFrame(rows, PERFORMANCE, orient="row")


def _read_outcomes(
    records: Records,
    file: Path | None,
    source: Source,
    config: DataConfig,
) -> tuple[pl.DataFrame | None, tuple[str, ...]]:
    """Return the decisions that have a label, null without a file, and notes on other labels."""
    if file is None:
        return None, ()
    labels, unknown = _join_labels(records, file)
    counts = {"there is no decision on the account and month": unknown}
    if source.labels is None:
        labels, dropped = _drop_in_default(records, labels, config)
        counts["the account was in default at as_of"] = dropped
    notes = []
    for why, count in counts.items():
        if count:
            notes.append(f"{count:,} labels left out: {why}")
    return labels, tuple(notes)


def _join_labels(records: Records, file: Path) -> tuple[pl.DataFrame, int]:
    """Return the decisions that have a label, with it, and how many labels have no decision."""
    labels = read_labels(file)
    if not records.with_requests:
        raise RecordFileError(
            f"{file}: labels need accounts to join them to: export the records with --asked"
        )
    joined = records.rows.join(labels, on=["account_id", "as_of"], how="inner")
    if joined.is_empty():
        expected = "expected labels of accounts and months with a decision"
        raise RecordFileError(f"{file}: {expected}, got none of {labels.height}")
    return joined.sort("as_of", "account_id"), labels.height - joined.height


def _drop_in_default(
    records: Records,
    labels: pl.DataFrame,
    config: DataConfig,
) -> tuple[pl.DataFrame, int]:
    """Return the labels of accounts that were not in default at as_of, and how many others.

    A label says what becomes of an account that is not in default, so for others there is none.
    """
    in_default = records.in_default(config.default_days)
    defined = labels.join(
        in_default,
        on=["account_id", "as_of"],
        how="anti",
        maintain_order="left",
    )
    return defined, labels.height - defined.height


def _notes(
    records: Records,
    labels: pl.DataFrame | None,
    performance: pl.DataFrame,
    bounds: Bounds,
) -> tuple[str, ...]:
    notes = []
    for why, count in records.left_out.items():
        if count:
            notes.append(f"{count:,} decisions left out: {why}")
    if not records.with_requests:
        notes.append("features are not compared: the records were exported without --asked")
    if labels is not None:
        notes.append(f"{labels.height:,} of {records.rows.height:,} decisions have a label")
    in_arms = dict(records.rows.group_by("arm").len().iter_rows())
    if "control" in in_arms:
        control, treated = in_arms["control"], in_arms.get("treated", 0)
        notes.append(
            f"control arm: of the limits that the model alone would cut, {treated:,} were cut and "
            f"{control:,} left alone; policy --effect compares their outcomes"
        )
    few = performance.filter(pl.col("accounts") < bounds.min_accounts)
    # A month has a row for each measure; one note is enough.
    unjudged = few.select("month", "basis").unique(maintain_order=True)
    for month, basis in unjudged.iter_rows():
        notes.append(f"{month}: too few accounts to judge the {basis} performance")
    return tuple(notes)


def _facts(
    records: Records,
    reference: ReferencePopulation,
    hold_out: Evaluation,
) -> dict[str, object]:
    return {
        "name": hold_out.name.capitalize(),
        "bundle": hold_out.bundle.digest[:12],
        "accounts": records.rows.height,
        "months": _format_months(records.months),
        "reference": len(reference.probability),
        "as_of": _format_months(sorted(set(reference.months.values()))),
        "hold_out": len(hold_out.label),
        "hold_out_as_of": _format_month(hold_out.hold_out.as_of),
    }


def _format_months(months: Sequence[datetime.date]) -> str:
    first, last = _format_month(months[0]), _format_month(months[-1])
    return first if first == last else f"{first} to {last}"


def _format_month(month: datetime.date) -> str:
    return f"{month:%Y-%m}"
