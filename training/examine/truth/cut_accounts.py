"""The accounts of a world whose limit the served model cuts, with what they are told: reasons and
the way back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue import CATALOGUE
from features.months import months_between
from serving.decision.advice.projection import LimitCut
from serving.decision.advice.result import PlanPath
from serving.decision.advice.rollout import Plans
from serving.decision.bundle import Bundle
from serving.decision.config.advice import LEVERS
from serving.decision.pipeline import advise_many, stages
from serving.decision.reasons.effects import DRIVEN
from serving.decision.result import Advised
from training.data.config import DataError
from training.data.simulate.state import Numbers
from training.examine.truth.population import Population

THIN_HISTORY = 12  # months of statements below which a history is thin


@dataclass(frozen=True, slots=True)
class CutAccounts:
    """The cut accounts, in order of account; arrays have one entry each.

    ``places`` int64, where they stand in the world.  ``statements`` are their windows;
    ``contributions`` float64 (accounts, model features); ``effects`` (accounts, DRIVEN), NaN = not
    known; ``values`` (accounts, all features of the catalogue).
    """

    world: Population
    bundle: Bundle
    places: Numbers
    statements: pl.DataFrame
    advised: tuple[Advised, ...]
    contributions: NDArray[np.float64]
    effects: NDArray[np.float64]
    values: NDArray[np.float64]
    matrix: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def names(self) -> tuple[str, ...]:
        """The features of ``values``, in order."""
        return tuple(feature.name for feature in CATALOGUE)

    @property
    def model_places(self) -> list[int]:
        """Where the model's features stand among them."""
        return [self.names.index(name) for name in self.bundle.features]

    @property
    def products(self) -> NDArray[np.str_]:
        """Each account's product."""
        return np.array([advised.decision.product for advised in self.advised])

    @property
    def cuts(self) -> list[LimitCut]:
        """What was decided, as advice takes it."""
        decisions = [advised.decision for advised in self.advised]
        return [
            LimitCut(d.product, d.as_of, d.credit_limit, d.new_limit, d.action == "suspend")
            for d in decisions
        ]

    @property
    def promised(self) -> NDArray[np.int64]:
        """Months until the limit is promised back, 1 = with the next statement; 0 where no plan
        brings it back.
        """
        return np.array(
            [
                0 if plan.restored is None else months_between(self.world.as_of, plan.restored)
                for plan in self.plans
            ]
        )

    @property
    def plans(self) -> list[PlanPath]:
        """The plans told."""
        return [found.advice.plan for found in self.advised if found.advice is not None]

    def segments(self) -> dict[str, NDArray[np.bool_]]:
        """Name -> which accounts: all, and by product, length of history and action."""
        observed = (
            self.statements.group_by("account_id", maintain_order=True).len()["len"].to_numpy()
        )
        actions = np.array([advised.decision.action for advised in self.advised])
        found = {"all": np.ones(len(self), dtype=np.bool_)}
        found |= {
            f"product {name}": self.products == name for name in sorted(set(self.products.tolist()))
        }
        found |= {
            "history thin": observed < THIN_HISTORY,
            "history thick": observed >= THIN_HISTORY,
        }
        return found | {f"action {name}": actions == name for name in sorted(set(actions.tolist()))}


def find_cut_accounts(world: Population, bundle: Bundle, threads: int = 2) -> CutAccounts:
    """Decide on everybody, and advise those whose limit the model reduces or suspends.

    DataError where it cuts nobody's.
    """
    made = stages(world.statements, bundle, world.decided_at)
    cut = [
        place
        for place, (decision, outcome) in enumerate(zip(made.decisions, made.outcomes, strict=True))
        if outcome.by_model and decision.action in ("reduce", "suspend")
    ]
    if not cut:
        raise DataError(
            f"expected accounts whose limit the model cuts, got none of {len(made.decisions)}"
        )
    ids = made.features.accounts["account_id"][cut]
    statements = made.statements.filter(pl.col("account_id").is_in(ids.implode()))
    return CutAccounts(
        world,
        bundle,
        world.places(ids),
        statements,
        tuple(advise_many(statements, bundle, world.decided_at, threads=threads)),
        made.scores.contributions[cut],
        np.array(
            [[made.evidence[place].effects.get(group, np.nan) for group in DRIVEN] for place in cut]
        ),
        made.features.values[cut],
        made.features.matrix(bundle.features)[cut],
    )


def plans_of(courses: list[PlanPath]) -> Plans:
    """The plans that courses tell, read back from their steps."""
    values = {name: np.full(len(courses), np.inf if name == "spending" else 0.0) for name in LEVERS}
    shares = np.zeros(len(courses))
    for place, course in enumerate(courses):
        for told in course.steps:
            values[told.lever][place] = 1.0 if told.amount is None else told.amount
            if told.share is not None:
                shares[place] = told.share
    return Plans(**values, paid_share=shares)
