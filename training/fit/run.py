"""One experiment: data to features to model to measures to bundle, kept as one MLflow run.

Read :func:`run_fit` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from serving.decision.bundle import Bundle, Parts, assemble
from training.data.config import DataConfig, DataError
from training.data.dataset import Source, load
from training.data.labels import Labelled, label_accounts
from training.fit import bundle as bundling
from training.fit.bundle import BundleConfig, choose_references, library_versions, write_bundle
from training.fit.config import FitConfig
from training.fit.fit import Fitted, fit
from training.fit.provenance import CHANGES, run_facts, uncommitted_patch
from training.fit.reason_agreement import agreement_metrics, reason_agreement
from training.fit.reproduce import fit_command, model_digest, reproduce_page
from training.fit.tables import fit_figures, fit_metrics, fit_tables, split_table
from training.tracking import registry, runs
from training.tracking.progress import CountProgress
from training.tracking.store import Store, temporary_folder


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit left: its run, registered version, the bundle's digest, and the measures by name
    with intervals.
    """

    run: str
    version: str
    bundle: str
    measures: pl.DataFrame
    fold_auc: tuple[float, ...]
    rows: Mapping[str, int]


def run_fit(
    data_folder: Path,
    store: Store,
    configs: tuple[DataConfig, FitConfig, BundleConfig],
    progress: CountProgress | None = None,
    expected_digest: str | None = None,
) -> FitReport:
    """Fit on a data folder and keep everything in one run; registers a new version and writes its
    bundle.

    Raises what its stages raise; the run is then marked as failed and no version has a bundle.
    DataError where the data have another digest than the one expected.
    """
    data_config, fit_config, bundle_config = configs
    source = _expected(load(data_folder), expected_digest, data_folder)
    data = label_accounts(source, data_config)
    command = fit_command(data_folder, None, configs, source.digest)
    with runs.start_run(store, f"fit {bundle_config.name}") as run_id:
        facts = run_facts(source) | {"kind": "fit", "reproduce": command}
        runs.log_configs({"data": data_config, "fit": fit_config, "bundle": bundle_config}, facts)
        # Before the fit: whoever goes on working meanwhile changes the tree, and not what runs.
        if changes := uncommitted_patch():
            runs.log_text(changes, CHANGES)
        fitted, parts, served, tables = fit_and_measure(
            source, data, fit_config, bundle_config, progress
        )
        runs.log_metrics(
            fit_metrics(fitted, tables["discrimination"])
            | agreement_metrics(tables["reason_agreement"])
        )
        runs.log_tables(tables)
        with runs.draw_in_background(fit_figures(fitted, data, tables, served)):
            version, digest = register_run(parts, fitted, data, source, bundle_config, run_id)
        _name(parts, bundle_config.name, version, digest, tables["discrimination"], facts)
    rows = {name: int((data.split == name).sum()) for name in ("train", "valid", "test")}
    return FitReport(run_id, version, digest, tables["discrimination"], fitted.fold_auc, rows)


def fit_and_measure(
    source: Source,
    data: Labelled,
    fit_config: FitConfig,
    bundle_config: BundleConfig,
    progress: CountProgress | None = None,
) -> tuple[Fitted, Parts, Bundle, dict[str, pl.DataFrame]]:
    """All that a fit makes and measures before any of it is kept: the model, its bundle's parts and
    the bundle, and tables.
    """
    fitted = fit(data, fit_config, progress)
    chosen = choose_references(fitted, data, bundle_config)
    parts = bundling.make_parts(fitted, data, source, bundle_config, chosen)
    served = assemble(parts)  # refuses what cannot be served before a version of it is registered
    agreement = reason_agreement(data, source.statements, fitted.held_out, served, chosen)
    return (
        fitted,
        parts,
        served,
        fit_tables(fitted) | {"splits": split_table(fitted, data), "reason_agreement": agreement},
    )


def register_run(
    parts: Parts, fitted: Fitted, data: Labelled, source: Source, config: BundleConfig, run_id: str
) -> tuple[str, str]:
    """Register the model and keep its bundle with the run; returns the version and the bundle's
    digest.
    """
    example = data.features.matrix(fitted.features)[:100]
    requirements = [f"{name}=={version}" for name, version in library_versions().items()]
    version = registry.register(fitted.booster, example, config.name, requirements)
    provenance = replace(parts.provenance, run=run_id, version=version)
    with temporary_folder() as folder:
        place = Path(folder) / "bundle"
        digest = write_bundle(
            replace(parts, provenance=provenance), fitted, data, source, config, place
        )
        registry.log_bundle(place, config.name, version, digest)
    return version, digest


def _name(
    parts: Parts,
    name: str,
    version: str,
    digest: str,
    discrimination: pl.DataFrame,
    facts: Mapping[str, str],
) -> None:
    """What the run is found by: its name, tags, a text on top of its page, and how it is done
    again.
    """
    model = model_digest(parts.model_text)
    measures = {row["measure"]: row for row in discrimination.iter_rows(named=True)}
    called = f"fit {name} v{version} auc {measures['auc']['value']:.3f}"
    runs.log_tags(
        {runs.RUN_NAME: called, "model.digest": model, "model.version": version, "bundle": digest}
    )
    changed = CHANGES if facts["code.commit"].endswith("-dirty") else None
    runs.log_text(
        reproduce_page(facts["reproduce"], {**facts, "model.digest": model}, changed),
        "reproduce.md",
    )
    rows = "\n".join(
        f"| {m} | {r['value']:.4f} | {r['low']:.4f} to {r['high']:.4f} |"
        for m, r in measures.items()
    )
    top = f"**{name} version {version}**, bundle `{digest[:12]}`, model `{model[:12]}`\n\n| measure | | 95 % |\n|---|---|---|\n"
    first = f", with `{CHANGES}` applied to the commit" if changed else ""
    runs.log_tags({runs.ON_TOP: f"{top}{rows}\n\nAgain{first}: `{facts['reproduce']}`"})


def _expected(source: Source, digest: str | None, folder: Path) -> Source:
    if digest is not None and source.digest != digest:
        raise DataError(f"{folder}: expected data of digest {digest}, got {source.digest}")
    return source
