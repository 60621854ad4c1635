"""A search in MLflow: a run for the study, a child run for each trial, and the result on top."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl

from training.evaluate import figures
from training.tracking import runs
from training.tracking.store import Store
from training.tune.pareto import TrialScore, standard_error
from training.tune.study import Study, Trial

NOTE = """\
{trials} trials, {pruned} of them pruned.  AUC and leaves, means over the folds:
Selected: trial {selected.number}, {selected.mean_auc:.4f} with {selected.mean_leaves:,.0f}.
Best: trial {best.number}, {best.mean_auc:.4f} with {best.mean_leaves:,.0f}.
Start: {base.mean_auc:.4f} with {base.mean_leaves:,.0f}.

    {command}
"""


@dataclass(frozen=True, slots=True)
class SearchLog:
    """The active run of a study, which trials are added to."""

    run: str
    study: str
    children: runs.Children

    def add_trial(self, trial: Trial) -> None:
        """Write a child run with the trial's point, AUC and leaves, and the AUC of each fold."""
        scored = trial.scored
        metrics = {"auc": scored.mean_auc, "leaves": scored.mean_leaves, "seconds": trial.seconds}
        for number, value in enumerate(scored.auc, start=1):
            metrics[f"auc_fold_{number}"] = value
        params = {f"fit.{name}": value for name, value in trial.point.items()}
        tags = {"kind": "trial", "study": self.study, "pruned": str(not trial.whole).lower()}
        self.children.log(runs.Child(_name(trial), params, metrics, tags))

    def add_result(
        self,
        trials: Sequence[Trial],
        front: Sequence[TrialScore],
        marked: tuple[TrialScore, TrialScore, TrialScore],
        command: str,
    ) -> None:
        """Write the result; ``marked`` are the first, the best and the selected trial."""
        base, best, selected = marked
        table = trials_table(trials, front, best)
        pruned = sum(not trial.whole for trial in trials)
        runs.log_tables({"trials": table})
        runs.log_figures({"front": figures.front(table, selected.number)})
        runs.log_metrics(
            {
                "trials": len(trials),
                "pruned": pruned,
                "auc": selected.mean_auc,
                "leaves": selected.mean_leaves,
                "auc_best": best.mean_auc,
                "auc_base": base.mean_auc,
                "leaves_base": base.mean_leaves,
            }
        )
        note = NOTE.format(
            trials=len(trials),
            pruned=pruned,
            selected=selected,
            best=best,
            base=base,
            command=command,
        )
        name = f"tune {self.study} {len(trials)} trials auc {selected.mean_auc:.3f}"
        runs.log_tags(
            {
                "taken": str(selected.number),
                "fit.command": command,
                runs.ON_TOP: note,
                runs.RUN_NAME: name,
            }
        )


@contextmanager
def log_search(
    store: Store,
    study: Study,
    configs: tuple[Any, Any, Any],
    made_with: Mapping[str, str],
) -> Iterator[SearchLog]:
    """Continue the study's run, or start one; yield the log for further trials.

    ``configs`` are of the data, the fit and the search.  Trials that a killed process did not log
    are added first.
    """
    data, base, config = configs
    with runs.start_run(store, f"tune {study.name}", resume=study.run) as run:
        if run != study.run:
            study.set_run(run)
            tags = {f"made_with.{name}": text for name, text in made_with.items()}
            tags |= {"kind": "tune", "study": study.name}
            # A later call may ask for more trials, but MLflow refuses to change a parameter.
            exclude = ("tune.trials",)
            runs.log_configs({"data": data, "fit": base, "tune": config}, tags, exclude)
        log = SearchLog(run, study.name, runs.Children(store, run))
        logged = log.children.names()
        for trial in study.trials():
            if _name(trial) not in logged:
                log.add_trial(trial)
        yield log


def trials_table(
    trials: Sequence[Trial],
    front: Sequence[TrialScore],
    best: TrialScore,
) -> pl.DataFrame:
    """Return one row a trial.

    Columns: ``trial`` (number), ``whole``, ``on_front``, ``auc``, ``leaves``, ``below_best``
    (difference in AUC) with its standard ``error`` over the folds (both null if the trial was
    pruned), ``seconds``, and the point.
    """
    on_front = {score.number for score in front}
    rows = []
    for trial in trials:
        score = trial.scored
        row = {
            "trial": trial.number,
            "whole": trial.whole,
            "on_front": trial.number in on_front,
            "auc": score.mean_auc,
            "leaves": score.mean_leaves,
            "below_best": best.mean_auc - score.mean_auc if trial.whole else None,
            "error": standard_error(best, score) if trial.whole else None,
            "seconds": trial.seconds,
        }
        rows.append(row | dict(trial.point))
    return pl.DataFrame(rows, infer_schema_length=None)


def _name(trial: Trial) -> str:
    return f"trial {trial.number:03d}"
