"""The ranking of reasons again, slowly, from the rule as the documentation states it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
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
    """The share of other accounts that are visibly better, one account at a time."""
    feature = BY_NAME[name]
    better = 0
    for other in others:
        if other is None or math.isnan(other):
            continue
        if math.isnan(value):
            better += 1
            continue
        is_better = other < value if feature.direction == 1 else other > value
        better += is_better and not printed_alike(name, value, other)
    return better / len(others)


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
) -> list[ByGroup]:
    """The groups that are stated, in order.

    ``comparison`` has the values of the comparison accounts by feature, null = unknown.
    """
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
            if share_better(name, values[name], comparison[name]) >= wording.named_better:
                candidates.append((-Fraction(contribution), name))
        if candidates:
            eligible.append((group, min(candidates)[1]))
    # Sorting is stable: ties stay in the order of the file.
    eligible.sort(key=lambda pair: -totals[pair[0]])
    stated = eligible[: wording.most]
    return [
        ByGroup(group, named, totals[stated[0][0]] - totals[group] <= wording.equal_within)
        for group, named in stated
    ]
