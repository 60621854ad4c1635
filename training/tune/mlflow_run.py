"""A search as MLflow shows it: one run for the study, a run inside it for each trial, and what was
found on top.
"""

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

NOTE = """{trials} trials, {pruned} of them given up early. Taken: trial {taken}, AUC {auc:.4f} with {leaves:,.0f} leaves; the
best is trial {best}, {best_auc:.4f} with {best_leaves:,.0f}; where the search began: {base_auc:.4f} with {base_leaves:,.0f}.

    {command}
"""


@dataclass(frozen=True, slots=True)
class KeptSearch:
    """A run that trials are being added to."""

    run: str
    study: str
    children: runs.Children

    def trial(self, trial: Trial) -> None:
        """A run for a trial: its point, AUC and leaves, and those of each fold."""
        scored = trial.scored
        metrics = {"auc": scored.mean_auc, "leaves": scored.mean_leaves, "seconds": trial.seconds}
        metrics |= {f"auc_fold_{number}": value for number, value in enumerate(scored.auc, start=1)}
        tags = {"kind": "trial", "study": self.study, "pruned": str(not trial.whole).lower()}
        self.children.log(
            runs.Child(_name(trial), {f"fit.{k}": v for k, v in trial.point.items()}, metrics, tags)
        )

    def found(
        self,
        trials: Sequence[Trial],
        front: Sequence[TrialScore],
        marked: tuple[TrialScore, TrialScore, TrialScore],
        command: str,
    ) -> None:
        """What the search found: ``marked`` are where it began, the best and the one taken."""
        base, best, taken = marked
        table = trials_table(trials, front, best)
        runs.log_tables({"trials": table})
        runs.log_figures({"front": figures.front(table, taken.number)})
        pruned = sum(not trial.whole for trial in trials)
        runs.log_metrics(
            {
                "trials": len(trials),
                "pruned": pruned,
                "auc": taken.mean_auc,
                "leaves": taken.mean_leaves,
            }
            | {
                "auc_best": best.mean_auc,
                "auc_base": base.mean_auc,
                "leaves_base": base.mean_leaves,
            }
        )
        runs.log_tags({"taken": str(taken.number), "fit.command": command})
        said = {
            "auc": taken.mean_auc,
            "leaves": taken.mean_leaves,
            "best": best.number,
            "best_auc": best.mean_auc,
        }
        said |= {
            "best_leaves": best.mean_leaves,
            "base_auc": base.mean_auc,
            "base_leaves": base.mean_leaves,
        }
        note = NOTE.format(
            trials=len(trials), pruned=pruned, taken=taken.number, command=command, **said
        )
        called = f"tune {self.study} {len(trials)} trials auc {taken.mean_auc:.3f}"
        runs.log_tags({runs.ON_TOP: note, runs.RUN_NAME: called})


@contextmanager
def log_search(
    store: Store, study: Study, configs: tuple[Any, Any, Any], made_with: Mapping[str, str]
) -> Iterator[KeptSearch]:
    """The study's run, the one it already has if any; trials that a killed process did not get to
    are added first.
    """
    data, base, config = configs
    with runs.start_run(store, f"tune {study.name}", study.run) as run:
        if run != study.run:
            study.shown_in(run)
            tags = {"kind": "tune", "study": study.name} | {
                f"made_with.{name}": text for name, text in made_with.items()
            }
            # How many trials are wanted may change from one call to the next; a parameter of a run
            # may not.
            runs.log_configs(
                {"data": data, "fit": base, "tune": config}, tags, exclude=("tune.trials",)
            )
        kept = KeptSearch(run, study.name, runs.Children(store, run))
        there = kept.children.names()
        for trial in study.trials():
            if _name(trial) not in there:
                kept.trial(trial)
        yield kept


def trials_table(
    trials: Sequence[Trial], front: Sequence[TrialScore], best: TrialScore
) -> pl.DataFrame:
    """One row a trial: ``trial``, ``whole``, ``on_front``, ``auc``, ``leaves``, ``below_best``
    (AUC) with its standard ``error`` over the folds (null where not all were scored), ``seconds``,
    and the point."""
    on_front = {scored.number for scored in front}
    return pl.DataFrame(
        [
            {
                "trial": trial.number,
                "whole": trial.whole,
                "on_front": trial.number in on_front,
                "auc": trial.scored.mean_auc,
                "leaves": trial.scored.mean_leaves,
                "below_best": best.mean_auc - trial.scored.mean_auc if trial.whole else None,
                "error": standard_error(best, trial.scored) if trial.whole else None,
                "seconds": trial.seconds,
                **trial.point,
            }
            for trial in trials
        ],
        infer_schema_length=None,
    )


def _name(trial: Trial) -> str:
    return f"trial {trial.number:03d}"
