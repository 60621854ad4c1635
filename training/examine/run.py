"""One examination: a registered version on accounts that no model saw, logged as one MLflow run.

Read :func:`run_examination` first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import polars as pl
from matplotlib.figure import Figure

from features.display import notebook_display
from serving.decision.bundle import Bundle
from serving.decision.golden import load as load_bundle
from training.data.config import DataConfig, DataError
from training.data.dataset import load
from training.data.labels import label_accounts
from training.evaluate.nudges import ANY, THOUSANDTH, measure_nudges_of
from training.examine import figures
from training.examine.advice.actionability import actionability
from training.examine.advice.followers import PLAN, follow_all, followers, promises_kept
from training.examine.advice.other_cuts import (
    PAST_DUE,
    find_other_cuts,
    other_promises,
    ways_out,
)
from training.examine.advice.other_models import fit_models, judge_by_other_models
from training.examine.advice.other_rules import advise_by_other_rules
from training.examine.advice.plan_risk import simulate_risk
from training.examine.advice.same_again import same_again
from training.examine.advice.tables import validity, validity_by_month
from training.examine.auc_ceiling import auc_ceiling
from training.examine.censoring_study import censoring_study
from training.examine.page import ExaminedVersion, page
from training.examine.reasons import true_causes
from training.examine.reasons.acting import acting_on_reasons
from training.examine.reasons.aims import DELETION, SENTENCES, STABILITY, add_aims
from training.examine.reasons.refits import Origin, measure_stability
from training.examine.truth.cut_accounts import CutAccounts, find_cut_accounts
from training.examine.truth.outcomes import simulate_untreated
from training.examine.truth.population import (
    ExamineConfig,
    Population,
    draw_population,
    simulation_of,
)
from training.fit.bundle import BundleConfig
from training.fit.config import FitConfig
from training.fit.fit import Fitted
from training.fit.reason_quality.checks import quality_metrics
from training.fit.reason_quality.deletion import measure_deletion
from training.fit.reason_quality.sentences import measure_sentences
from training.fit.reason_quality.stated import find_cut_reasons
from training.tracking import registry, runs
from training.tracking.config import override
from training.tracking.progress import StageProgress
from training.tracking.store import Store, temporary_folder


class Stage(StrEnum):
    """The stages of an examination, by the names that a progress bar shows."""

    ACCOUNTS = "the accounts"
    FOLLOW = "following the plans"
    VALIDITY = "their risk afterwards"
    OTHERS = "cuts by persons and rules"
    RULES = "other rules of advice"
    MODELS = "other models"
    DELETION = "the cut without its reasons"
    REFITS = "the reasons of other models"
    RECOURSE = "recourse against the reasons"
    FIDELITY = "the true causes"
    NUDGES = "small changes of the amounts"
    CEILING = "futures without any cut"
    TREATMENT = "treated accounts"


class _Configs(NamedTuple):
    """What a version was fitted with."""

    data: DataConfig
    fit: FitConfig
    bundle: BundleConfig


@notebook_display
@dataclass(frozen=True, slots=True)
class ExaminationResult:
    """The result of an examination: the id of its run, the page in Markdown, tables by name."""

    run: str
    examined: ExaminedVersion
    page: str
    tables: Mapping[str, pl.DataFrame]


def run_examination(
    data_folder: Path,
    store: Store,
    name: str,
    version: str,
    config: ExamineConfig,
    progress: StageProgress,
) -> ExaminationResult:
    """Examine a version that was fitted on the simulation in ``data_folder``.

    Refits use the configs of the version's own run.  Raises
    :class:`training.data.config.DataError` for data that are no simulation or not the version's
    own, TrackingError for a version without a bundle.
    """
    bundle = _load_version(store, name, version)
    source = load(data_folder)
    simulation = simulation_of(data_folder)
    if bundle.provenance.training_data != source.digest:
        # Refits would be of other data, and the population could have accounts that the version
        # was fitted on.
        raise DataError(
            f"{data_folder}: expected the data that version {version} of {name} was fitted on, "
            f"got other data"
        )
    configs = _fit_configs(store, name, version)
    data = label_accounts(source, configs.data)
    origin = Origin(source, data, configs.fit, configs.bundle, bundle)
    with runs.start_run(store) as run:
        progress(Stage.ACCOUNTS)
        population = draw_population(simulation, config)
        cohort = find_cut_accounts(population, bundle)
        examined = ExaminedVersion(name, version, bundle.digest, len(cohort))
        runs.log_configs({"examine": config}, _facts(examined, population))
        tables = _advice_tables(cohort, config, progress)
        progress(Stage.RULES)
        tables["promises"] = advise_by_other_rules(population, bundle)
        progress(Stage.MODELS)
        models = list(fit_models(data, configs.fit, config.refits))
        tables["durability"] = judge_by_other_models(cohort, models)
        redrawn = [model for name, model in models if name != "challenger"]
        tables |= _quality_tables(population, origin, redrawn, config, progress)
        tables |= _cause_tables(cohort, config, progress)
        progress(Stage.CEILING)
        truth = simulate_untreated(population, config)
        tables["ceiling"] = auc_ceiling(population, bundle, config, truth)
        progress(Stage.TREATMENT)
        tables["treatment"] = censoring_study(
            population,
            source,
            bundle.policy,
            (configs.data, configs.fit),
            config,
            truth,
        )
        text = page(examined, population, config, tables)
        runs.log_tables(tables)
        runs.log_text(text, "examination.md")
        runs.log_metrics(metrics(tables))
        runs.log_figures(_figures(cohort, tables))
    return ExaminationResult(run, examined, text, tables)


def metrics(tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """Return the figures that runs are compared by, without those that are null."""
    everyone = tables["validity"].row(0, named=True)
    served = tables["fidelity"].row(0, named=True)
    nudged = tables["nudges"].filter(nudge=THOUSANDTH.name, column=ANY)
    other_models = tables["durability"].filter(pl.col("model") != "served")
    realised = tables["ceiling"].filter(outcome="realised")
    logged = {
        "advice_hold_least": other_models["hold"].min(),
        "nudges_moved": nudged["moved"].item(),
        "reasons_without_recourse": tables["recourse"]["without"][0],
    }
    for key in ("kept", "kept_unshocked", "fell", "fell_limit_back", "months"):
        logged[f"advice_{key}"] = everyone[key]
    for row in tables["promises_kept"].iter_rows(named=True):
        # MLflow takes no commas.
        who = row["followers"].replace(",", "").replace(" ", "_")
        logged[f"followed_{who}_{row['measure']}"] = row["share"]
    for key in ("top_1", "top_4", "rank_correlation"):
        logged[f"reasons_true_{key}"] = served[key]
    for key in ("helps", "wrong"):
        logged[f"reasons_acting_{key}"] = tables["acting"][key].first()
    logged |= quality_metrics(tables)
    for measure, value in realised.select("measure", "value").iter_rows():
        logged[f"ceiling_{measure}"] = value
    # MLflow takes no null, such as the share of unshocked promises where every account was shocked.
    known = {key: value for key, value in logged.items() if value is not None}
    return {key: float(value) for key, value in known.items()}


def _load_version(store: Store, name: str, version: str) -> Bundle:
    with temporary_folder() as folder:
        return load_bundle(registry.fetch_bundle(store, name, version, Path(folder)))


def _advice_tables(
    cohort: CutAccounts,
    config: ExamineConfig,
    progress: StageProgress,
) -> dict[str, pl.DataFrame]:
    progress(Stage.FOLLOW)
    followed = follow_all(cohort)
    progress(Stage.VALIDITY)
    risk = simulate_risk(cohort, config.futures)
    by_conduct = followers(followed)
    progress(Stage.OTHERS)
    others = find_other_cuts(cohort.population, cohort.bundle)
    return {
        "promises_kept": promises_kept(by_conduct),
        "followers": by_conduct,
        "same_again": same_again(cohort),
        "other_promises": other_promises(others),
        "ways_out": ways_out(others.get(PAST_DUE)),
        "validity": validity(cohort, followed[PLAN], risk),
        "validity_by_month": validity_by_month(followed[PLAN]),
    }


def _quality_tables(
    population: Population,
    origin: Origin,
    redrawn: Sequence[Fitted],
    config: ExamineConfig,
    progress: StageProgress,
) -> dict[str, pl.DataFrame]:
    progress(Stage.DELETION)
    cuts = find_cut_reasons(population.statements, origin.served, population.decided_at)
    found = measure_deletion(cuts)
    stated = measure_sentences(cuts)
    progress(Stage.REFITS)
    stable = measure_stability(cuts, origin, redrawn, config.seeds)
    return {
        "reason_sentences": add_aims(stated, SENTENCES),
        "reason_deletion": add_aims(found, DELETION),
        "reason_stability": add_aims(stable, STABILITY),
    }


def _cause_tables(
    cohort: CutAccounts,
    config: ExamineConfig,
    progress: StageProgress,
) -> dict[str, pl.DataFrame]:
    progress(Stage.RECOURSE)
    recourse = actionability(cohort)
    progress(Stage.FIDELITY)
    effects = true_causes.simulate_effects(cohort, config.futures)
    progress(Stage.NUDGES)
    nudges = measure_nudges_of(cohort.population.statements, cohort.bundle)
    return {
        "nudges": nudges,
        "recourse": recourse,
        "acting": acting_on_reasons(cohort, effects),
        "fidelity": true_causes.agreement_with_causes(cohort, effects),
        "effects": true_causes.mean_effects(effects),
        "symptoms": true_causes.symptoms(cohort, effects),
    }


def _figures(cohort: CutAccounts, tables: Mapping[str, pl.DataFrame]) -> dict[str, Figure]:
    example = figures.choose_example(cohort.advised, cohort.promised.tolist())
    return {
        "recovery_path": figures.recovery_path(example),
        "fidelity": figures.fidelity_bars(tables["fidelity"]),
        "deletion": figures.deletion_bars(tables["reason_deletion"]),
        "stability": figures.stability_points(tables["reason_stability"]),
        "validity_by_month": figures.validity_by_month(tables["validity_by_month"]),
    }


def _fit_configs(store: Store, name: str, version: str) -> _Configs:
    """The configs that the version was fitted with."""
    data_settings = _settings(registry.fetch_parameters(store, name, version, "data"))
    fit_settings = _settings(registry.fetch_parameters(store, name, version, "fit"))
    of_bundle = registry.fetch_parameters(store, name, version, "bundle")
    # Not the files of policy and texts: they may be gone, and the bundle has what was in them.
    of_reference = {key: of_bundle[key] for key in ("reference_size", "reference_band")}
    (data_config,) = override([DataConfig()], data_settings)
    (fit_config,) = override([FitConfig()], fit_settings)
    (bundle_config,) = override([BundleConfig()], _settings(of_reference))
    return _Configs(data_config, fit_config, bundle_config)


def _settings(parameters: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in parameters.items()]


def _facts(examined: ExaminedVersion, population: Population) -> dict[str, str]:
    return {
        "examined.version": f"{examined.name} {examined.version}",
        "examined.bundle": examined.bundle,
        "examined.cut": str(examined.cut),
        "world.digest": population.digest,
    }
