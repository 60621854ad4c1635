"""Contributions, effects and the rules that decided to at most four principal reasons, worded in
English and Chinese.

A reason group weighs what it did to the log-odds: the contributions of its own features, or the
effect of its behaviour with all that followed from it (:mod:`serving.decision.reasons.effects`),
whichever is more.  An effect counts where the account looks worse than the reference population in
something of the group: nobody is told of a behaviour in which they do as well as those who keep
their limit.  Groups that push toward the cut are ranked, and those above a minimum share are stated
(12 CFR 1002.9(b)(2): the specific principal reasons).  By contributions alone a customer is told
the symptoms; docs/service/explanations.md has the figures.  A rule that decided is itself a reason and
comes first.  Nothing is ever left out for being hard to say: a group that cannot be worded, or a
protected feature, makes the whole decision a person's (see :func:`unexplainable`).

The same evidence and wording give the same reasons: ties go by the order of the groups in
reasons.toml.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from features.catalogue import BY_NAME, Unit
from serving.decision.config.policy import Cause, RuleHit
from serving.decision.config.reasons import Text, Wording
from serving.decision.reasons.effects import features_of
from serving.decision.reasons.wording import number, say, say_rule


@dataclass(frozen=True, slots=True)
class ReasonFeature:
    """A feature behind a reason: value and the reference population's median (null = unknown),
    contribution in log-odds.
    """

    name: str
    value: float | None
    reference_value: float | None
    unit: Unit
    contribution: float


@dataclass(frozen=True, slots=True)
class Reason:
    """A principal reason.

    In log-odds, ``contribution`` is what the group's features did by themselves, and ``effect``
    what its behaviour did with all that followed; null where behaviour does not drive the group, it
    is not known, or the account looks no worse than the reference.  The larger is its weight,
    ``share`` that weight as a share of all groups' that push.  All three are null for a rule, which
    decides by itself.
    """

    rank: int
    code: str
    cause: Cause
    share: float | None
    contribution: float | None
    effect: float | None
    text: Text
    features: tuple[ReasonFeature, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What reasons are made from, for one account.

    ``contributions`` by model feature, in log-odds; ``values`` of every feature of the catalogue
    (NaN = unknown); ``reference`` medians of the account's reference population (NaN = unknown);
    ``effects`` by reason group, in log-odds, of those that count (see :func:`visible_effects`), and
    none where the model did not cut.
    """

    contributions: Mapping[str, float]
    values: Mapping[str, float]
    reference: Mapping[str, float]
    effects: Mapping[str, float] = field(default_factory=dict)


def principal_reasons(
    evidence: Evidence, hits: tuple[RuleHit, ...], by_model: bool, wording: Wording
) -> tuple[Reason, ...]:
    """The reasons of a decision: the rules that decided, then, where the model did, the principal
    groups; at most four.
    """
    rules = [_rule_reason(hit, evidence, wording) for hit in hits]
    groups = principal_groups(evidence.contributions, evidence.effects, wording) if by_model else []
    reasons = (rules + [_group_reason(group, share, evidence, wording) for group, share in groups])[
        : wording.most
    ]
    return tuple(
        Reason(rank, r.code, r.cause, r.share, r.contribution, r.effect, r.text, r.features)
        for rank, r in enumerate(reasons, start=1)
    )


def visible_effects(
    effects: Mapping[str, float],
    features: Iterable[str],
    values: Mapping[str, float],
    reference: Mapping[str, float],
) -> dict[str, float]:
    """The effects of the groups in one of whose features the account visibly looks worse than the
    reference.

    ``effects`` by reason group; ``features`` the model's; ``values`` and ``reference`` medians by
    feature.
    """
    worse = {group_of(name) for name in features if _is_worse(name, values, reference)}
    return {group: effect for group, effect in effects.items() if group in worse}


def unexplainable(evidence: Evidence, wording: Wording) -> tuple[str, ...]:
    """Why the model's principal reasons may not be stated by a machine: ``protected_feature``,
    ``unmapped_reason`` or none.
    """
    groups = [
        group for group, _ in principal_groups(evidence.contributions, evidence.effects, wording)
    ]
    pushing = {
        name
        for name, contribution in evidence.contributions.items()
        if contribution > 0 and group_of(name) in groups
    }
    pushing |= {name for group in groups for name in _behind(group, evidence)}
    grounds = []
    if pushing & wording.protected:
        grounds.append("protected_feature")
    if any(group not in wording.groups for group in groups) or not groups:
        grounds.append("unmapped_reason")
    return tuple(grounds)


def principal_groups(
    contributions: Mapping[str, float], effects: Mapping[str, float], wording: Wording
) -> list[tuple[str, float]]:
    """The groups that push most toward the cut with their share of the push, ranked: at most four,
    none below the minimum.

    ``contributions`` by model feature and ``effects`` by reason group, in log-odds.
    """
    weights = weights_of(contributions, effects)
    push = sum(weight for weight in weights.values() if weight > 0)
    order = {group: place for place, group in enumerate(wording.groups)}
    ranked = sorted(
        (group for group, weight in weights.items() if weight > 0),
        key=lambda group: (-weights[group], order.get(group, len(order)), group),
    )
    shares = [(group, weights[group] / push) for group in ranked]
    return [(group, share) for group, share in shares if share >= wording.minimum_share][
        : wording.most
    ]


def weights_of(
    contributions: Mapping[str, float], effects: Mapping[str, float]
) -> dict[str, float]:
    """What each reason group of the model did to the log-odds, by itself or with all that followed,
    whichever is more.
    """
    return {
        group: max(total, effects.get(group, total))
        for group, total in sums_of(contributions).items()
    }


def sums_of(contributions: Mapping[str, float]) -> dict[str, float]:
    """Contributions by model feature, summed over reason groups."""
    sums: dict[str, float] = {}
    for name, contribution in contributions.items():
        group = group_of(name)
        sums[group] = sums.get(group, 0.0) + contribution
    return sums


def group_of(name: str) -> str:
    """A model feature's reason group; its own name where the catalogue does not know it, which no
    wording maps.
    """
    return BY_NAME[name].group if name in BY_NAME else name


def _behind(group: str, evidence: Evidence) -> list[str]:
    """The group's features that the reason speaks of, the first of which gives the sentence.

    Those that push toward the cut, most first, ties by name; but first of all those that are worse
    than the reference's median, for a sentence must not compare a customer with others who look
    worse.  (A value may push and yet be better than the median of a skewed reference.)  Where the
    effect is what weighs, it is those that are worse, and first what the effect set.
    """
    own = [
        name
        for _, name in sorted(
            (-c, name) for name, c in evidence.contributions.items() if group_of(name) == group
        )
    ]
    worse = [name for name in own if _is_worse(name, evidence.values, evidence.reference)]
    if worse and evidence.effects.get(group, -math.inf) > sums_of(evidence.contributions)[group]:
        return sorted(worse, key=lambda name: name not in features_of(group))
    pushing = [name for name in own if evidence.contributions[name] > 0]
    return sorted(pushing or own, key=lambda name: name not in worse)


def _is_worse(name: str, values: Mapping[str, float], reference: Mapping[str, float]) -> bool:
    """Worse than the median, and by so much that a customer sees two different numbers."""
    if name not in BY_NAME:
        return False
    feature, value, median = BY_NAME[name], values[name], reference.get(name, math.nan)
    visible = number(value, feature.unit, "en") != number(median, feature.unit, "en")
    return visible and feature.direction * (value - median) > 0


def _group_reason(group: str, share: float, evidence: Evidence, wording: Wording) -> Reason:
    names = _behind(group, evidence)
    contribution = sums_of(evidence.contributions)[group]
    cause: Cause = wording.groups[group].cause if group in wording.groups else "risk"
    worse = _is_worse(names[0], evidence.values, evidence.reference)
    text = say(group, names[0], evidence.values, evidence.reference, worse, wording)
    shown = tuple(_feature(name, evidence) for name in names[: wording.features_shown])
    return Reason(0, group, cause, share, contribution, evidence.effects.get(group), text, shown)


def _rule_reason(hit: RuleHit, evidence: Evidence, wording: Wording) -> Reason:
    features = tuple(
        _feature(name, evidence) for name in dict.fromkeys(c.feature for c in hit.rule.when)
    )
    return Reason(0, hit.rule.code, hit.rule.cause, None, None, None, say_rule(hit), features)


def _feature(name: str, evidence: Evidence) -> ReasonFeature:
    unit: Unit = BY_NAME[name].unit if name in BY_NAME else "count"
    value, reference = _known(evidence.values[name]), _known(evidence.reference.get(name, math.nan))
    return ReasonFeature(name, value, reference, unit, evidence.contributions.get(name, 0.0))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
