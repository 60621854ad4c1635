"""One experiment: data to features to model to measures to bundle, kept as one MLflow run.

Read :func:`run_fit` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from features.display import notebook_display
from serving.decision.bundle import Bundle, Parts, assemble, write
from training.data.config import DataConfig, DataError
from training.data.dataset import Source, load
from training.data.labels import Labelled, label_accounts
from training.data.sample import sample_facts
from training.data.splits import SPLITS
from training.fit.bundle import (
    BundleConfig,
    FitResult,
    check_texts,
    choose_references,
    make_golden,
    make_parts,
    resolve_policy,
)
from training.fit.config import FitConfig
from training.fit.economics.tables import describe_economics, economics_table
from training.fit.fit import fit
from training.fit.provenance import CHANGES, run_facts, uncommitted_patch
from training.fit.reason_quality.agreement import agreement_metrics, reason_agreement
from training.fit.reason_quality.checks import check_reasons, quality_metrics
from training.fit.reproduce import fit_command, model_digest, reproduce_page
from training.fit.tables import describe_left_out, fit_figures, fit_metrics, fit_tables, split_table
from training.tracking import runs
from training.tracking.new_version import describe_version, log_booster, log_bundle, new_version
from training.tracking.progress import CountProgress, PercentProgress
from training.tracking.store import Store, temporary_folder

# Of the time, measured on the default simulation; for the progress only.
_SHARES = {"data": 12, "trees": 64, "reasons": 15, "run": 9}


@notebook_display
@dataclass(frozen=True, slots=True)
class FitReport:
    """The run, version, bundle and measures of a fit."""

    run: str  # id of the MLflow run
    version: str  # of the registered model
    bundle: str  # digest
    measures: pl.DataFrame  # one row a measure: measure, value, low, high
    fold_auc: tuple[float, ...]  # empty where a hold-out was split off
    rows: Mapping[str, int]  # by split
    left_out: tuple[str, ...] = ()  # rows without a known outcome, in words
    economics: tuple[str, ...] = ()  # margin and credit conversion by product, in words


@notebook_display
@dataclass(frozen=True, slots=True)
class MeasuredFit:
    """A fit with its measures, before anything is kept."""

    result: FitResult
    parts: Parts
    bundle: Bundle
    tables: Mapping[str, pl.DataFrame]


def run_fit(
    data_folder: Path,
    store: Store,
    configs: tuple[DataConfig, FitConfig, BundleConfig],
    progress: CountProgress | None = None,
    expected_digest: str | None = None,
) -> FitReport:
    """Fit on a data folder, register a new version, and keep everything in one run.

    ``progress`` is called with (per cent done, 100), from 0 to 100.
    An exception in a stage marks the run as failed, and no version has its bundle.  The files of
    the bundle's config are read first, so that a fault in one does not cost a fit.
    Raises :class:`DataError` if the data have another digest than ``expected_digest``.
    """
    data_config, fit_config, bundle_config = configs
    check_texts(bundle_config)
    percent = PercentProgress(progress, _SHARES)
    source = load(data_folder)
    if expected_digest not in (None, source.digest):
        raise DataError(
            f"{data_folder}: expected data of digest {expected_digest}, got {source.digest}"
        )
    sampled = sample_facts(data_folder, source.digest)
    data = label_accounts(source, data_config)
    # Before the fit: data without economics need a policy that states them.
    resolve_policy(data, bundle_config)
    command = fit_command(data_folder, None, configs, source.digest)
    with runs.start_run(store, f"fit {bundle_config.name}") as run_id:
        facts = run_facts(source) | sampled | {"kind": "fit", "reproduce": command}
        runs.log_configs({"data": data_config, "fit": fit_config, "bundle": bundle_config}, facts)
        # Before the fit: an edit of the working tree during it changes the patch, not this run.
        if changes := uncommitted_patch():
            runs.log_text(changes, CHANGES)
        _log_datasets(data, data_folder, source.digest)
        percent.finish("data")
        measured = fit_and_measure(source, data, fit_config, bundle_config, percent)
        fitted, tables = measured.result.fitted, measured.tables
        metrics = fit_metrics(fitted, tables["discrimination"])
        agreement = agreement_metrics(tables["reason_agreement"])
        runs.log_metrics(metrics | agreement | quality_metrics(tables))
        runs.log_tables(tables)
        figures = fit_figures(fitted, data, tables, measured.bundle)
        with runs.draw_in_background(figures):
            version, digest = register_run(measured.parts, measured.result, run_id)
        _describe_run(measured, version, digest, facts)
        percent.finish("run")
    rows: dict[str, int] = {}
    for name in SPLITS:
        rows[name] = int((data.split == name).sum())
    return FitReport(
        run=run_id,
        version=version,
        bundle=digest,
        measures=tables["discrimination"],
        fold_auc=fitted.fold_auc,
        rows=rows,
        left_out=describe_left_out(data, data_config, source.unknown_labels),
        economics=describe_economics(measured.bundle.economics),
    )


def fit_and_measure(
    source: Source,
    data: Labelled,
    fit_config: FitConfig,
    bundle_config: BundleConfig,
    percent: PercentProgress | None = None,
) -> MeasuredFit:
    """Fit, assemble the bundle and measure; nothing is kept."""
    percent = percent or PercentProgress(None, _SHARES)
    fitted = fit(data, fit_config, percent.within("trees"))
    percent.finish("trees")  # they may have stopped early
    result = FitResult(fitted, data, source, bundle_config)
    references = choose_references(fitted, data, bundle_config)
    parts = make_parts(result, references)
    bundle = assemble(parts)  # raises for what cannot be served, before a version is registered
    agreement = reason_agreement(data, fitted.held_out, bundle, references)
    quality = check_reasons(result, bundle, references)
    percent.finish("reasons")
    tables = {
        **fit_tables(fitted),
        "splits": split_table(fitted, data),
        "economics": economics_table(bundle.economics),
        "reason_agreement": agreement,
        **quality,
    }
    return MeasuredFit(result, parts, bundle, tables)


def register_run(parts: Parts, result: FitResult, run_id: str) -> tuple[str, str]:
    """Register the model and keep its bundle with the run; return (version, bundle digest)."""
    # First, because it decides on accounts of the data: what fails there must leave no version.
    golden_text = make_golden(parts, result)
    fitted = result.fitted
    example = result.data.features.matrix(fitted.features)[:100]
    log_booster(fitted.booster, example)
    with new_version(result.config.name, run_id) as new, temporary_folder() as scratch:
        folder = Path(scratch) / "bundle"
        # Written here and not before: the manifest names the run and the version.
        provenance = replace(parts.provenance, run=run_id, version=new.version)
        digest = write(replace(parts, provenance=provenance), golden_text, folder)
        log_bundle(new, folder, digest)
    return new.version, digest


def _log_datasets(data: Labelled, folder: Path, digest: str) -> None:
    """Log each split as an input of the active run: its accounts, features and labels."""
    table = data.features.frame().with_columns(
        # In types that MLflow has: of others it warns.
        pl.col("product").cast(pl.String),
        pl.col("as_of").cast(pl.Datetime),
        label=pl.Series(data.label),
    )
    split = pl.Series(data.split)
    for name in SPLITS:
        rows = table.filter(split == name)
        if rows.height:
            runs.log_dataset(rows, folder, digest, name)


def _describe_run(
    measured: MeasuredFit,
    version: str,
    digest: str,
    facts: Mapping[str, str],
) -> None:
    """Keep the run's name, tags, the text on top of its page, and ``reproduce.md``."""
    name = measured.result.config.name
    model = model_digest(measured.parts.model_text)
    measures = list(measured.tables["discrimination"].iter_rows(named=True))
    auc = next(row["value"] for row in measures if row["measure"] == "auc")
    runs.log_tags(
        {
            runs.RUN_NAME: f"fit {name} v{version} auc {auc:.3f}",
            "model.digest": model,
            "model.version": version,
            "bundle": digest,
        }
    )
    changes = CHANGES if facts["code.commit"].endswith("-dirty") else None
    page = reproduce_page(
        facts["reproduce"],
        {**facts, "model.digest": model},
        changes,
    )
    runs.log_text(page, "reproduce.md")
    patched = f", with `{CHANGES}` applied to the commit" if changes else ""
    rows = []
    for row in measures:
        value = f"{row['value']:.4f}"
        interval = "too few defaults"
        if row["low"] is not None:
            interval = f"{row['low']:.4f} to {row['high']:.4f}"
        rows.append(f"| {row['measure']} | {value} | {interval} |")
    lines = [
        f"**{name} version {version}**, bundle `{digest[:12]}`, model `{model[:12]}`",
        "",
        "| measure | | 95 % |",
        "|---|---|---|",
        *rows,
        "",
        f"Again{patched}: `{facts['reproduce']}`",
    ]
    text = "\n".join(lines)
    runs.log_tags({runs.ON_TOP: text})
    describe_version(name, version, text)
