"""Ours, tuned inside each fold: the search sees the fold's training rows and nothing else."""

from __future__ import annotations

from dataclasses import replace

from training.compare.peers.learners import Contender, Model, ours
from training.data.config import DataConfig
from training.data.labels import Labelled
from training.fit.config import FitConfig
from training.tune import folds
from training.tune.pareto import smallest_within_noise
from training.tune.search import TuneConfig, search
from training.tune.space import config_at
from training.tune.study import create_in_memory

TUNED = "Clearline, tuned"
_OTHER_HASH = 1_000_003  # inner folds by the outer folds' hash would each be a part of one


def tuned(trials: int, data_config: DataConfig) -> Contender:
    """The contender: a search of so many trials in each fold, then a fit of what it takes."""

    def fit(data: Labelled, config: FitConfig) -> Model:
        return ours(data, taken(data, config, trials, data_config))

    told = f"the smallest model within one standard error of the best of {trials} trials, searched inside each fold"
    return Contender(TUNED, told, None, fit)


def taken(data: Labelled, config: FitConfig, trials: int, data_config: DataConfig) -> FitConfig:
    """The config that a search on these rows takes."""
    how = TuneConfig(trials=trials)
    within = replace(data_config, split_seed=data_config.split_seed + _OTHER_HASH)
    parts = list(folds.split_folds(data, how.search_folds, within, how.search_seed))
    found = list(
        search(
            create_in_memory(how.search_seed, how.startup),
            folds.bin_folds(data, parts),
            config,
            how,
        )
    )[-1]
    best = smallest_within_noise([trial.scored for trial in found if trial.whole])
    return config_at(next(trial.point for trial in found if trial.number == best.number), config)
