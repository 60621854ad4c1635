"""Which feature of a group a sentence names, and which facts are never silent.

:mod:`serving.decision.reasons.ranking` has the rule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from features.catalogue import BY_NAME
from serving.decision.config.reasons import NeverSilent, Sentence, Wording

if TYPE_CHECKING:  # ranking imports this module
    from serving.decision.reasons.ranking import Evidence

_GROUP_OF = {name: feature.group for name, feature in BY_NAME.items()}


def group_of(name: str) -> str:
    """The reason group of a feature.

    A feature that the catalogue does not have is its own group, which no wording has.
    """
    return _GROUP_OF.get(name, name)


@lru_cache(maxsize=64)  # a model has one tuple of names
def groups_of(names: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """The reason groups of these features, in their order; the features of each by name."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(group_of(name), []).append(name)
    return {group: tuple(sorted(own)) for group, own in groups.items()}


def add_up(
    groups: Mapping[str, Sequence[str]], contributions: Mapping[str, float]
) -> dict[str, float]:
    """The sum of each group's contributions."""
    # fsum: the order of the features does not matter.
    return {group: math.fsum(map(contributions.__getitem__, own)) for group, own in groups.items()}


def by_contribution(features: Sequence[str], evidence: Evidence) -> list[str]:
    """A group's features, the largest contribution first; equals stay in their order, by name."""
    return sorted(features, key=evidence.contributions.__getitem__, reverse=True)


def feature_to_name(
    group: str,
    features: Sequence[str],
    total: float,
    evidence: Evidence,
    wording: Wording,
    facts: Sequence[NeverSilent],
) -> str | None:
    """The feature that a group's sentence is about; None if none may be named.

    ``features`` are the group's, by name, and ``total`` is the sum of their contributions;
    ``facts`` are those of the account that are never silent (:func:`facts_in`).

    Of those that may, it is the one that pushed most.  Where others pushed nearly as much, it is
    the one in which most comparison accounts are better: the difference that a customer sees best.
    A fact that is never silent comes before them.
    """
    if group not in wording.groups:
        return None
    least_of_all = wording.named_share * total
    named, most_better, least = None, 0.0, least_of_all
    never_silent = [fact.feature for fact in facts if not fact.beside]
    sentences = wording.groups[group].sentences
    contributions, values = evidence.contributions, evidence.values
    comparison = evidence.comparison
    for name in by_contribution(features, evidence):
        contribution = contributions[name]
        if contribution < least_of_all:
            break  # the others pushed less, or against the cut
        value = values[name]
        if _is_not_for(name, value, comparison.product, sentences):
            continue
        better = comparison.share_better(name, value)
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


def _is_not_for(
    name: str,
    value: float,
    product: str,
    sentences: Mapping[str, Sentence],
) -> bool:
    """Whether the product lacks a feature, or nobody would act on so small a value of it."""
    products = BY_NAME[name].products
    if products is not None and product not in products:
        return True
    sentence = sentences.get(name)
    return sentence is not None and sentence.least is not None and value < sentence.least


def facts_in(evidence: Evidence, wording: Wording) -> list[NeverSilent]:
    """The facts of an account that are never silent, and those told only beside others."""
    values = evidence.values
    # NaN compares as false.
    found = [
        fact for fact in wording.never_silent if values.get(fact.feature, math.nan) >= fact.at_least
    ]
    return [fact for fact in found if _is_recent(fact, evidence)]


def _is_recent(fact: NeverSilent, evidence: Evidence) -> bool:
    return fact.ago is None or evidence.amounts.get(fact.ago, math.nan) <= fact.within


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
        if fact.beside or group_of(fact.feature) not in wording.groups:
            continue
        if worst is None or evidence.values[fact.feature] > evidence.values[worst]:
            worst = fact.feature
    return worst


def pushed(names: Sequence[str], evidence: Evidence) -> bool:
    """Whether the group of features, and one of them itself, pushed toward the cut."""
    contributions = evidence.contributions
    own = groups_of(tuple(contributions)).get(group_of(names[0]), ())
    if math.fsum([contributions[name] for name in own]) <= 0:
        return False
    return any(contributions.get(name, 0.0) > 0 for name in names)
