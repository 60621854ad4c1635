"""One experiment: data to features to model to measures to bundle, kept as one MLflow run.  Read :func:`run_fit` first."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from numpy.typing import NDArray

from serving.decision.bundle import Bundle, Parts, assemble
from serving.decision.score import score
from training import bundling, measure, plots, track
from training.bundling import BundleConfig
from training.data import DataConfig, DataError, Labelled, Source, labelled, load
from training.examining.agreement import agreement_metrics, reason_agreement
from training.fitting import FitConfig, Fitted, Progress, fit, log_odds
from training.reproduce import fit_command, model_digest
from training.reproduce import page as reproduce_page

SHAP_ROWS = 1000  # accounts drawn in the SHAP figures
CHANGES = "uncommitted.patch"


@dataclass(frozen=True, slots=True)
class Report:
    """What a fit left: its run, registered version, the bundle's digest, and the measures by name with intervals."""

    run: str
    version: str
    bundle: str
    measures: pl.DataFrame
    fold_auc: tuple[float, ...]
    rows: Mapping[str, int]


def run_fit(
    data_folder: Path,
    store: track.Store,
    configs: tuple[DataConfig, FitConfig, BundleConfig],
    progress: Progress | None = None,
    expected_digest: str | None = None,
) -> Report:
    """Fit on a data folder and keep everything in one run; registers a new version and writes its bundle.

    Raises what its stages raise; the run is then marked as failed and no version has a bundle.  DataError where the data have
    another digest than the one expected.
    """
    data_config, fit_config, bundle_config = configs
    source = _expected(load(data_folder), expected_digest, data_folder)
    data = labelled(source, data_config)
    command = fit_command(data_folder, None, configs, source.digest)
    with track.run(store, f"fit {bundle_config.name}") as run_id:
        facts = _facts(source) | {"kind": "fit", "reproduce": command}
        track.log_configs({"data": data_config, "fit": fit_config, "bundle": bundle_config}, facts)
        # Before the fit: whoever goes on working meanwhile changes the tree, and not what runs.
        if changes := _uncommitted():
            track.log_text(changes, CHANGES)
        fitted, parts, served, tables = made(source, data, fit_config, bundle_config, progress)
        track.log_metrics(_metrics(fitted, tables["discrimination"]) | agreement_metrics(tables["reason_agreement"]))
        track.log_tables(tables)
        with track.drawing(_figures(fitted, data, tables, served)):
            version, digest = _register(parts, fitted, data, source, bundle_config, run_id)
        _name(parts, bundle_config.name, version, digest, tables["discrimination"], facts)
    rows = {name: int((data.split == name).sum()) for name in ("train", "valid", "test")}
    return Report(run_id, version, digest, tables["discrimination"], fitted.fold_auc, rows)


def made(
    source: Source, data: Labelled, fit_config: FitConfig, bundle_config: BundleConfig, progress: Progress | None = None
) -> tuple[Fitted, Parts, Bundle, dict[str, pl.DataFrame]]:
    """All that a fit makes and measures before any of it is kept: the model, its bundle's parts and the bundle, and tables."""
    fitted = fit(data, fit_config, progress)
    chosen = bundling.references(fitted, data, bundle_config)
    parts = bundling.parts(fitted, data, source, bundle_config, chosen)
    served = assemble(parts)  # refuses what cannot be served before a version of it is registered
    agreement = reason_agreement(data, source.statements, fitted.held_out, served, chosen)
    return fitted, parts, served, _tables(fitted) | {"splits": _splits(fitted, data), "reason_agreement": agreement}


def _register(
    parts: Parts, fitted: Fitted, data: Labelled, source: Source, config: BundleConfig, run_id: str
) -> tuple[str, str]:
    example = data.features.matrix(fitted.features)[:100]
    requirements = [f"{name}=={version}" for name, version in bundling.library_versions().items()]
    version = track.register(fitted.booster, example, config.name, requirements)
    provenance = replace(parts.provenance, run=run_id, version=version)
    with track.scratch() as folder:
        place = Path(folder) / "bundle"
        digest = bundling.write_bundle(replace(parts, provenance=provenance), fitted, data, source, config, place)
        track.log_bundle(place, config.name, version, digest)
    return version, digest


def _name(parts: Parts, name: str, version: str, digest: str, discrimination: pl.DataFrame, facts: Mapping[str, str]) -> None:
    """What the run is found by: its name, tags, a text on top of its page, and how it is done again."""
    model = model_digest(parts.model_text)
    measures = {row["measure"]: row for row in discrimination.iter_rows(named=True)}
    called = f"fit {name} v{version} auc {measures['auc']['value']:.3f}"
    track.log_tags({track.RUN_NAME: called, "model.digest": model, "model.version": version, "bundle": digest})
    changed = CHANGES if facts["code.commit"].endswith("-dirty") else None
    track.log_text(reproduce_page(facts["reproduce"], {**facts, "model.digest": model}, changed), "reproduce.md")
    rows = "\n".join(f"| {m} | {r['value']:.4f} | {r['low']:.4f} to {r['high']:.4f} |" for m, r in measures.items())
    top = f"**{name} version {version}**, bundle `{digest[:12]}`, model `{model[:12]}`\n\n| measure | | 95 % |\n|---|---|---|\n"
    first = f", with `{CHANGES}` applied to the commit" if changed else ""
    track.log_tags({track.ON_TOP: f"{top}{rows}\n\nAgain{first}: `{facts['reproduce']}`"})


def _expected(source: Source, digest: str | None, folder: Path) -> Source:
    if digest is not None and source.digest != digest:
        raise DataError(f"{folder}: expected data of digest {digest}, got {source.digest}")
    return source


def _facts(source: Source) -> dict[str, str]:
    return {
        "data.digest": source.digest,
        "data.label": source.label_definition,
        "data.last_month": source.last_month,
        "code.version": importlib.metadata.version("clearline"),
        "code.commit": _commit(),
    } | {f"library.{name}": version for name, version in bundling.library_versions().items()}


def _commit() -> str:
    """The commit of the working tree, with a mark where it was changed since; "" outside a checkout."""
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").strip()


def _uncommitted() -> str:
    """What was changed since the commit, as a patch; "" where nothing was.  Of new files only those that git knows of."""
    return _git("diff", "HEAD", "--binary")


def _git(*words: str) -> str:
    root = Path(__file__).parents[1]
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True, cwd=root).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def _tables(fitted: Fitted) -> dict[str, pl.DataFrame]:
    label, probability = fitted.label, fitted.probability
    gains = fitted.booster.feature_importance("gain")
    splits = fitted.booster.feature_importance("split")
    return {
        "discrimination": measure.discrimination(label, probability),
        "calibration": measure.calibration(label, probability),
        "brier": measure.brier_parts(label, probability),
        "lift": measure.lift(label, probability),
        "gain": pl.DataFrame({"feature": fitted.features, "gain": gains, "splits": splits}).sort("gain", descending=True),
        "folds": pl.DataFrame({"fold": range(1, len(fitted.fold_auc) + 1), "auc": fitted.fold_auc}),
    }


def _splits(fitted: Fitted, data: Labelled) -> pl.DataFrame:
    """What each split holds, and the AUC on it: far better on what trees were fitted on, they have learnt it by heart."""
    predicted = log_odds(fitted, data.features.matrix(fitted.features))
    table = data.features.accounts.select("account_id", "as_of").with_columns(
        split=pl.Series(data.split), label=pl.Series(data.label), log_odds=pl.Series(predicted)
    )
    found = []
    for split in ("train", "valid", "test"):
        rows = table.filter(split=split)
        if rows.is_empty():
            continue
        months = rows["as_of"].sort().dt.strftime("%Y-%m")
        found.append(
            {
                "split": split,
                "rows": rows.height,
                "accounts": rows["account_id"].n_unique(),
                "first_as_of": months[0],
                "last_as_of": months[-1],
                "label_rate": rows["label"].mean(),
                "auc": measure.auc(rows["label"].to_numpy(), rows["log_odds"].to_numpy()),
            }
        )
    return pl.DataFrame(found)


def _metrics(fitted: Fitted, discrimination: pl.DataFrame) -> dict[str, float]:
    metrics = {"trees": float(fitted.booster.num_trees()), "label_rate": float(fitted.label.mean())}
    for row in discrimination.iter_rows(named=True):
        metrics |= {
            f"{row['measure']}{suffix}": row[key] for key, suffix in (("value", ""), ("low", "_low"), ("high", "_high"))
        }
    if fitted.fold_auc:
        metrics |= {"fold_auc_mean": float(np.mean(fitted.fold_auc)), "fold_auc_sd": float(np.std(fitted.fold_auc, ddof=1))}
    return metrics


def _figures(fitted: Fitted, data: Labelled, tables: Mapping[str, pl.DataFrame], served: Bundle) -> dict[str, Figure]:
    label, probability = fitted.label, fitted.probability
    return {
        "roc": plots.roc(label, probability, measure.auc(label, probability)),
        "precision_recall": plots.precision_recall(label, probability),
        "calibration": plots.calibration(tables["calibration"]),
        "scores": plots.scores(label, probability, served.policy.cut_off),
        "lift": plots.lift(tables["lift"]),
        "gain": plots.gain(dict(tables["gain"].select("feature", "gain").iter_rows())),
    } | _figures_of_contributions(fitted.held_out, data, served)


def _figures_of_contributions(held_out: NDArray[np.int64], data: Labelled, served: Bundle) -> dict[str, Figure]:
    """``shap``'s figures of what is served, each account against its product's reference; the waterfall is of a cut one."""
    drawn = np.random.default_rng(0).permutation(held_out)[:SHAP_ROWS]
    matrix = data.features.matrix(served.features)[drawn]
    scores = score(matrix, data.features.accounts["product"][drawn].cast(pl.String).to_list(), served.scorer)
    by_risk = np.argsort(scores.log_odds, kind="stable")
    cut = int((scores.probability > served.policy.cut_off).sum())
    example = int(by_risk[len(by_risk) - 1 - cut // 2])  # the middle one of the cut; the riskiest where none is
    return plots.contributions(scores.contributions, scores.base_log_odds, matrix, served.features, example)
