"""What would become of the examined accounts if nothing were done: their one own future, and the share of many others.

The share of N futures is the probability with sampling noise of variance p (1 - p) / N.  As what a model is measured against it
serves as well as the truth: expected log-loss and Brier score are linear in it, the expected AUC is a ratio of two sums that
are linear in each account's, and what is linear has the same mean.  As a *score* it is a little worse than the truth: see
:mod:`training.examining.ceiling`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.build import Features, build
from training.data import Labelled
from training.examining.futures import probability, untreated
from training.examining.world import ExamineConfig, World

Vector = NDArray[np.float64]
RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Truth:
    """The accounts that a decision is asked for, in order of ``features``.

    ``realised`` is 0 or 1, in future 0, float64 (accounts,).  ``quarters`` are the shares of the first, second, third and
    fourth quarter of the other futures in which each account defaults, float64 (4, accounts): measurements with no luck in
    common, of ``sizes`` futures.
    """

    features: Features
    realised: Vector
    quarters: Vector
    sizes: tuple[int, ...]

    @property
    def probability(self) -> Vector:
        """The share of all the futures but 0."""
        return self.share_of(0, 1, 2, 3)

    def share_of(self, *quarters: int) -> Vector:
        """The share of the futures in these quarters."""
        places = list(quarters)
        shares: Vector = np.average(self.quarters[places], axis=0, weights=[self.sizes[place] for place in places])
        return shares

    def labelled(self) -> Labelled:
        """The accounts with their realised outcome, as a hold-out."""
        return Labelled(self.features, self.realised, np.full(len(self.realised), "test"))


def live(world: World, config: ExamineConfig) -> Truth:
    """Live the futures of the world's accounts in which the incumbent cuts nobody."""
    features = build(world.statements)
    places = world.places(features.accounts["account_id"])
    state, simulation = world.now.take(places), untreated(world.config)
    parts = np.array_split(np.arange(1, config.futures + 1), 4)
    shares = [probability(state, simulation, len(part), first=int(part[0])) for part in parts]
    return Truth(features, world.realised()[places], np.array(shares), tuple(len(part) for part in parts))


def expected_auc(probability: Vector, score: Vector, counts: Vector | None = None) -> float:
    """The AUC of ``score`` over outcomes that come about with ``probability``: of pairs, the share ranked rightly.

    Each pair of different accounts counts with the probability that the first defaults and the second does not; ties count
    half.  Where all probabilities are 0 or 1 this is the AUC.  ``counts`` is how often each account stands in a resample.

    >>> expected_auc(np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.1]))
    0.75
    """
    times = np.ones(len(score)) if counts is None else counts
    _, place = np.unique(score, return_inverse=True)
    ones, zeros = np.bincount(place, times * probability), np.bincount(place, times * (1.0 - probability))
    itself = float((times**2 * probability * (1.0 - probability)).sum())
    below = np.cumsum(zeros) - zeros
    return float(((ones * (below + 0.5 * zeros)).sum() - 0.5 * itself) / (ones.sum() * zeros.sum() - itself))


def expected_log_loss(probability: Vector, log_odds: Vector) -> Vector:
    """Each account's log-loss on average over its outcome, in nats."""
    # log(1 + exp(x)) - p x: the usual two terms, without a logarithm of 0.
    loss: Vector = np.logaddexp(0.0, log_odds) - probability * log_odds
    return loss


def resamples(accounts: int, seed: int = 0, times: int = RESAMPLES) -> Vector:
    """How often each account stands in each bootstrap resample, float64 (times, accounts)."""
    generator = np.random.default_rng(seed)
    return np.array([np.bincount(generator.integers(0, accounts, accounts), minlength=accounts) for _ in range(times)], float)


def interval(values: Vector) -> tuple[float, float]:
    """The 95 % percentile interval of bootstrapped values (Efron 1979)."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
