"""The untreated outcomes of the examined accounts: their own future, and the share of many others.

The share of N futures is the probability plus sampling noise of variance p (1 - p) / N.  As a
target it is as good as the true probability: expected log-loss and Brier score are linear in it,
the expected AUC is a ratio of two sums that are linear in each account's, and noise leaves the mean
of linear functions unchanged.  As a *score* it is slightly worse than the true probability: see
:mod:`training.examine.auc_ceiling`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.build import Features, build
from features.types import Matrix, Vector
from training.data.labels import Labelled
from training.examine.truth.futures import default_probability, untreated
from training.examine.truth.population import ExamineConfig, Population


@dataclass(frozen=True, slots=True)
class TrueOutcomes:
    """Outcomes and true probabilities of the accounts to decide on, in order of ``features``.

    ``realised`` is the outcome in future 0, 0 or 1, float64 (accounts,).  ``quarters`` are the
    shares of defaults in each quarter of the other futures, float64 (4, accounts): independent
    measurements, of ``sizes`` futures.
    """

    features: Features
    realised: Vector
    quarters: Matrix
    sizes: tuple[int, ...]

    @property
    def probability(self) -> Vector:
        """The share of defaults in all futures but 0."""
        return self.share_of(0, 1, 2, 3)

    def share_of(self, *quarters: int) -> Vector:
        """Return the share of defaults in the futures of these quarters, 0 to 3."""
        weights = [self.sizes[quarter] for quarter in quarters]
        # Weighted, because quarters differ by one future where the futures are no multiple of 4.
        chosen = self.quarters[list(quarters)]
        share: Vector = np.average(chosen, axis=0, weights=weights)
        return share

    def labelled(self) -> Labelled:
        """Return the accounts with their realised outcome, as a hold-out."""
        split = np.full(len(self.realised), "test")
        return Labelled(self.features, self.realised, split)


def simulate_untreated(population: Population, config: ExamineConfig) -> TrueOutcomes:
    """Simulate the futures of a population in which the incumbent lender cuts no limit."""
    features = build(population.statements)
    places = population.places(features.accounts["account_id"])
    state = population.state.take(places)
    simulation = untreated(population.config)
    quarters = np.array_split(np.arange(1, config.futures + 1), 4)
    shares = [
        default_probability(state, simulation, len(quarter), first=int(quarter[0]))
        for quarter in quarters
    ]
    return TrueOutcomes(
        features=features,
        realised=population.realised()[places],
        quarters=np.array(shares),
        sizes=tuple(len(quarter) for quarter in quarters),
    )
