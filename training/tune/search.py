"""Trials of a study: each point of the space is scored on the folds, and pruned if it is dominated.

Optuna prunes by one objective only.  Here a trial is pruned after a pair of folds if a finished
trial is smaller in each of them and better in AUC beyond noise: such a trial would hardly have come
on the front (see :func:`training.tune.pareto.dominated_by`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from training.fit.config import FitConfig
from training.tracking.config import check_ranges
from training.tune.folds import Fold, score_fold
from training.tune.pareto import TrialScore, dominated_by
from training.tune.space import config_at, starting_points
from training.tune.study import Study, Trial

# Folds that are scored in parallel, and after which a trial may be pruned.  Not the number of
# cores: the same search must make the same trials on every machine.
FOLDS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class TuneConfig:
    """Size and seed of a search.  ValueError for a field out of its range."""

    trials: int = 50  # in all: a study that has some already makes the rest
    search_folds: int = 10  # of the training accounts; a trial that is not pruned runs on all
    search_seed: int = 0  # of the folds and the sampler
    startup: int = 10  # trials drawn at random before the sampler learns from them
    prune: bool = True  # stop trials that a finished one dominates
    prune_margin_se: float = 2.5  # standard errors by which it must be better for that

    def __post_init__(self) -> None:
        check_ranges(
            self,
            trials=(1, 100_000),
            search_folds=(2, 20),
            search_seed=(0, 2**31 - 1),
            startup=(1, 10_000),
            prune_margin_se=(0, 100),
        )


def search(
    study: Study,
    folds: Sequence[Fold],
    base: FitConfig,
    config: TuneConfig,
) -> Iterator[list[Trial]]:
    """Run trials until the study has ``config.trials``; yield all finished ones after each.

    ``base`` is the config of the first trial and of all fields that the space does not have.
    """
    trials = study.trials()
    with _workers(base) as (pool, threads):
        while len(trials) < config.trials:
            asked, point = study.ask(starting_points(base))
            tried = replace(config_at(point, base), threads=threads)
            rivals = [trial.scored for trial in trials if trial.whole] if config.prune else []
            start = time.perf_counter()
            score, is_whole = TrialScore(asked.number, (), ()), False
            for first in range(0, len(folds), FOLDS_AT_ONCE):
                score = _score_more(
                    score,
                    folds[first : first + FOLDS_AT_ONCE],
                    tried,
                    pool,
                )
                is_whole = len(score.auc) == len(folds)
                if is_whole or dominated_by(score, rivals, config.prune_margin_se) is not None:
                    break
            seconds = time.perf_counter() - start
            trials = [*trials, study.tell(asked, score, seconds, is_whole)]
            yield trials


def _score_more(
    score: TrialScore,
    folds: Sequence[Fold],
    tried: FitConfig,
    pool: ThreadPoolExecutor,
) -> TrialScore:
    """Return the score with these folds added."""
    results = list(pool.map(lambda fold: score_fold(fold, tried), folds))
    return TrialScore(
        score.number,
        (*score.auc, *(auc for auc, _ in results)),
        (*score.leaves, *(leaves for _, leaves in results)),
    )


@contextmanager
def _workers(base: FitConfig) -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Yield a pool for the folds, and how many threads each of them may use.

    Two folds of one thread each waste less than one fold of two.
    """
    cores = base.threads or os.cpu_count() or 1
    folds_at_once = min(FOLDS_AT_ONCE, cores)
    with ThreadPoolExecutor(folds_at_once, "folds") as pool:
        yield pool, max(1, cores // folds_at_once)
