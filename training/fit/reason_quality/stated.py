"""The accounts whose limit a model cuts, and the reasons of the model that are stated to them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.types import Mask, Matrix, Vector
from serving.decision.bundle import Bundle
from serving.decision.pipeline import stages
from serving.decision.policy.limit import cut_off_log_odds_of, cut_offs_of
from serving.decision.reasons.naming import group_of
from serving.decision.result import Decision, Stages


@dataclass(frozen=True, slots=True)
class StatedReasons:
    """The model's reasons for one cut, the first one first; those of rules are left out.

    All tuples have one entry a reason; they are empty where the model has no reason to state.
    """

    groups: tuple[str, ...]
    leaders: frozenset[str]  # the first group and its equals
    named: tuple[str, ...]  # the feature that the sentence is about
    contributions: tuple[float, ...]  # of the group, log-odds

    @property
    def first(self) -> str | None:
        """The first group; None without a reason."""
        return self.groups[0] if self.groups else None


@dataclass(frozen=True, slots=True)
class CutReasons:
    """Accounts above the cut-off that a bundle's model cuts, or proposes to cut; one row each.

    - ``statements``: their windows, checked; accounts in order of id
    - ``products``: str (accounts,)
    - ``matrix`` and ``contributions``: float64 (accounts, model features)
    - ``log_odds``: float64 (accounts,), above that of the cut-off
    """

    bundle: Bundle
    decided_at: datetime.datetime
    statements: pl.DataFrame
    products: NDArray[np.str_]
    matrix: Matrix
    contributions: Matrix
    log_odds: Vector
    stated: tuple[StatedReasons, ...]

    def __len__(self) -> int:
        return len(self.stated)

    @property
    def cut_off(self) -> Vector:
        """The log-odds of each account's cut-off, float64 (accounts,)."""
        return cut_off_log_odds_of(self.products.tolist(), self.bundle.policy)


def find_cut_reasons(
    statements: pl.DataFrame,
    bundle: Bundle,
    decided_at: datetime.datetime,
) -> CutReasons:
    """Decide on the accounts, and keep those that the model cuts; they may be none."""
    decided = stages(statements, bundle, decided_at)
    cut = np.flatnonzero(_are_cut(decided, bundle)).tolist()
    ids = decided.features.accounts["account_id"][cut]
    is_cut = pl.col("account_id").is_in(ids.implode())
    return CutReasons(
        bundle=bundle,
        decided_at=decided_at,
        statements=decided.statements.filter(is_cut),
        products=decided.features.accounts["product"][cut].cast(pl.String).to_numpy(),
        matrix=decided.features.matrix(bundle.features)[cut],
        contributions=decided.scores.contributions[cut],
        log_odds=decided.scores.log_odds[cut],
        stated=tuple(stated_in(decided.decisions[place]) for place in cut),
    )


def reasons_by_other(
    cuts: CutReasons,
    bundle: Bundle,
    statements: pl.DataFrame | None = None,
) -> list[StatedReasons | None]:
    """Return the same accounts' reasons from another bundle, or by other statements of theirs.

    None for an account that is not cut by the model then.
    """
    own = cuts.statements if statements is None else statements
    decided = stages(own, bundle, cuts.decided_at)
    are_cut = _are_cut(decided, bundle).tolist()
    return [
        stated_in(decision) if is_cut else None
        for decision, is_cut in zip(decided.decisions, are_cut, strict=True)
    ]


def stated_in(decision: Decision) -> StatedReasons:
    """Return the model's reasons of a decision."""
    # The reason of a hard rule has no share.
    reasons = [reason for reason in decision.reasons if reason.share is not None]
    return StatedReasons(
        groups=tuple(reason.code for reason in reasons),
        leaders=frozenset(reason.code for reason in reasons if reason.leader),
        named=tuple(reason.features[0].name for reason in reasons),
        contributions=tuple(reason.contribution or 0.0 for reason in reasons),
    )


def groups_of_features(bundle: Bundle) -> NDArray[np.str_]:
    """Return the reason group of each of the model's features, str (model features,)."""
    return np.array([group_of(name) for name in bundle.features])


def _are_cut(decided: Stages, bundle: Bundle) -> Mask:
    """Whether the model cuts each account, bool (accounts,).

    Not those below the cut-off for which a cut is only proposed because they are near to it: the
    question of what made the model cut has no answer there.
    """
    by_model = np.array([outcome.by_model for outcome in decided.outcomes], dtype=np.bool_)
    products = decided.features.accounts["product"].cast(pl.String).to_list()
    is_above: Mask = decided.scores.probability > cut_offs_of(products, bundle.policy)
    return by_model & is_above
