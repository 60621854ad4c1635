"""The methods of explaining: which reason groups each states, and how it weighs all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from features.types import Matrix
from features.window import lay_out
from serving.decision.reasons.ranking import Evidence, principal_groups, sums_of
from serving.decision.scoring.score import logit
from serving.decision.scoring.shapley import explain_many, path_dependent
from training.examine.reasons.effects import DRIVEN, compute_effects
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
    - ``path_dependent``: chosen in the same way from LightGBM's own contributions
    - ``effects``: by what each behaviour did to the log-odds with all that followed from it
    - ``gain``: the groups with the largest gain in the model, the same for every account
    """
    bundle = cohort.bundle
    # The products' explainers differ in their references only: they have the same trees.
    explainer = next(iter(bundle.scorer.explainers.values()))
    slope = bundle.scorer.calibration.slope
    own_contributions = explain_many(cohort.matrix, path_dependent(explainer.layout)) * slope
    return {
        "served": _rank(cohort, cohort.contributions),
        "path_dependent": _rank(cohort, own_contributions),
        "effects": _rank_by_effect(cohort),
        "gain": _rank_by_gain(cohort),
    }


def _rank(cohort: CutAccounts, contributions: Matrix) -> Ranking:
    bundle = cohort.bundle
    names = bundle.features
    stated = []
    weights = []
    for account, own in enumerate(contributions.tolist()):
        decision = cohort.advised[account].decision
        evidence = Evidence(
            contributions=dict(zip(names, own, strict=True)),
            values=dict(zip(names, cohort.matrix[account].tolist(), strict=True)),
            comparison=bundle.comparisons[cohort.products[account]],
            excess=decision.log_odds - logit(decision.cut_off),
        )
        reasons = principal_groups(evidence, bundle.wording)
        stated.append(tuple(group.code for group in reasons))
        weights.append(_weights_row(sums_of(evidence.contributions)))
    return Ranking(stated, np.array(weights))


def _rank_by_effect(cohort: CutAccounts) -> Ranking:
    """The largest positive effects; an unknown effect is none."""
    bundle = cohort.bundle
    window = lay_out(cohort.statements)
    weights = np.nan_to_num(compute_effects(window, cohort.products.tolist(), bundle))
    order = np.argsort(-weights, axis=1, kind="stable")
    stated = []
    for account, places in enumerate(order.tolist()):
        largest = places[: bundle.wording.most]
        own = [GROUPS[place] for place in largest if weights[account, place] > 0]
        stated.append(tuple(own))
    return Ranking(stated, weights)


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
