"""Contributions, effects and rules that decided, as at most four principal reasons in words.

The weight of a reason group is what it did to the log-odds: the sum of the contributions of its
features, or the effect of its behaviour with all that followed from it
(:mod:`serving.decision.reasons.effects`), whichever is larger.  An effect counts only if the
account looks worse than the reference population in a feature of the group, so that no customer
reads a behaviour in which they do as well as customers who keep their limit.

Groups that push toward the cut are ranked, and those above a minimum share are stated (12 CFR
1002.9(b)(2): the specific principal reasons).  Contributions alone would state symptoms; the
figures are in docs/service/explanations.md.  A rule that decided is itself a reason and comes
first.  No reason is left out because it is hard to say: a group without a text, or a protected
feature, refers the decision to a person (:func:`unexplainable`).

The same evidence and wording give the same reasons; ties go by the order of the groups in
reasons.toml.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from features.catalogue import BY_NAME, Unit
from serving.decision.config.policy import Cause, RuleHit
from serving.decision.config.reasons import Text, Wording
from serving.decision.reasons.effects import features_of
from serving.decision.reasons.wording import number, say, say_rule


@dataclass(frozen=True, slots=True)
class ReasonFeature:
    """A feature that a reason speaks of."""

    name: str
    value: float | None  # None = unknown
    reference_value: float | None  # median of the reference population; None = unknown
    unit: Unit
    contribution: float  # log-odds


@dataclass(frozen=True, slots=True)
class Reason:
    """A principal reason: a rule that decided, or a reason group of the model.

    ``share``, ``contribution`` and ``effect`` are None for a rule, which decides by itself.
    """

    rank: int  # 1 = the first
    code: str
    cause: Cause
    share: float | None  # of the weights of all groups that push toward the cut
    contribution: float | None  # of the group's features, log-odds
    # Of the group's behaviour, log-odds.  None where behaviour does not drive the group, the effect
    # is unknown, or the account looks no worse than the reference.
    effect: float | None
    text: Text
    features: tuple[ReasonFeature, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the reasons for one account follow from."""

    contributions: Mapping[str, float]  # by feature of the model, log-odds
    values: Mapping[str, float]  # by feature of the catalogue; NaN = unknown
    # Medians of the account's reference population by feature; NaN = unknown.
    reference: Mapping[str, float]
    # By reason group, log-odds; see visible_effects.  Empty where the model did not cut.
    effects: Mapping[str, float] = field(default_factory=dict)


def principal_reasons(
    evidence: Evidence,
    hits: Sequence[RuleHit],
    by_model: bool,
    wording: Wording,
) -> tuple[Reason, ...]:
    """The rules that decided, then the principal groups where the model did; at most four."""
    groups = principal_groups(evidence.contributions, evidence.effects, wording) if by_model else []
    reasons = [_rule_reason(rank, hit, evidence) for rank, hit in enumerate(hits, start=1)]
    for rank, (group, share) in enumerate(groups, start=len(hits) + 1):
        reasons.append(_group_reason(rank, group, share, evidence, wording))
    return tuple(reasons[: wording.most])


def visible_effects(
    effects: Mapping[str, float],
    features: Iterable[str],
    values: Mapping[str, float],
    reference: Mapping[str, float],
) -> dict[str, float]:
    """The effects of the groups in which the account looks worse than the reference.

    ``effects`` are by reason group; ``features`` are the model's; ``values`` and medians of the
    ``reference`` are by feature.
    """
    worse = {group_of(name) for name in features if _is_worse(name, values, reference)}
    return {group: effect for group, effect in effects.items() if group in worse}


def unexplainable(evidence: Evidence, wording: Wording) -> tuple[str, ...]:
    """Why a machine may not state the model's principal reasons; empty if it may.

    The grounds are ``protected_feature`` and ``unmapped_reason``.
    """
    ranked = principal_groups(evidence.contributions, evidence.effects, wording)
    groups = [group for group, _ in ranked]
    pushing = {
        name
        for name, contribution in evidence.contributions.items()
        if contribution > 0 and group_of(name) in groups
    }
    for group in groups:
        pushing.update(_features_behind(group, evidence))
    grounds = []
    if pushing & wording.protected:
        grounds.append("protected_feature")
    if not groups or any(group not in wording.groups for group in groups):
        grounds.append("unmapped_reason")
    return tuple(grounds)


def principal_groups(
    contributions: Mapping[str, float],
    effects: Mapping[str, float],
    wording: Wording,
) -> list[tuple[str, float]]:
    """The groups that push most toward the cut, each with its share of all that pushes.

    At most four, none below the minimum share, the largest first.  ``contributions`` are by feature
    of the model and ``effects`` by reason group, in log-odds.
    """
    weights = weights_of(contributions, effects)
    pushing = [group for group, weight in weights.items() if weight > 0]
    push = sum(weights[group] for group in pushing)
    order = {group: place for place, group in enumerate(wording.groups)}

    def rank(group: str) -> tuple[float, int, str]:
        # Groups without a text come last among equal weights, by name.
        place = order.get(group, len(order))
        return -weights[group], place, group

    principal = []
    for group in sorted(pushing, key=rank):
        share = weights[group] / push
        if share >= wording.minimum_share:
            principal.append((group, share))
    return principal[: wording.most]


def weights_of(
    contributions: Mapping[str, float], effects: Mapping[str, float]
) -> dict[str, float]:
    """The weight of each reason group of the model, in log-odds.

    It is the larger of its contribution and its effect.
    """
    return {
        group: max(total, effects.get(group, total))
        for group, total in sums_of(contributions).items()
    }


def sums_of(contributions: Mapping[str, float]) -> dict[str, float]:
    """Contributions by feature of the model, summed over reason groups."""
    sums: dict[str, float] = {}
    for name, contribution in contributions.items():
        group = group_of(name)
        sums[group] = sums.get(group, 0.0) + contribution
    return sums


def group_of(name: str) -> str:
    """The reason group of a feature.

    A feature that the catalogue does not have is its own group, which no wording has.
    """
    return BY_NAME[name].group if name in BY_NAME else name


def _features_behind(group: str, evidence: Evidence) -> list[str]:
    """The group's features that the reason speaks of; the first one gives the sentence.

    These are the features that push toward the cut, the largest contribution first and ties by
    name.  Features that are worse than the reference's median come before the others, because a
    sentence must not compare a customer with customers who look worse.  (In a skewed reference a
    value may push and yet be better than the median.)

    If the effect is larger than the contribution, these are the features that are worse, those
    whose level the effect set first.
    """
    values, reference = evidence.values, evidence.reference
    contributions = evidence.contributions
    own = [name for name in contributions if group_of(name) == group]
    own.sort(key=lambda name: (-contributions[name], name))
    worse = [name for name in own if _is_worse(name, values, reference)]
    effect = evidence.effects.get(group, -math.inf)
    if worse and effect > sums_of(contributions)[group]:
        # False sorts before True.
        return sorted(worse, key=lambda name: name not in features_of(group))
    pushing = [name for name in own if contributions[name] > 0]
    return sorted(pushing or own, key=lambda name: name not in worse)


def _is_worse(
    name: str,
    values: Mapping[str, float],
    reference: Mapping[str, float],
) -> bool:
    """Whether a value is worse than the median and the two are different numbers to a customer."""
    if name not in BY_NAME:
        return False
    feature, value = BY_NAME[name], values[name]
    median = reference.get(name, math.nan)
    shown = number(value, feature.unit, "en")
    shown_median = number(median, feature.unit, "en")
    return shown != shown_median and feature.direction * (value - median) > 0


def _group_reason(
    rank: int,
    group: str,
    share: float,
    evidence: Evidence,
    wording: Wording,
) -> Reason:
    names = _features_behind(group, evidence)
    is_worse = _is_worse(
        names[0],
        evidence.values,
        evidence.reference,
    )
    shown = names[: wording.features_shown]
    return Reason(
        rank=rank,
        code=group,
        cause=wording.groups[group].cause if group in wording.groups else "risk",
        share=share,
        contribution=sums_of(evidence.contributions)[group],
        effect=evidence.effects.get(group),
        text=say(
            group,
            names[0],
            evidence.values,
            evidence.reference,
            is_worse,
            wording,
        ),
        features=tuple(_reason_feature(name, evidence) for name in shown),
    )


def _rule_reason(
    rank: int,
    hit: RuleHit,
    evidence: Evidence,
) -> Reason:
    # Several conditions may be on one feature.
    names = dict.fromkeys(condition.feature for condition in hit.rule.when)
    return Reason(
        rank=rank,
        code=hit.rule.code,
        cause=hit.rule.cause,
        share=None,
        contribution=None,
        effect=None,
        text=say_rule(hit),
        features=tuple(_reason_feature(name, evidence) for name in names),
    )


def _reason_feature(name: str, evidence: Evidence) -> ReasonFeature:
    return ReasonFeature(
        name=name,
        value=_known(evidence.values[name]),
        reference_value=_known(evidence.reference.get(name, math.nan)),
        unit=BY_NAME[name].unit if name in BY_NAME else "count",
        contribution=evidence.contributions.get(name, 0.0),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
