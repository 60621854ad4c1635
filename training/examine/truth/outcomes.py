"""What would become of the examined accounts if nothing were done: their one own future, and the
share of many others.

The share of N futures is the probability with sampling noise of variance p (1 - p) / N.  As what a
model is measured against it serves as well as the truth: expected log-loss and Brier score are
linear in it, the expected AUC is a ratio of two sums that are linear in each account's, and what is
linear has the same mean.  As a *score* it is a little worse than the truth: see
:mod:`training.examine.auc_ceiling`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.build import Features, build
from features.types import Vector
from training.data.labels import Labelled
from training.examine.truth.futures import probability, untreated
from training.examine.truth.population import ExamineConfig, Population

RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class TrueOutcomes:
    """The accounts that a decision is asked for, in order of ``features``.

    ``realised`` is 0 or 1, in future 0, float64 (accounts,).  ``quarters`` are the shares of the
    first, second, third and fourth quarter of the other futures in which each account defaults,
    float64 (4, accounts): measurements with no luck in common, of ``sizes`` futures.
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
        shares: Vector = np.average(
            self.quarters[places], axis=0, weights=[self.sizes[place] for place in places]
        )
        return shares

    def labelled(self) -> Labelled:
        """The accounts with their realised outcome, as a hold-out."""
        return Labelled(self.features, self.realised, np.full(len(self.realised), "test"))


def simulate_untreated(world: Population, config: ExamineConfig) -> TrueOutcomes:
    """Live the futures of the world's accounts in which the incumbent cuts nobody."""
    features = build(world.statements)
    places = world.places(features.accounts["account_id"])
    state, simulation = world.now.take(places), untreated(world.config)
    parts = np.array_split(np.arange(1, config.futures + 1), 4)
    shares = [probability(state, simulation, len(part), first=int(part[0])) for part in parts]
    return TrueOutcomes(
        features, world.realised()[places], np.array(shares), tuple(len(part) for part in parts)
    )
