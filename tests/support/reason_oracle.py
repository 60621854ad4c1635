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
    excess: float = 0.0,
) -> list[ByGroup]:
    """The groups that are stated, in order; at most ``most``, by default the wording's.

    ``excess`` is how far the log-odds lie above those of the cut-off.

    ``values`` has the amounts too that say how long ago a fact that is never silent was.
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
    smaller: list[tuple[str, str]] = []
    for group, total in totals.items():
        if total < wording.minimum_contribution:
            continue
        is_large = total >= wording.minimum_share * push
        named = named_slowly(group, total, contributions, values, comparison, wording)
        if named is not None:
            (eligible if is_large else smaller).append((group, named))
    # Smaller groups, while the others alone would not have led to the cut.
    smaller.sort(key=lambda pair: (-totals[pair[0]], list(wording.groups).index(pair[0])))
    eligible.sort(key=lambda pair: (-totals[pair[0]], list(wording.groups).index(pair[0])))
    for pair in smaller:
        explained = math.fsum(totals[group] for group, _ in eligible[: wording.most])
        if len(eligible) < wording.most and explained < excess:
            eligible.append(pair)
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


def named_slowly(
    group: str,
    total: float,
    contributions: Mapping[str, float],
    values: Mapping[str, float],
    comparison: Mapping[str, Sequence[float | None]],
    wording: Wording,
) -> str | None:
    """The feature that a group's sentence names: a fact that is never silent before others."""
    candidates = []
    for name, contribution in contributions.items():
        if BY_NAME[name].group != group or contribution < wording.named_share * total:
            continue
        least = wording.groups[group].sentences[name].least
        if least is not None and values[name] < least:
            continue
        better = share_better(name, values[name], comparison[name])
        if better >= wording.named_better:
            candidates.append(Candidate(name, contribution, better))
    facts = [own for own in candidates if is_fact(own.name, values, wording)]
    if facts:
        return min(facts, key=lambda own: (-own.contribution, own.name)).name
    return most_visible(candidates, wording.named_within) if candidates else None


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
    """The groups of the facts that pushed and are never silent, each with the worst."""
    facts: dict[str, str] = {}
    for fact in wording.never_silent:
        name = fact.feature
        group = BY_NAME[name].group
        if not is_fact(name, values, wording) or contributions.get(name, 0.0) <= 0:
            continue
        is_worst = group not in facts or values[name] > values[facts[group]]
        if totals[group] > 0 and is_worst:
            facts[group] = name
    return facts


def is_fact(name: str, values: Mapping[str, float], wording: Wording) -> bool:
    """Whether a feature has a value that is never silent."""
    for fact in wording.never_silent:
        if fact.feature == name and not fact.beside and values[name] >= fact.at_least:
            return fact.ago is None or values[fact.ago] <= fact.within
    return False
