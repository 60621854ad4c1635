"""Our model, tuned inside each fold: the search sees the fold's training rows and nothing else."""

from __future__ import annotations

from dataclasses import replace

from training.compare.peers.learners import Contender, Model, fit_ours
from training.data.config import DataConfig
from training.data.labels import Labelled
from training.fit.config import FitConfig
from training.tune import folds
from training.tune.pareto import smallest_within_noise
from training.tune.search import TuneConfig, search
from training.tune.space import config_at
from training.tune.study import create_in_memory

TUNED = "Clearline, tuned"
# Inner folds need another hash than the outer ones: by the same, every account of a training fold
# would fall into the same few inner folds.
_OTHER_HASH = 1_000_003


def tuned(trials: int, data_config: DataConfig) -> Contender:
    """Return the contender: a search of ``trials`` in each fold, then a fit of its selection."""

    def fit(data: Labelled, config: FitConfig) -> Model:
        return fit_ours(data, tune_config(data, config, trials, data_config))

    setting = (
        f"the smallest model within one standard error of the best of {trials} trials, "
        f"searched inside each fold"
    )
    return Contender(TUNED, setting, None, fit)


def tune_config(
    data: Labelled,
    config: FitConfig,
    trials: int,
    data_config: DataConfig,
) -> FitConfig:
    """Return the config that a search on these rows selects."""
    tune = TuneConfig(trials=trials)
    inner_config = replace(data_config, split_seed=data_config.split_seed + _OTHER_HASH)
    parts = list(
        folds.split_folds(
            data,
            tune.search_folds,
            inner_config,
            tune.search_seed,
        )
    )
    study = create_in_memory(tune.search_seed, tune.startup)
    *_, trials_done = search(study, folds.bin_folds(data, parts), config, tune)
    whole = [trial.scored for trial in trials_done if trial.whole]
    best = smallest_within_noise(whole)
    point = next(trial.point for trial in trials_done if trial.number == best.number)
    return config_at(point, config)
