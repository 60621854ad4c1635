"""The cohort: accounts whose limit the served model cuts, with their reasons and advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue import CATALOGUE
from features.months import months_between
from features.types import Mask, Matrix, Rows, Vector
from serving.decision.advice.result import PlanPath
from serving.decision.advice.rollout import Plans
from serving.decision.advice.staircase import LimitCut
from serving.decision.bundle import Bundle
from serving.decision.config.advice import LEVERS
from serving.decision.pipeline import advise_many, stages
from serving.decision.result import AdviceOptions, Advised, Stages
from training.data.config import DataError
from training.data.simulate.state import Numbers
from training.examine.truth.population import Population

THIN_HISTORY = 12  # months of statements below which a history is thin
NO_SPENDING_CAP = np.inf


@dataclass(frozen=True, slots=True)
class CutAccounts:
    """The cut accounts, in order of account; arrays have one row each.

    - ``places``: int64, their positions in the population
    - ``statements``: their windows; ``advised``: their decisions and advice
    - ``contributions``: float64 (accounts, model features)
    - ``values``: float64 (accounts, all features of the catalogue)
    - ``matrix``: float64 (accounts, model features), the model's input
    """

    population: Population
    bundle: Bundle
    places: Numbers
    statements: pl.DataFrame
    advised: tuple[Advised, ...]
    contributions: Matrix
    values: Matrix
    matrix: Matrix

    def __len__(self) -> int:
        return len(self.places)

    @property
    def names(self) -> tuple[str, ...]:
        """The features of ``values``, in order."""
        return tuple(feature.name for feature in CATALOGUE)

    @property
    def model_places(self) -> list[int]:
        """The positions of the model's features in ``names``."""
        return [self.names.index(name) for name in self.bundle.features]

    @property
    def products(self) -> NDArray[np.str_]:
        """Each account's product."""
        return np.array([advised.decision.product for advised in self.advised])

    @property
    def cuts(self) -> list[LimitCut]:
        """The decisions, as advice takes them."""
        cuts = []
        for advised in self.advised:
            decision = advised.decision
            cut = LimitCut(
                decision.product,
                decision.as_of,
                decision.credit_limit,
                decision.new_limit,
                decision.action == "suspend",
            )
            cuts.append(cut)
        return cuts

    @property
    def promised(self) -> Rows:
        """Months until the plan restores the limit, int64.

        1 = with the next statement; 0 = the plan does not restore it.
        """
        as_of = self.population.as_of
        months = np.zeros(len(self.plans), dtype=np.int64)
        for place, plan in enumerate(self.plans):
            if plan.restored is not None:
                months[place] = months_between(as_of, plan.restored)
        return months

    @property
    def promised_limit(self) -> Vector:
        """The limit that the plan brings back in the promised month, CNY; NaN without a promise.

        It is that from before the cut, as far as no rule allows less.
        """
        limits = np.full(len(self.plans), np.nan)
        for place, plan in enumerate(self.plans):
            for month in plan.path:
                if month.month == plan.restored:
                    limits[place] = month.limit
        return limits

    @property
    def plans(self) -> list[PlanPath]:
        """The plan advised to each account."""
        return [advised.advice.plan for advised in self.advised if advised.advice is not None]

    def segments(self) -> dict[str, Mask]:
        """Return the members of each segment: all, by product, length of history, and action."""
        counts = self.statements.group_by("account_id", maintain_order=True).len()
        observed = counts["len"].to_numpy()
        products = self.products
        actions = np.array([advised.decision.action for advised in self.advised])
        segments = {"all": np.ones(len(self), dtype=np.bool_)}
        for name in np.unique(products).tolist():
            segments[f"product {name}"] = products == name
        segments["history thin"] = observed < THIN_HISTORY
        segments["history thick"] = observed >= THIN_HISTORY
        for name in np.unique(actions).tolist():
            segments[f"action {name}"] = actions == name
        return segments


def find_cut_accounts(population: Population, bundle: Bundle, threads: int = 2) -> CutAccounts:
    """Decide on a population, and advise the accounts that the model reduces or suspends.

    Raises DataError where the model cuts no account.
    """
    decided = stages(population.statements, bundle, population.decided_at)
    # Cuts by hard rules have no reason of the model and no advice that could be examined.
    cut = []
    for place, outcome in enumerate(decided.outcomes):
        action = decided.decisions[place].action
        if outcome.by_model and action in ("reduce", "suspend"):
            cut.append(place)
    if not cut:
        raise DataError(
            f"expected accounts whose limit the model cuts, got none of {len(decided.decisions)}"
        )
    return advise_accounts(population, bundle, decided, cut, threads)


def advise_accounts(
    population: Population,
    bundle: Bundle,
    decided: Stages,
    cut: Sequence[int],
    threads: int = 2,
) -> CutAccounts:
    """Advise the accounts at these positions in the decisions on the population."""
    ids = decided.features.accounts["account_id"][list(cut)]
    is_cut = pl.col("account_id").is_in(ids.implode())
    statements = decided.statements.filter(is_cut)
    advised = advise_many(
        statements,
        bundle,
        population.decided_at,
        AdviceOptions(threads=threads),
    )
    return CutAccounts(
        population=population,
        bundle=bundle,
        places=population.places(ids),
        statements=statements,
        advised=tuple(advised),
        contributions=decided.scores.contributions[list(cut)],
        values=decided.features.values[list(cut)],
        matrix=decided.features.matrix(bundle.features)[list(cut)],
    )


def plans_from_paths(paths: Sequence[PlanPath]) -> Plans:
    """Return the plans of paths, read back from the steps that customers are advised."""
    values = {name: np.zeros(len(paths)) for name in LEVERS}
    values["spending"] = np.full(len(paths), NO_SPENDING_CAP)
    paid_share, paid_now = np.zeros(len(paths)), np.zeros(len(paths))
    for place, path in enumerate(paths):
        for step in path.steps:
            if step.lever == "on_time":
                values[step.lever][place] = 1.0
                paid_share[place], paid_now[place] = step.share or 0.0, step.amount or 0.0
            else:
                # A step without an amount, such as going without cash, is a switch.
                values[step.lever][place] = 1.0 if step.amount is None else step.amount
    return Plans(**values, paid_share=paid_share, paid_now=paid_now)
