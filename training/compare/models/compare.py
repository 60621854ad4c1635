"""Compare two models or more on accounts that none has seen, and log the result as an MLflow run.

Read :func:`compare` first. ::

    from pathlib import Path
    from training.compare.models.compare import compare
    from training.tracking.store import Store

    result = compare(["champion", "challenger"], Path("data/simulated"), Store(Path("mlruns")))
    result.better, result.tables["differences"], print(result.summary)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from features.display import notebook_display
from training.compare.models import changes, figures
from training.compare.models.page import page, terminal
from training.compare.models.value import value
from training.compare.models.verdict import ModelVerdict, judge
from training.data.dataset import load
from training.evaluate import calibration, metrics, paired_tests
from training.evaluate.drift import drift_table
from training.evaluate.holdout import Evaluation, HoldOut, evaluate
from training.evaluate.model_lookup import Model, find_model
from training.evaluate.unseen_accounts import select_unseen
from training.tracking import runs
from training.tracking.defaults import MODEL
from training.tracking.progress import StageProgress
from training.tracking.store import Store


class Stage(StrEnum):
    """The stages of a comparison, by the names that a progress bar shows."""

    MODELS = "the models"
    ACCOUNTS = "the accounts"
    TABLES = "the tables"
    RUN = "the run"


@notebook_display
@dataclass(frozen=True, slots=True)
class ModelComparison:
    """The result of a comparison: evaluations, a verdict on each model against the first, tables.

    ``notes`` warn about the accounts; ``run`` is the id of the MLflow run, "" before it is logged.
    """

    models: tuple[Evaluation, ...]
    verdicts: tuple[ModelVerdict, ...]
    tables: Mapping[str, pl.DataFrame]
    notes: tuple[str, ...]
    run: str = ""

    @property
    def better(self) -> bool:
        """Whether one of the others is better than the first."""
        return any(verdict.better for verdict in self.verdicts)

    @property
    def page(self) -> str:
        """The whole comparison in Markdown."""
        return page(self.models, self.tables, self.verdicts, self.notes)

    @property
    def summary(self) -> str:
        """The verdicts, and the tables that decide them, for a terminal."""
        return terminal(self.models, self.tables, self.verdicts, self.notes)


def compare(
    selectors: Sequence[str],
    data: Path,
    store: Store,
    name: str = MODEL,
    shared: bool = False,
    progress: StageProgress = lambda stage: None,
) -> ModelComparison:
    """Compare models with the first of them, on the test accounts of the data in folder ``data``.

    ``selectors`` name two models or more, as :func:`training.evaluate.model_lookup.find_model`
    reads them; ``name`` is the registered model that aliases and versions belong to.  ``shared`` is
    as in :func:`training.evaluate.unseen_accounts.select_unseen`.  Raises ValueError for fewer than
    two models or one of several given twice, and the errors of these two functions.
    """
    # Two may be the same model: then nothing differs, which checks the comparison itself.
    repeated = len(selectors) > 2 and len(set(selectors)) < len(selectors)
    if len(selectors) < 2 or repeated:
        raise ValueError(f"expected two models or more, each once, got {list(selectors)}")
    progress(Stage.MODELS)
    models = [find_model(selector, store, name) for selector in selectors]
    progress(Stage.ACCOUNTS)
    unseen = select_unseen(load(data), data, models, shared)
    named = zip(_shown_names(selectors), models, strict=True)
    evaluations = [evaluate(shown, model.bundle, unseen.hold_out) for shown, model in named]
    progress(Stage.TABLES)
    tables = _tables(evaluations)
    tables["shift"] = _shift(evaluations, unseen.earlier)
    comparison = ModelComparison(
        models=tuple(evaluations),
        verdicts=_verdicts(evaluations, tables),
        tables=tables,
        notes=unseen.notes,
    )
    progress(Stage.RUN)
    return replace(comparison, run=_log(comparison, models, store))


def _shown_names(selectors: Sequence[str]) -> list[str]:
    """The names of the models in tables; a model compared with itself needs two."""
    first, *others = selectors
    shown = [f"{name} again" if name == first else name for name in others]
    return [first, *shown]


def _tables(models: Sequence[Evaluation]) -> dict[str, pl.DataFrame]:
    first, *others = models
    label = first.label
    reliability = {}
    calibration_bins = {}
    for model in models:
        reliability[model.name] = calibration.reliability(label, model.log_odds)
        calibration_bins[model.name] = metrics.calibration(label, model.probability)
    differences = {}
    changed = {}
    reasons = {}
    for other in others:
        differences[other.name] = paired_tests.differences(
            label,
            first.probability,
            other.probability,
        )
        changed[other.name] = changes.changes(first, other)
        reasons[other.name] = changes.reasons(first, other)
    return {
        "differences": _stack(differences),
        "calibration": _stack(reliability),
        "calibration_bins": _stack(calibration_bins),
        "actions": changes.actions(models),
        "changes": _stack(changed),
        "reasons": _stack(reasons),
        "value": value(models),
    }


def _shift(models: Sequence[Evaluation], earlier: HoldOut) -> pl.DataFrame:
    """One row for each month and other model.

    Columns: ``model``, ``month``, ``psi_score``, ``psi_first_reason``, against the first model.
    """
    earlier_models = [evaluate(model.name, model.bundle, earlier) for model in models]
    rows = []
    for first, *others in (earlier_models, models):
        month = f"{first.hold_out.as_of:%Y-%m}"
        for other in others:
            table = drift_table(first, other)
            score = table.filter(kind="score")
            # The first row of the reasons is that of their whole mix.
            reasons = table.filter(kind="reason")
            rows.append(
                {
                    "model": other.name,
                    "month": month,
                    "psi_score": score["psi"][0],
                    "psi_first_reason": reasons["psi"][0],
                }
            )
    return pl.DataFrame(rows)


def _verdicts(
    models: Sequence[Evaluation],
    tables: Mapping[str, pl.DataFrame],
) -> tuple[ModelVerdict, ...]:
    first, *others = models
    verdicts = []
    for other in others:
        differences = tables["differences"].filter(model=other.name)
        verdicts.append(judge(first.name, other.name, differences, tables["value"]))
    return tuple(verdicts)


def _stack(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The models' tables under each other, after a column ``model``."""
    named = []
    for name, table in tables.items():
        model = pl.lit(name).alias("model")
        named.append(table.select(model, pl.all()))
    return pl.concat(named)


def _log(comparison: ModelComparison, models: Sequence[Model], store: Store) -> str:
    """Log the comparison as a run; returns the run's id."""
    names = [model.name for model in comparison.models]
    with runs.start_run(store, f"compare {' '.join(names)}") as run:
        runs.log_tags(_tags(comparison, models))
        runs.log_tables(comparison.tables)
        runs.log_text(comparison.page, "comparison.md")
        runs.log_figures(_figures(comparison))
        runs.log_metrics(_metrics(comparison))
    return run


def _tags(comparison: ModelComparison, models: Sequence[Model]) -> dict[str, str]:
    tags = {
        "kind": "comparison",
        "compared": ", ".join(model.name for model in comparison.models),
        "data.digest": comparison.models[0].hold_out.data,
    }
    for place, model in enumerate(models):
        tags[f"compared.{place}"] = (
            f"{model.selector}: run {model.run}, bundle {model.bundle.digest}"
        )
    for number, verdict in enumerate(comparison.verdicts, start=1):
        tags[f"verdict.{number}"] = str(verdict)
    if comparison.notes:
        tags["notes"] = "; ".join(comparison.notes)
    return tags


def _figures(comparison: ModelComparison) -> dict[str, Figure]:
    first, *others = comparison.models
    drawn = {
        "roc": figures.roc(comparison.models),
        "calibration": figures.calibration(comparison.tables["calibration_bins"]),
    }
    for place, other in enumerate(others, start=1):
        drawn[f"scores_{place}"] = figures.scores(first, other)
    drawn["value"] = figures.value(comparison.tables["value"])
    return drawn


def _metrics(comparison: ModelComparison) -> dict[str, float]:
    """The differences of each pair with their intervals, and whether the second is better.

    Pairs are numbered from 1.
    """
    # By number and not by name, so that the metrics of several comparisons have equal names.
    columns = ("measure", "difference", "low", "high")
    logged: dict[str, float] = {}
    for number, verdict in enumerate(comparison.verdicts, start=1):
        measures = comparison.tables["differences"].filter(model=verdict.second)
        values = comparison.tables["value"].filter(model=verdict.second)
        value_row = values.with_columns(measure=pl.lit("value"))
        pair = pl.concat([measures.select(columns), value_row.select(columns)])
        for measure, difference, low, high in pair.iter_rows():
            key = f"difference_{number}.{measure}"
            logged[key] = difference
            # Of too few defaults the interval is unknown, and MLflow has no metric that is.
            if low is not None:
                logged |= {f"{key}_low": low, f"{key}_high": high}
        logged[f"better_{number}"] = float(verdict.better)
    return logged
