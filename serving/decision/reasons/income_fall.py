"""A fall of the income, which no customer would leave out.

The model sees a fall within twelve months (``income_change_12``) and else only what the income is:
debt and spending are many times an income that has become small.  So the fall is told in the first
reason whose sentence states the income or a share of it, and, where there is none, in a sentence of
the notice for what counted less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from features.catalogue import BY_NAME
from serving.decision.config.reasons import Further, Text, Wording
from serving.decision.reasons.sentence import fill, join

if TYPE_CHECKING:  # ranking imports this module
    from serving.decision.reasons.ranking import Evidence, Reason

# The feature whose own sentence tells a fall, and the highest income that it is told from.
_OWN = "income_change_12"
# The amounts that are above 0 where a further sentence applies.
_APPLIES: Mapping[Further, str] = {"low": "income_low_13_ago", "carried": "income_known_ago"}


def income_fell(
    evidence: Evidence,
    wording: Wording,
    *,
    carried: bool = True,
) -> Text | None:
    """The sentences on a fall within 13 statements; None if there is none, or none is known.

    ``carried`` = whether they may say which month the latest income is of; they end with it.
    """
    declared = wording.income_fall
    if declared is None:
        return None
    highest = evidence.amounts.get("income_peak_13", math.nan)
    # NaN compares as false.
    if not evidence.values["income"] <= declared.at_most * highest:
        return None
    text = declared.text
    for name, further in declared.further.items():
        applies = evidence.amounts[_APPLIES[name]] > 0
        if applies and (carried or name != "carried"):
            text = join(text, further)
    return fill(text, BY_NAME["income"], evidence)


def tells_income_fall(
    reasons: Sequence[Reason],
    evidence: Evidence,
    wording: Wording,
) -> bool:
    """Whether a reason tells of a fall of the income, of this one or of a later one."""
    # Every form of the sentences begins with the shorter one.
    fell = income_fell(evidence, wording, carried=False)
    if fell is None:
        return False
    return any(fell.en in reason.text.en or _named(reason) == _OWN for reason in reasons)


def tell_income_fall(
    reasons: Sequence[Reason],
    evidence: Evidence,
    wording: Wording,
) -> tuple[Reason, ...]:
    """The reasons, with the fall in the first whose sentence is about the income."""
    declared = wording.income_fall
    if declared is None or tells_income_fall(reasons, evidence, wording):
        return tuple(reasons)
    told = list(reasons)
    for place, reason in enumerate(reasons):
        if _named(reason) in declared.beside:
            is_new = not _tells_month(reason, wording)
            fell = income_fell(evidence, wording, carried=is_new)
            if fell is not None:
                told[place] = replace(reason, text=join(reason.text, fell))
            break
    return tuple(told)


def _tells_month(reason: Reason, wording: Wording) -> bool:
    """Whether the sentence of a reason itself says which month a carried income is of."""
    sentences = wording.groups[reason.code].sentences
    named = sentences.get(reason.features[0].name)
    return named is not None and "carried" in named.further


def _named(reason: Reason) -> str | None:
    """The feature whose value a reason of the model states; None for a rule and an unknown one."""
    if reason.contribution is None or not reason.features:
        return None
    named = reason.features[0]
    return None if named.value is None else named.name
