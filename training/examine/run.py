"""One examination: a registered version on accounts that no model saw, kept as one MLflow run.

Read :func:`run_examination` first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import polars as pl

from serving.decision.golden import load as load_bundle
from training.data.config import DataConfig, DataError
from training.data.dataset import load
from training.data.labels import label_accounts
from training.examine import auc_ceiling, censoring_study, figures
from training.examine.advice import actionability, follow, other_models, other_rules
from training.examine.advice.tables import by_month, validity
from training.examine.page import Examined, page
from training.examine.reasons import true_causes
from training.examine.truth import outcomes
from training.examine.truth.cut_accounts import CutAccounts, find_cut_accounts
from training.examine.truth.population import ExamineConfig, Population, draw, simulation_of
from training.fit.config import FitConfig
from training.tracking import registry, runs
from training.tracking.config import override
from training.tracking.progress import StageProgress
from training.tracking.store import Store, temporary_folder


class Stage(StrEnum):
    """The stages of an examination, by the names that a progress bar shows."""

    ACCOUNTS = "the accounts"
    FOLLOW = "following the plans"
    VALIDITY = "their risk afterwards"
    RULES = "other rules of advice"
    MODELS = "other models"
    RECOURSE = "what could be done about the reasons"
    FIDELITY = "the true causes"
    CEILING = "futures without any cut"
    TREATMENT = "treated accounts"


@dataclass(frozen=True, slots=True)
class Findings:
    """What an examination left: its run, the page, and the tables by name."""

    run: str
    examined: Examined
    page: str
    tables: Mapping[str, pl.DataFrame]


def run_examination(
    data_folder: Path,
    store: Store,
    name: str,
    version: str,
    config: ExamineConfig,
    progress: StageProgress,
) -> Findings:
    """Examine a version that was fitted on the simulation in ``data_folder``, with the configs that
    its run tells.

    Raises :class:`training.data.config.DataError` for data that are no simulation or not the
    version's own, TrackingError for a version without a bundle.
    """
    with temporary_folder() as folder:
        bundle = load_bundle(registry.fetch_bundle(store, name, version, Path(folder)))
    source, simulation = load(data_folder), simulation_of(data_folder)
    if bundle.provenance.training_data != source.digest:
        # Its refits would be of other data, and the accounts drawn anew perhaps those that it was
        # fitted on.
        raise DataError(
            f"{data_folder}: expected the data that version {version} of {name} was fitted on, got other data"
        )
    configs = _configs(store, name, version)
    with runs.start_run(store) as run_id:
        progress(Stage.ACCOUNTS)
        world = draw(simulation, config)
        cut = find_cut_accounts(world, bundle)
        examined = Examined(name, version, bundle.digest, len(cut))
        runs.log_configs({"examine": config}, _facts(examined, world))
        tables = dict(_advice(cut, config, progress))
        progress(Stage.RULES)
        tables["promises"] = other_rules.under_other_rules(world, bundle)
        progress(Stage.MODELS)
        tables["durability"] = other_models.under_other_models(
            cut, label_accounts(source, configs[0]), configs[1], config.refits
        )
        tables |= _reasons(cut, config, progress)
        progress(Stage.CEILING)
        known = outcomes.simulate_untreated(world, config)
        tables["ceiling"] = auc_ceiling.auc_ceiling(world, bundle, config, known)
        progress(Stage.TREATMENT)
        tables["treatment"] = censoring_study.censoring_study(
            world, source, bundle.policy, configs, config, known
        )
        text = page(examined, world, config, tables)
        runs.log_tables(tables)
        runs.log_text(text, "examination.md")
        runs.log_metrics(metrics(tables))
        runs.log_figures(
            {
                "recovery_path": figures.recovery_path(
                    figures.example_of(cut.advised, cut.promised.tolist())
                ),
                "fidelity": figures.fidelity_bars(tables["fidelity"]),
                "validity_by_month": figures.validity_by_month(tables["validity_by_month"]),
            }
        )
    return Findings(run_id, examined, text, tables)


def metrics(tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """The figures that runs are compared by."""
    everybody = tables["validity"].row(0, named=True)
    served = tables["fidelity"].row(0, named=True)
    others = tables["durability"].filter(pl.col("model") != "served")["hold"]
    realised = tables["ceiling"].filter(pl.col("outcome") == "realised")
    found = {
        f"advice_{key}": everybody[key]
        for key in ("kept", "kept_unshocked", "fell", "fell_limit_back", "months")
    }
    found |= {f"reasons_true_{key}": served[key] for key in ("top_1", "top_4", "rank_correlation")}
    found |= {
        "advice_hold_least": others.min(),
        "reasons_without_recourse": tables["recourse"]["without"][0],
    }
    found |= {f"ceiling_{row['measure']}": row["value"] for row in realised.iter_rows(named=True)}
    return {key: float(value) for key, value in found.items() if value is not None}


def _advice(
    cut: CutAccounts, config: ExamineConfig, progress: StageProgress
) -> Iterator[tuple[str, pl.DataFrame]]:
    progress(Stage.FOLLOW)
    followed = follow.follow_plans(cut)
    progress(Stage.VALIDITY)
    yield "validity", validity(cut, followed, follow.risk(cut, config.futures))
    yield "validity_by_month", by_month(followed)


def _reasons(
    cut: CutAccounts, config: ExamineConfig, progress: StageProgress
) -> dict[str, pl.DataFrame]:
    progress(Stage.RECOURSE)
    found = {"recourse": actionability.actionability(cut)}
    progress(Stage.FIDELITY)
    true = true_causes.effects(cut, config.futures)
    found |= {
        "fidelity": true_causes.agreement_with_causes(cut, true),
        "effects": true_causes.mean_effects(true),
    }
    return found | {"symptoms": true_causes.symptoms(cut, true)}


def _configs(store: Store, name: str, version: str) -> tuple[DataConfig, FitConfig]:
    """As the version was fitted; another fit would not be its own challenger."""
    data, fit = (
        override(
            [config],
            [
                f"{key}={value}"
                for key, value in registry.fetch_parameters(store, name, version, stage).items()
            ],
        )[0]
        for config, stage in ((DataConfig(), "data"), (FitConfig(), "fit"))
    )
    return data, fit


def _facts(examined: Examined, world: Population) -> dict[str, str]:
    return {
        "examined.version": f"{examined.name} {examined.version}",
        "examined.bundle": examined.bundle,
        "examined.cut": str(examined.cut),
        "world.digest": world.digest,
    }
