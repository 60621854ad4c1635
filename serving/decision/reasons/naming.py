"""Which feature of a group a sentence names, and which facts are never silent.

:mod:`serving.decision.reasons.ranking` has the rule.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import repeat
from operator import itemgetter, neg
from typing import TYPE_CHECKING

from features.catalogue import BY_NAME
from serving.decision.config.reasons import NeverSilent, Wording

if TYPE_CHECKING:  # ranking imports this module
    from serving.decision.reasons.ranking import Evidence

_GROUP_OF = {name: feature.group for name, feature in BY_NAME.items()}
_FEATURES_OF = {
    group: tuple(name for name, own in _GROUP_OF.items() if own == group)
    for group in set(_GROUP_OF.values())
}


def group_of(name: str) -> str:
    """The reason group of a feature.

    A feature that the catalogue does not have is its own group, which no wording has.
    """
    return _GROUP_OF.get(name, name)


def _features_of(group: str) -> tuple[str, ...]:
    return _FEATURES_OF.get(group, (group,))


def feature_to_name(
    group: str,
    total: float,
    evidence: Evidence,
    wording: Wording,
    facts: Sequence[NeverSilent],
) -> str | None:
    """The feature that a group's sentence is about; None if none may be named.

    ``facts`` are those of the account that are never silent (:func:`facts_in`).

    Of those that may, it is the one that pushed most.  Where others pushed nearly as much, it is
    the one in which most comparison accounts are better: the difference that a customer sees best.
    A fact that is never silent comes before them.
    """
    if group not in wording.groups:
        return None
    least_of_all = wording.named_share * total
    named, most_better, least = None, 0.0, least_of_all
    never_silent = [fact.feature for fact in facts]
    contributions, values = evidence.contributions, evidence.values
    share_better = evidence.comparison.share_better
    for name in pushing_features(group, evidence):
        contribution = contributions[name]
        if contribution < least_of_all:
            break  # the others pushed less
        if _is_not_for(name, evidence, wording):
            continue
        better = share_better(name, values[name])
        if better < wording.named_better:
            continue
        if name in never_silent:
            return name
        if contribution < least:
            continue  # a fact may still follow
        if named is None:  # only those near the first one may still be named
            least = max(least, contribution - wording.named_within)
        if named is None or better > most_better:
            named, most_better = name, better
    return named


def _is_not_for(name: str, evidence: Evidence, wording: Wording) -> bool:
    """Whether the product lacks a feature, or nobody would act on so small a value of it."""
    products = BY_NAME[name].products
    if products is not None and evidence.comparison.product not in products:
        return True
    sentence = wording.groups[group_of(name)].sentences.get(name)
    least = None if sentence is None else sentence.least
    return least is not None and evidence.values[name] < least


def facts_in(evidence: Evidence, wording: Wording, *, beside: bool = False) -> list[NeverSilent]:
    """The facts of an account that are never silent, or those told only beside others."""
    values, amounts = evidence.values, evidence.amounts
    found = []
    for fact in wording.never_silent:
        # NaN compares as false.
        if fact.beside != beside or not values.get(fact.feature, math.nan) >= fact.at_least:
            continue
        if fact.ago is None or amounts.get(fact.ago, math.nan) <= fact.within:
            found.append(fact)
    return found


def pushing_features(group: str, evidence: Evidence) -> list[str]:
    """The group's features that push toward the cut, the largest contribution first."""
    contributions = evidence.contributions
    names = _features_of(group)
    # No loop in Python: it took more than all else that chooses a feature.
    own = sorted(zip(map(neg, map(contributions.get, names, repeat(0.0))), names, strict=True))
    pushing = bisect_left(own, (0.0, ""))
    return list(map(itemgetter(1), own[:pushing]))


def says_more(fact: str, named: str, evidence: Evidence, wording: Wording) -> bool:
    """Whether a fact says more than the feature that is named, which may be of the same delay."""
    said, value = evidence.values[named], evidence.values[fact]
    other_facts = {known.feature for known in wording.never_silent}
    if named in other_facts:
        return value > said
    # The longest delay of 24 months may be that of 12.
    return BY_NAME[named].unit != BY_NAME[fact].unit or value != said


def worst_by_group(
    declared: Sequence[NeverSilent],
    sums: Mapping[str, float],
    evidence: Evidence,
    wording: Wording,
) -> dict[str, str]:
    """Each group that pushed with the worst of these facts, of :func:`facts_in`, that pushed.

    Of equals it is the first.
    """
    facts: dict[str, str] = {}
    for fact in declared:
        group = group_of(fact.feature)
        contribution = evidence.contributions.get(fact.feature, 0.0)
        # A group without a text can be stated by nobody; a large one refers the decision.
        if contribution <= 0 or sums[group] <= 0 or group not in wording.groups:
            continue
        other = facts.get(group)
        if other is None or evidence.values[fact.feature] > evidence.values[other]:
            facts[group] = fact.feature
    return facts


def worst_fact(evidence: Evidence, wording: Wording) -> str | None:
    """The worst fact that is never silent, whether or not it pushed; None if there is none."""
    worst: str | None = None
    for fact in facts_in(evidence, wording):
        if group_of(fact.feature) not in wording.groups:
            continue
        if worst is None or evidence.values[fact.feature] > evidence.values[worst]:
            worst = fact.feature
    return worst


def pushed(names: Sequence[str], evidence: Evidence) -> bool:
    """Whether the group of features, and one of them itself, pushed toward the cut."""
    contributions = evidence.contributions
    own = [contributions.get(name, 0.0) for name in _features_of(group_of(names[0]))]
    if math.fsum(own) <= 0:
        return False
    return any(contributions.get(name, 0.0) > 0 for name in names)
