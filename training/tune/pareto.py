"""Which of the models tried are worth having: the front of AUC and leaves, what is hopeless on it,
and which one is taken.

Everything here compares two models on the *same* folds, fold by fold: what makes a fold easy or
hard is then no noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class TrialScore:
    """A trial's AUC and leaves, one of each a fold in order of folds; ``number`` is the trial's."""

    number: int
    auc: tuple[float, ...]
    leaves: tuple[float, ...]

    @property
    def mean_auc(self) -> float:
        """Over the folds; larger is better."""
        return float(np.mean(self.auc))

    @property
    def mean_leaves(self) -> float:
        """Leaves of all trees, over the folds: what explaining a row costs; smaller is better."""
        return float(np.mean(self.leaves))


def pareto_front(scored: Sequence[TrialScore]) -> list[TrialScore]:
    """Those that none beats in one of AUC and leaves and equals in the other, smallest first; of
    equals the earliest.
    """
    found: list[TrialScore] = []
    for one in sorted(scored, key=lambda s: (s.mean_leaves, -s.mean_auc, s.number)):
        if not found or one.mean_auc > found[-1].mean_auc:
            found.append(one)
    return found


def smallest_within_noise(scored: Sequence[TrialScore]) -> TrialScore:
    """The smallest whose mean AUC lies within one standard error of the best (Breiman et al. 1984,
    section 3.4.3).

    The error is that of the *paired* difference to the best over the folds.  That of the best's own
    mean would mostly say how unlike the folds are, which all models share, and let much worse ones
    pass.  ValueError where there is none to choose from.
    """
    if not scored:
        raise ValueError("expected at least one finished trial to choose from, got none")
    best = max(pareto_front(scored), key=lambda s: s.mean_auc)
    close = [s for s in scored if best.mean_auc - s.mean_auc <= standard_error(best, s)]
    return min(close, key=lambda s: (s.mean_leaves, -s.mean_auc, s.number))


def standard_error(one: TrialScore, another: TrialScore) -> float:
    """Of the mean difference in AUC over the folds that both have; ValueError where the folds are
    not the same number.
    """
    if len(one.auc) != len(another.auc) or len(one.auc) < 2:
        raise ValueError(
            f"expected the same two or more folds, got {len(one.auc)} and {len(another.auc)}"
        )
    return float(np.std(np.subtract(one.auc, another.auc), ddof=1) / np.sqrt(len(one.auc)))


def fold_noise(finished: Sequence[TrialScore]) -> float | None:
    """How far the difference in AUC of two models wanders from fold to fold: a standard deviation,
    pooled over all pairs.

    Two folds alone would say next to nothing about it.  None where fewer than four models are there
    to judge by.
    """
    if len(finished) < 4:
        return None
    table = np.array([s.auc for s in finished])
    # What is left of each cell after the model's mean and the fold's: sigma of one model; a
    # difference has twice its variance.
    rest = (
        table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()
    )
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return float(np.sqrt(2.0 * np.square(rest).sum() / freedom))


def dominated_by(
    partial: TrialScore, finished: Sequence[TrialScore], clear_by: float
) -> TrialScore | None:
    """A finished trial that dominates one of which only the first folds are known, beyond noise;
    None where there is none.

    Beyond noise: smaller in *every* fold so far, and better in AUC by ``prune_margin_se`` standard
    errors of a mean difference over that many folds.  A trial that is worse in AUC only may still
    be the smallest of the front, and goes on.
    """
    folds, deviation = len(partial.auc), fold_noise(finished)
    if deviation is None:
        return None
    margin = clear_by * deviation / np.sqrt(folds)
    for other in finished:
        smaller = all(
            theirs < own for theirs, own in zip(other.leaves[:folds], partial.leaves, strict=True)
        )
        if smaller and float(np.mean(other.auc[:folds])) - partial.mean_auc > margin:
            return other
    return None
