"""Contributions and rules that decided, as at most four principal reasons in words.

A reason is what moved this decision: Regulation B asks for the factors "actually considered or
scored" (12 CFR 1002.9, comment 9(b)(2)-2).  So reason groups are ranked by what they added to the
log-odds: the sum C of the exact contributions of their features.  What would have happened
otherwise chooses and orders nothing.

A group is *eligible* if it is large enough, C >= ``minimum_contribution`` and at least
``minimum_share`` of all that pushes toward the cut, and if it has a feature to *name*: one that
brought at least ``named_share`` of C, and in which at least ``named_better`` of the comparison
accounts are visibly better.  So no customer reads of a value that did not count, or that is as good
as that of customers who keep their limit.  Of features that pushed within ``named_within`` of the
first such one, that in which most accounts are better is named.

The eligible groups with the largest C are stated.  Those within ``equal_within`` of the first are
its equals, the *leaders*.  Reasons have to *suffice*: while the log-odds without them would still
be above the cut-off, the next smaller group is stated too, if it has ``minimum_contribution`` and a
feature to name.  Beside one overwhelming reason nothing else is a tenth of all that pushes.

A fact of ``never_silent`` is stated wherever it and its group pushed toward the cut, however
little: a customer who was 60 days past due within the year would not believe an answer without it.
Its group names it rather than other features, where it may name it; where not, the fact has a
sentence of its own in the group's reason.

A rule that decided is itself a reason and comes first.  No reason is left out because it is hard to
say: a large group without a text, or with a protected feature, refers the decision to a person, and
so does a decision without an eligible group (:func:`unexplainable`).

The same evidence and wording give the same reasons; ties go by the order of the groups in
reasons.toml, and of features by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from features.catalogue import BY_NAME, Unit
from serving.decision.config.policy import Cause, RuleHit
from serving.decision.config.quick_init import quick_init
from serving.decision.config.reasons import NeverSilent, Text, Wording
from serving.decision.reasons.comparison import Comparison
from serving.decision.reasons.income_fall import tell_income_fall
from serving.decision.reasons.naming import (
    add_up,
    by_contribution,
    facts_in,
    feature_to_name,
    group_of,
    groups_of,
    says_more,
    worst_by_group,
)
from serving.decision.reasons.sentence import join, say, say_rule

_UNITS: Mapping[str, Unit] = {name: feature.unit for name, feature in BY_NAME.items()}


@quick_init
@dataclass(frozen=True, slots=True)
class ReasonFeature:
    """A feature that a reason speaks of."""

    name: str
    value: float | None  # None = unknown
    reference_value: float | None  # median of the comparison accounts; None = unknown
    unit: Unit
    contribution: float  # log-odds


@quick_init
@dataclass(frozen=True, slots=True)
class Reason:
    """A principal reason: a rule that decided, or a reason group of the model.

    ``share`` and ``contribution`` are None for a rule, which decides by itself.
    """

    rank: int  # 1 = the first
    code: str
    cause: Cause
    share: float | None  # of the contributions of all groups that push toward the cut
    contribution: float | None  # of the group's features, log-odds
    # Whether it is one of the main reasons: a rule, or a group that pushed about as much as the
    # first one of the model.
    leader: bool
    text: Text
    features: tuple[ReasonFeature, ...]  # the one that the text names is the first


@quick_init
@dataclass(frozen=True, slots=True)
class Evidence:
    """What the reasons for one account follow from."""

    contributions: Mapping[str, float]  # by feature of the model, log-odds
    values: Mapping[str, float]  # by feature of the catalogue; NaN = unknown
    comparison: Comparison  # of the account's product
    # Log-odds above those of the cut-off; what the reasons have to explain.
    excess: float = 0.0
    # Further values that only sentences need, by name: features/catalogue/amounts.py.  NaN =
    # unknown.  Empty where the model did not cut.
    amounts: Mapping[str, float] = field(default_factory=dict)


@quick_init
@dataclass(frozen=True, slots=True)
class PrincipalGroup:
    """An eligible reason group."""

    code: str
    contribution: float  # C, log-odds
    share: float  # of all that pushes toward the cut
    named: str  # the feature that its sentence is about
    fact: str | None  # a feature that is never silent and has a sentence of its own
    leader: bool


@quick_init
@dataclass(frozen=True, slots=True)
class Ranked:
    """The reason groups of one account, before any is stated."""

    groups: Mapping[str, Sequence[str]]  # each group's features of the model, by name
    facts: Sequence[NeverSilent]  # of the account, and those told only beside others
    sums: Mapping[str, float]  # C of every group, log-odds
    push: float  # of all groups that push toward the cut, log-odds
    large: Sequence[str]  # groups that push enough for a reason, the largest first
    # Those of them with a feature to name, and smaller ones without which the reasons would not
    # suffice; each with that feature, the largest first.
    eligible: Mapping[str, str]


def rank(evidence: Evidence, wording: Wording) -> Ranked:
    """What the functions below follow from; they do it themselves where it is not given."""
    # Found once: it takes longer to ask which groups the features have than to add up a group.
    groups = groups_of(tuple(evidence.contributions))
    facts = facts_in(evidence, wording)
    sums = add_up(groups, evidence.contributions)
    push = sum(total for total in sums.values() if total > 0)
    large = _large_groups(sums, push, wording)
    eligible = {}
    for group in large:
        named = feature_to_name(group, groups[group], sums[group], evidence, wording, facts)
        if named is not None:
            eligible[group] = named
    ranked = Ranked(groups, facts, sums, push, large, eligible)
    further = _groups_to_suffice(ranked, evidence, wording)
    return replace(ranked, eligible=eligible | further) if further else ranked


def principal_reasons(
    evidence: Evidence,
    hits: Sequence[RuleHit],
    by_model: bool,
    wording: Wording,
    ranked: Ranked | None = None,
) -> tuple[Reason, ...]:
    """The rules that decided, then the principal groups where the model did.

    They are at most four, and the facts that are never silent in addition.  A delay that a rule
    tells of is not told again by its group.
    """
    reasons = [_rule_reason(place, hit, evidence) for place, hit in enumerate(hits, start=1)]
    if not by_model:
        return tuple(reasons)
    most = max(wording.most - len(hits), 0)
    ranked = ranked or rank(evidence, wording)
    groups = principal_groups(evidence, wording, most, ranked)
    groups = _without_repeats(groups, hits, evidence)
    for place, group in enumerate(groups, start=len(hits) + 1):
        reasons.append(_group_reason(place, group, ranked, evidence, wording))
    return tell_income_fall(reasons, evidence, wording)


def _without_repeats(
    groups: Sequence[PrincipalGroup],
    hits: Sequence[RuleHit],
    evidence: Evidence,
) -> list[PrincipalGroup]:
    """The groups without their sentences on a delay that the sentence of a rule is about."""
    told = {hit.value for hit in hits if _unit_of(hit.rule.when[0].feature) == "days"}
    if not told:
        return list(groups)

    def repeats(name: str | None) -> bool:
        if name is None or _unit_of(name) != "days":
            return False
        return evidence.values[name] in told

    remaining = []
    for group in groups:
        fact = None if repeats(group.fact) else group.fact
        named = fact if repeats(group.named) else group.named
        if named is not None:
            own_fact = None if named == fact else fact
            remaining.append(replace(group, named=named, fact=own_fact))
    return remaining


def unexplainable(
    evidence: Evidence,
    wording: Wording,
    ranked: Ranked | None = None,
) -> tuple[str, ...]:
    """Why a machine may not state the model's principal reasons; empty if it may.

    - ``protected_feature``: one pushed in a group that is large enough for a reason
    - ``unmapped_reason``: such a group, or the feature that it would name, has no text
    - ``no_principal_reason``: no group is eligible
    """
    ranked = ranked or rank(evidence, wording)
    large, eligible = ranked.large, ranked.eligible
    # Few models have a protected feature.
    has_protected = not wording.protected.isdisjoint(evidence.contributions)
    pushing_protected = has_protected and any(
        evidence.contributions.get(name, 0.0) > 0
        and (group_of(name) in large or group_of(name) in eligible)
        for name in wording.protected
    )
    grounds = []
    if pushing_protected:
        grounds.append("protected_feature")
    has_no_group = not wording.groups.keys() >= {*large}
    if has_no_group or any(
        named not in wording.groups[group].sentences for group, named in eligible.items()
    ):
        grounds.append("unmapped_reason")
    elif not eligible:
        grounds.append("no_principal_reason")
    return tuple(grounds)


def principal_groups(
    evidence: Evidence,
    wording: Wording,
    most: int | None = None,
    ranked: Ranked | None = None,
) -> list[PrincipalGroup]:
    """The groups that are stated, the largest first.

    They are the eligible groups that push most toward the cut, at most ``most`` (by default the
    wording's), and those of the facts that are never silent.
    """
    most = wording.most if most is None else most
    ranked = ranked or rank(evidence, wording)
    sums, eligible = ranked.sums, ranked.eligible
    alone = [fact for fact in ranked.facts if not fact.beside]
    facts = worst_by_group(alone, sums, evidence, wording)
    told_beside = [fact for fact in ranked.facts if fact.beside]
    besides = worst_by_group(told_beside, sums, evidence, wording)
    stated = list(eligible)[:most]
    # In addition: no fact takes the place of a group that pushed more.
    further = [group for group in facts if group not in stated]
    if further:
        stated = sorted(stated + further, key=_by_size(sums, wording))
    first = sums[stated[0]] if stated else 0.0
    principal: list[PrincipalGroup] = []
    for group in stated:
        is_equal = first - sums[group] <= wording.equal_within and group in ranked.large
        named, fact = eligible.get(group), facts.get(group, besides.get(group))
        tells_fact = named and fact and says_more(fact, named, evidence, wording)
        principal.append(
            PrincipalGroup(
                code=group,
                contribution=sums[group],
                share=sums[group] / ranked.push,
                named=named or facts[group],
                fact=fact if tells_fact else None,
                leader=is_equal or group == stated[0],
            )
        )
    return principal


def _groups_to_suffice(ranked: Ranked, evidence: Evidence, wording: Wording) -> dict[str, str]:
    """The smaller groups without which the reasons would not suffice, each with its feature."""
    sums = ranked.sums
    stated = list(ranked.eligible)[: wording.most]
    unexplained = evidence.excess - math.fsum([sums[group] for group in stated])
    room = wording.most - len(stated)
    further: dict[str, str] = {}
    if unexplained <= 0 or not room:
        return further
    least = wording.minimum_contribution
    smaller = [
        group for group, total in sums.items() if total >= least and group not in ranked.large
    ]
    smaller.sort(key=_by_size(sums, wording))
    for group in smaller:
        if unexplained <= 0 or len(further) == room:
            break
        features = ranked.groups[group]
        named = feature_to_name(group, features, sums[group], evidence, wording, ranked.facts)
        if named is not None:
            further[group] = named
            unexplained -= sums[group]
    return further


def sums_of(contributions: Mapping[str, float]) -> dict[str, float]:
    """Contributions by feature of the model, summed over reason groups."""
    return add_up(groups_of(tuple(contributions)), contributions)


def _large_groups(sums: Mapping[str, float], push: float, wording: Wording) -> list[str]:
    """The groups that push enough for a reason, the largest first; ``push`` is that of all."""
    least = max(wording.minimum_contribution, wording.minimum_share * push)
    large = [group for group, total in sums.items() if total >= least]
    return sorted(large, key=_by_size(sums, wording))


def _by_size(
    sums: Mapping[str, float], wording: Wording
) -> Callable[[str], tuple[float, int, str]]:
    """The key that sorts groups by size; ties go by the order of the wording."""
    order = _order_of(tuple(wording.groups))

    def rank(group: str) -> tuple[float, int, str]:
        # Groups without a text come last among equals, by name.
        place = order.get(group, len(order))
        return -sums[group], place, group

    return rank


@lru_cache(maxsize=64)  # a wording has one tuple of groups
def _order_of(groups: tuple[str, ...]) -> Mapping[str, int]:
    return {group: place for place, group in enumerate(groups)}


def _group_reason(
    rank: int,
    group: PrincipalGroup,
    ranked: Ranked,
    evidence: Evidence,
    wording: Wording,
) -> Reason:
    first = [group.named] if group.fact is None else [group.named, group.fact]
    own = by_contribution(ranked.groups[group.code], evidence)
    pushing = [name for name in own if evidence.contributions[name] > 0]
    shown = [*dict.fromkeys(first + pushing)][: wording.features_shown]
    text = say(group.code, group.named, evidence, wording)
    if group.fact is not None:
        fact = say(group.code, group.fact, evidence, wording)
        # The fact first: it is what the customer looks for.  A delay that goes on comes before it.
        is_present = group.named == "days_past_due_now"
        text = join(text, fact) if is_present else join(fact, text)
    return Reason(
        rank=rank,
        code=group.code,
        cause=wording.groups[group.code].cause,
        share=group.share,
        contribution=group.contribution,
        leader=group.leader,
        text=text,
        features=_reason_features(shown, evidence),
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
        leader=True,
        text=say_rule(hit),
        features=_reason_features(names, evidence),
    )


def _reason_features(names: Iterable[str], evidence: Evidence) -> tuple[ReasonFeature, ...]:
    values, contributions = evidence.values, evidence.contributions
    medians = evidence.comparison.medians
    features = []
    for name in names:
        value, reference = values[name], medians.get(name, math.nan)
        feature = ReasonFeature(
            name,
            value if value == value else None,
            reference if reference == reference else None,
            _UNITS.get(name, "count"),
            contributions.get(name, 0.0),
        )
        features.append(feature)
    return tuple(features)


def _unit_of(name: str) -> Unit:
    return _UNITS.get(name, "count")
