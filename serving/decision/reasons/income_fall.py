"""A fall of the income, which no customer would leave out.

The model sees a fall within twelve months (``income_change_12``) and else only what the income is:
debt and spending are many times an income that has become small.  So the fall is told in the first
reason whose sentence states the income or a share of it, and, where there is none, in a sentence of
the notice for what counted less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from features.catalogue import BY_NAME
from serving.decision.config.reasons import Text, Wording
from serving.decision.reasons.wording import fill, join

if TYPE_CHECKING:  # ranking imports this module
    from serving.decision.reasons.ranking import Evidence, Reason

# The feature whose own sentence tells a fall, and the highest income that it is told from.
_OWN = "income_change_12"


def income_fell(evidence: Evidence, wording: Wording) -> Text | None:
    """The sentence on a fall within 13 statements; None if there is none, or none is known."""
    declared = wording.income_fall
    if declared is None:
        return None
    highest = evidence.amounts.get("income_peak_13", math.nan)
    # NaN compares as false.
    if not evidence.values["income"] <= declared.at_most * highest:
        return None
    return fill(declared.text, BY_NAME["income"], evidence)


def tells_income_fall(reasons: Sequence[Reason], sentence: Text) -> bool:
    """Whether a reason tells of a fall of the income, of this one or of a later one."""
    return any(sentence.en in reason.text.en or _named(reason) == _OWN for reason in reasons)


def tell_income_fall(
    reasons: Sequence[Reason],
    evidence: Evidence,
    wording: Wording,
) -> tuple[Reason, ...]:
    """The reasons, with the fall in the first whose sentence is about the income."""
    sentence, declared = income_fell(evidence, wording), wording.income_fall
    if declared is None or sentence is None or tells_income_fall(reasons, sentence):
        return tuple(reasons)
    told = list(reasons)
    for place, reason in enumerate(reasons):
        if _named(reason) in declared.beside:
            told[place] = replace(reason, text=join(reason.text, sentence))
            break
    return tuple(told)


def _named(reason: Reason) -> str | None:
    """The feature whose value a reason of the model states; None for a rule and an unknown one."""
    if reason.contribution is None or not reason.features:
        return None
    named = reason.features[0]
    return None if named.value is None else named.name
