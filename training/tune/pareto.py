"""Models compared by AUC and leaves: the Pareto front, the dominated ones, and the selected one.

All models are scored on the *same* folds and compared fold by fold, so that the difficulty of a
fold is not noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class TrialScore:
    """AUC and leaves of a trial, one of each a fold in order of folds."""

    number: int  # of the trial
    auc: tuple[float, ...]
    leaves: tuple[float, ...]

    @property
    def mean_auc(self) -> float:
        """Mean AUC over the folds; higher is better."""
        return float(np.mean(self.auc))

    @property
    def mean_leaves(self) -> float:
        """Mean leaves of all trees: what it costs to explain a row; lower is better."""
        return float(np.mean(self.leaves))


def pareto_front(scores: Sequence[TrialScore]) -> list[TrialScore]:
    """Return the scores that no other one dominates, smallest model first.

    A score dominates if it is better in AUC or leaves and not worse in the other.  Of equal scores
    the earliest is returned.
    """
    front: list[TrialScore] = []
    for score in sorted(scores, key=_smallest_first):
        if not front or score.mean_auc > front[-1].mean_auc:
            front.append(score)
    return front


def smallest_within_noise(scores: Sequence[TrialScore]) -> TrialScore:
    """Return the smallest model within one standard error of the best (Breiman et al. 1984, 3.4.3).

    The error is that of the *paired* difference to the best over the folds.  The error of the
    best's own mean would mostly measure how unlike the folds are, which all models share, and would
    let much worse ones pass.

    Raises ValueError if there are no scores.
    """
    if not scores:
        raise ValueError("expected at least one finished trial to choose from, got none")
    best = max(pareto_front(scores), key=lambda score: score.mean_auc)
    close = [
        score for score in scores if best.mean_auc - score.mean_auc <= standard_error(best, score)
    ]
    return min(close, key=_smallest_first)


def standard_error(one: TrialScore, other: TrialScore) -> float:
    """Return the standard error of the mean difference in AUC over the folds.

    Raises ValueError if the scores are of different numbers of folds, or of fewer than two.
    """
    count = len(one.auc)
    if len(other.auc) != count or count < 2:
        raise ValueError(f"expected the same two or more folds, got {count} and {len(other.auc)}")
    differences = np.subtract(one.auc, other.auc)
    return float(np.std(differences, ddof=1) / np.sqrt(count))


def fold_noise(finished: Sequence[TrialScore]) -> float | None:
    """Return the standard deviation over folds of the difference in AUC between two models.

    Pooled over all pairs, because two folds alone say next to nothing about it; None for fewer than
    four models.
    """
    if len(finished) < 4:
        return None
    table = np.array([score.auc for score in finished])
    # Two-way residuals: what the mean of the model and the mean of the fold do not explain.  Their
    # deviation is that of one model; a difference of two has twice its variance.
    by_model = table.mean(axis=1, keepdims=True)
    by_fold = table.mean(axis=0, keepdims=True)
    residuals = table - by_model - by_fold + table.mean()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return float(np.sqrt(2.0 * np.square(residuals).sum() / freedom))


def dominated_by(
    partial: TrialScore,
    finished: Sequence[TrialScore],
    margin_se: float,
) -> TrialScore | None:
    """Return a finished trial that dominates a partly scored one; None if there is none.

    It dominates if it is smaller in *every* fold so far, and better in mean AUC by ``margin_se``
    standard errors of a mean difference over that many folds.  A trial that is only worse in AUC
    may still be the smallest of the front.
    """
    count, deviation = len(partial.auc), fold_noise(finished)
    if deviation is None:
        return None
    margin = margin_se * deviation / np.sqrt(count)
    for other in finished:
        is_smaller = bool(np.all(np.less(other.leaves[:count], partial.leaves)))
        lead = float(np.mean(other.auc[:count])) - partial.mean_auc
        if is_smaller and lead > margin:
            return other
    return None


def _smallest_first(score: TrialScore) -> tuple[float, float, int]:
    return score.mean_leaves, -score.mean_auc, score.number
