"""Trials in a study: each point of the space scored on the folds, and given up where it is
hopeless.

Optuna prunes by one objective only.  Here a trial is given up after a pair of folds where a
finished one is smaller in each of them and better in AUC beyond noise: such a trial would hardly
have come on the front (see :func:`training.tune.pareto.dominated_by`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from optuna import TrialPruned

from training.fit.config import FitConfig
from training.tracking.config import check_ranges
from training.tune import folds
from training.tune.folds import Fold
from training.tune.pareto import TrialScore, dominated_by
from training.tune.space import config_at, starting_points
from training.tune.study import Study, Trial

# folds that are scored side by side, and between which a trial may be given up: the same on every
# machine
TOGETHER = 2


@dataclass(frozen=True, slots=True)
class TuneConfig:
    """How a search goes about it."""

    trials: int = 50  # in all: a study that has some already makes the rest
    # of the training accounts; each trial is scored on all of them, unless it is given up
    search_folds: int = 10
    search_seed: int = 0  # of what is drawn
    startup: int = 10  # trials drawn blindly before the sampler learns from them
    prune: bool = True  # give up trials that cannot come on the front any more
    # standard errors by which a finished trial must be better for that
    prune_margin_se: float = 2.5

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
    study: Study, prepared: Sequence[Fold], base: FitConfig, config: TuneConfig
) -> Iterator[list[Trial]]:
    """Trials until the study has as many as wanted; after each, all that ended."""
    trials = study.trials()
    with _workers(base) as (pool, threads):
        while len(trials) < config.trials:
            asked, point = study.ask(starting_points(base))
            tried = replace(config_at(point, base), threads=threads)
            rivals = [t.scored for t in trials if t.whole] if config.prune else []
            begun = time.perf_counter()
            ended = _scored(asked.number, tried, prepared, rivals, config.prune_margin_se, pool)
            trials = [*trials, study.tell(asked, *ended_with(ended, begun, len(prepared)))]
            yield trials


def ended_with(scored: TrialScore, begun: float, count: int) -> tuple[TrialScore, float, bool]:
    """A trial's score, its seconds, and whether all folds were scored."""
    return scored, time.perf_counter() - begun, len(scored.auc) == count


def _scored(
    number: int,
    tried: FitConfig,
    prepared: Sequence[Fold],
    rivals: Sequence[TrialScore],
    clear_by: float,
    pool: ThreadPoolExecutor,
) -> TrialScore:
    """Scored fold by fold, on all of them unless it turns out hopeless before."""
    scored = TrialScore(number, (), ())
    try:
        for first in range(0, len(prepared), TOGETHER):
            made = list(
                pool.map(
                    lambda fold: folds.score_fold(fold, tried), prepared[first : first + TOGETHER]
                )
            )
            scored = TrialScore(
                number,
                (*scored.auc, *(a for a, _ in made)),
                (*scored.leaves, *(b for _, b in made)),
            )
            _give_up_if_hopeless(scored, len(prepared), rivals, clear_by)
    except TrialPruned:
        pass  # its state says so: fewer folds than there are
    return scored


def _give_up_if_hopeless(
    scored: TrialScore, count: int, rivals: Sequence[TrialScore], clear_by: float
) -> None:
    if len(scored.auc) < count and (rival := dominated_by(scored, rivals, clear_by)) is not None:
        raise TrialPruned(f"trial {rival.number} is smaller and better")


@contextmanager
def _workers(base: FitConfig) -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Folds side by side, and the threads of each: two folds of one thread each waste less than one
    fold of two.
    """
    cores = base.threads or os.cpu_count() or 1
    with ThreadPoolExecutor(min(TOGETHER, cores)) as pool:
        yield pool, max(1, cores // TOGETHER)
