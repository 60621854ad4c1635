"""The methods of explaining: which reason groups each states, and how it weighs all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from features.types import Matrix
from serving.decision.bundle import Bundle
from serving.decision.reasons.effects import DRIVEN, effects_by_group
from serving.decision.reasons.ranking import principal_groups, sums_of, weights_of
from serving.decision.scoring.shapley import explain_many, path_dependent
from training.examine.truth.cut_accounts import CutAccounts

GROUPS = DRIVEN


@dataclass(frozen=True, slots=True)
class Ranking:
    """How one method explains: the reasons stated, and the weights of all groups.

    ``stated`` has the groups stated for each account, the most important first; ``weights`` is
    float64 (accounts, GROUPS).
    """

    stated: Sequence[tuple[str, ...]]
    weights: Matrix


def rank_groups(cohort: CutAccounts) -> dict[str, Ranking]:
    """Rank the groups by each method of explaining.

    - ``served``: the model's reasons, as stated where no hard rule takes a place among them
    - ``contributions``: chosen in the same way from the exact contributions, without the effects
    - ``path_dependent``: the same from LightGBM's own contributions
    - ``gain``: the groups with the largest gain in the model, the same for every account
    """
    bundle = cohort.bundle
    # The products' explainers differ in their references only: they have the same trees.
    explainer = next(iter(bundle.scorer.explainers.values()))
    slope = bundle.scorer.calibration.slope
    own_contributions = explain_many(cohort.matrix, path_dependent(explainer.layout)) * slope
    # NaN = unknown: reasons are then chosen by the contributions alone.
    no_effects = np.full_like(cohort.effects, np.nan)
    return {
        "served": _rank(cohort.contributions, cohort.effects, bundle),
        "contributions": _rank(cohort.contributions, no_effects, bundle),
        "path_dependent": _rank(own_contributions, no_effects, bundle),
        "gain": _rank_by_gain(cohort),
    }


def _rank(
    contributions: Matrix,
    effects: Matrix,
    bundle: Bundle,
) -> Ranking:
    stated = []
    weights = []
    for own, own_effects in zip(contributions.tolist(), effects.tolist(), strict=True):
        by_feature = dict(zip(bundle.features, own, strict=True))
        group_effects = effects_by_group(own_effects)
        reasons = principal_groups(by_feature, group_effects, bundle.wording)
        stated.append(tuple(group for group, _ in reasons))
        weights.append(_weights_row(weights_of(by_feature, group_effects)))
    return Ranking(stated, np.array(weights))


def _rank_by_gain(cohort: CutAccounts) -> Ranking:
    bundle = cohort.bundle
    gains = bundle.scorer.model.feature_importance("gain").tolist()
    gain_by_feature = dict(zip(bundle.features, gains, strict=True))
    gain_by_group = sums_of(gain_by_feature)
    largest = sorted(gain_by_group, key=lambda group: -gain_by_group[group])
    stated = tuple(largest[: bundle.wording.most])
    row = _weights_row(gain_by_group)
    weights = np.tile(row, (len(cohort), 1))
    return Ranking([stated] * len(cohort), weights)


def _weights_row(weights: Mapping[str, float]) -> list[float]:
    return [weights.get(group, 0.0) for group in GROUPS]
