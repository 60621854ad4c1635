"""The ranking of reasons again, slowly, from the rule as the documentation states it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from features.catalogue import BY_NAME
from serving.decision.config.reasons import Wording
from serving.decision.reasons.wording import number


class ByGroup(NamedTuple):
    """A stated group, the feature that its sentence names, and whether it is a main reason."""

    code: str
    named: str
    leader: bool


def share_better(name: str, value: float, others: Sequence[float | None]) -> float:
    """The share of other accounts that are better, one account at a time."""
    known = sorted(other for other in others if other is not None and not math.isnan(other))
    if math.isnan(value):
        return len(known) / len(others)
    # A sentence states the median where at least half of the values are known.
    stated = median(known) if known and 2 * len(known) >= len(others) else math.nan
    if not known or printed_alike(name, value, stated):
        return 0.0
    direction = BY_NAME[name].direction
    better = [other for other in known if direction * (value - other) > 0]
    return len(better) / len(known)


def printed_alike(name: str, value: float, other: float) -> bool:
    """Whether a customer reads the same number; "1" and "1.0" are one."""
    texts = [number(amount, BY_NAME[name].unit, "en") for amount in (value, other)]
    one, two = (text[:-2] if text.endswith(".0") else text for text in texts)
    return one == two


def rank_slowly(
    contributions: Mapping[str, float],
    values: Mapping[str, float],
    comparison: Mapping[str, Sequence[float | None]],
    wording: Wording,
    most: int | None = None,
) -> list[ByGroup]:
    """The groups that are stated, in order; at most ``most``, by default the wording's.

    ``comparison`` has the values of the comparison accounts by feature, null = unknown.
    """
    most = wording.most if most is None else most
    totals = {
        group: math.fsum(
            value for name, value in contributions.items() if BY_NAME[name].group == group
        )
        for group in wording.groups
    }
    push = sum(total for total in totals.values() if total > 0)
    eligible: list[tuple[str, str]] = []
    for group, total in totals.items():
        if total < wording.minimum_contribution or total < wording.minimum_share * push:
            continue
        candidates = []
        for name, contribution in contributions.items():
            if BY_NAME[name].group != group or contribution < wording.named_share * total:
                continue
            better = share_better(name, values[name], comparison[name])
            if better >= wording.named_better:
                candidates.append(Candidate(name, contribution, better))
        if candidates:
            eligible.append((group, most_visible(candidates, wording.named_within)))
    # A fact that is never silent comes in addition.
    places = list(wording.groups)
    eligible.sort(key=lambda pair: (-totals[pair[0]], places.index(pair[0])))
    facts = facts_slowly(contributions, values, totals, wording)
    stated = eligible[:most]
    named_groups = {group for group, _ in stated}
    for group, name in facts.items():
        if group not in named_groups:
            stated.append((group, dict(eligible).get(group, name)))
    stated.sort(key=lambda pair: (-totals[pair[0]], places.index(pair[0])))
    found = []
    for place, (group, named) in enumerate(stated):
        near = totals[stated[0][0]] - totals[group] <= wording.equal_within
        least = max(wording.minimum_contribution, wording.minimum_share * push)
        found.append(ByGroup(group, named, place == 0 or (near and totals[group] >= least)))
    return found


class Candidate(NamedTuple):
    """A feature that a sentence may name."""

    name: str
    contribution: float
    better: float  # share of the comparison accounts


def most_visible(candidates: Sequence[Candidate], within: float) -> str:
    """The feature with most accounts better, of those that pushed nearly as much as the first."""
    largest = max(candidate.contribution for candidate in candidates)
    near = [candidate for candidate in candidates if candidate.contribution >= largest - within]
    return min(near, key=lambda own: (-own.better, -own.contribution, own.name)).name


def facts_slowly(
    contributions: Mapping[str, float],
    values: Mapping[str, float],
    totals: Mapping[str, float],
    wording: Wording,
) -> dict[str, str]:
    """The groups of the facts that pushed and are never silent, each with the first such fact."""
    facts: dict[str, str] = {}
    for fact in wording.never_silent:
        group = BY_NAME[fact.feature].group
        if group in facts or fact.feature not in contributions:
            continue
        if values[fact.feature] < fact.at_least or math.isnan(values[fact.feature]):
            continue
        if contributions[fact.feature] > 0 and totals[group] > 0:
            facts[group] = fact.feature
    return facts
