"""Two models or more on the accounts that none of them has seen, kept as one MLflow run.  Read
:func:`compare` first.

from pathlib import Path
from training.compare.models.compare import compare
from training.tracking.runs import Store

found = compare(["champion", "challenger"], Path("data/simulated"), Store(Path("mlruns")))
found.better, found.tables["differences"], print(found.summary)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from training.compare.models import changes, figures
from training.compare.models.page import page, terminal
from training.compare.models.value import value
from training.compare.models.verdict import Verdict, verdict
from training.data.dataset import load
from training.evaluate import calibration, metrics, paired_tests
from training.evaluate.drift import drift_table
from training.evaluate.holdout import Evaluation, HoldOut, evaluate
from training.evaluate.model_lookup import Model, find_model
from training.evaluate.unseen_accounts import unseen
from training.tracking import runs
from training.tracking.progress import StageProgress
from training.tracking.store import Store

STAGES = 4  # times that progress is told


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found: its run, each model on the hold-out, a verdict on each against the
    first, the tables by name.

    ``page`` is Markdown, ``summary`` what a terminal shows; ``notes`` say what is not as usual
    about the hold-out.
    """

    run: str
    models: tuple[Evaluation, ...]
    verdicts: tuple[Verdict, ...]
    tables: Mapping[str, pl.DataFrame]
    page: str
    summary: str
    notes: tuple[str, ...]

    @property
    def better(self) -> bool:
        """Whether one of the others is better than the first."""
        return any(said.better for said in self.verdicts)


def compare(
    asked: Sequence[str],
    data: Path,
    store: Store,
    name: str = "limit-reduction",
    shared: bool = False,
    progress: StageProgress = lambda stage: None,
) -> Comparison:
    """Compare models with the first of them, on the test accounts of the data in folder ``data``.

    ``asked`` names two or more, as :func:`training.evaluate.model_lookup.find_model` reads names;
    ``name`` is the registered model whose aliases and versions are meant.  ``shared`` is as in
    :func:`training.evaluate.unseen_accounts.unseen`.  Raises ValueError for fewer than two or one
    asked for twice, and what these two raise.
    """
    # a pair may be of one model: nothing differs
    if len(asked) < 2 or (len(asked) > 2 and len(set(asked)) < len(asked)):
        raise ValueError(f"expected two models or more, each once, got {list(asked)}")
    progress("the models")
    models = [find_model(one, store, name) for one in asked]
    progress("the accounts")
    on = unseen(load(data), data, models, shared)
    evaluated = [
        evaluate(_named(place, model.asked, asked), model.bundle, on.hold_out)
        for place, model in enumerate(models)
    ]
    progress("the tables")
    tables = dict(_tables(evaluated)) | {"shift": _shift(evaluated, on.earlier)}
    first = evaluated[0].name
    verdicts = tuple(
        verdict(first, other.name, tables["differences"].filter(model=other.name), tables["value"])
        for other in evaluated[1:]
    )
    said = evaluated, tables, verdicts, on.notes
    progress("the run")
    run = _keep(evaluated, models, tables, verdicts, page(*said), on.notes, store)
    return Comparison(
        run, tuple(evaluated), verdicts, tables, page(*said), terminal(*said), on.notes
    )


def _named(place: int, name: str, asked: Sequence[str]) -> str:
    """The name that tables call a model by; a model compared with itself stands there twice."""
    return f"{name} again" if name in asked[:place] else name


def _tables(models: Sequence[Evaluation]) -> Iterator[tuple[str, pl.DataFrame]]:
    first, *others = models
    label = first.label
    yield (
        "differences",
        _stacked(
            {
                m.name: paired_tests.differences(label, first.probability, m.probability)
                for m in others
            }
        ),
    )
    yield (
        "calibration",
        _stacked({m.name: calibration.reliability(label, m.log_odds) for m in models}),
    )
    yield (
        "calibration_bins",
        _stacked({m.name: metrics.calibration(label, m.probability) for m in models}),
    )
    yield "actions", changes.actions(models)
    yield "changes", _stacked({m.name: changes.changes(first, m) for m in others})
    yield "reasons", _stacked({m.name: changes.reasons(first, m) for m in others})
    yield "value", value(models)


def _shift(models: Sequence[Evaluation], earlier: HoldOut) -> pl.DataFrame:
    """One row a month, other model and kind: ``model``, ``month``, ``psi_score``,
    ``psi_first_reason``.
    """
    then = [evaluate(model.name, model.bundle, earlier) for model in models]
    rows = []
    for first, *others in (then, models):
        for other in others:
            table = drift_table(first, other)
            score, reason = (table.filter(kind=kind)["psi"][0] for kind in ("score", "reason"))
            month = f"{first.hold_out.as_of:%Y-%m}"
            rows.append(
                {
                    "model": other.name,
                    "month": month,
                    "psi_score": score,
                    "psi_first_reason": reason,
                }
            )
    return pl.DataFrame(rows)


def _stacked(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(
        [table.select(pl.lit(name).alias("model"), pl.all()) for name, table in tables.items()]
    )


def _keep(
    models: Sequence[Evaluation],
    found: Sequence[Model],
    tables: Mapping[str, pl.DataFrame],
    verdicts: Sequence[Verdict],
    text: str,
    notes: Sequence[str],
    store: Store,
) -> str:
    names = [model.name for model in models]
    tags = {
        "kind": "comparison",
        "compared": ", ".join(names),
        "data.digest": models[0].hold_out.data,
    } | {
        f"compared.{place}": f"{model.asked}: run {model.run}, bundle {model.bundle.digest}"
        for place, model in enumerate(found)
    }
    tags |= {f"verdict.{number}": str(said) for number, said in enumerate(verdicts, start=1)} | (
        {"notes": "; ".join(notes)} if notes else {}
    )
    with runs.start_run(store, f"compare {' '.join(names)}") as run:
        runs.log_tags(tags)
        runs.log_tables(tables)
        runs.log_text(text, "comparison.md")
        runs.log_figures(_figures(models, tables))
        runs.log_metrics(_metrics(tables, verdicts))
    return run


def _figures(models: Sequence[Evaluation], tables: Mapping[str, pl.DataFrame]) -> dict[str, Figure]:
    drawn = {
        "roc": figures.roc(models),
        "calibration": figures.calibration(tables["calibration_bins"]),
    }
    scores = {
        f"scores_{place}": figures.scores(models[0], other)
        for place, other in enumerate(models[1:], start=1)
    }
    return drawn | scores | {"value": figures.value(tables["value"])}


def _metrics(tables: Mapping[str, pl.DataFrame], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Of each pair, numbered from 1: the differences with their intervals, and whether the second
    is better.
    """
    metrics: dict[str, float] = {}
    for number, said in enumerate(verdicts, start=1):
        pair = (
            tables["differences"]
            .filter(model=said.second)
            .select("measure", "difference", "low", "high")
        )
        worth = (
            tables["value"]
            .filter(model=said.second)
            .select(pl.lit("value").alias("measure"), "difference", "low", "high")
        )
        for measure_name, difference, low, high in pl.concat([pair, worth]).iter_rows():
            key = f"difference_{number}.{measure_name}"
            metrics |= {key: difference, f"{key}_low": low, f"{key}_high": high}
        metrics[f"better_{number}"] = float(said.better)
    return metrics
