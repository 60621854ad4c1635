"""What a notice is about: an account, and why its limit is what it is."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from serving.decision.config.quick_init import quick_init
from serving.decision.config.reasons import Text
from serving.decision.policy.outcome import Outcome
from serving.decision.reasons.ranking import Reason


@quick_init
@dataclass(frozen=True, slots=True)
class AlsoKnown:
    """A fact that no reason tells; ``counted`` if it and its reason group pushed toward the cut."""

    text: Text
    counted: bool


@quick_init
@dataclass(frozen=True, slots=True)
class Subject:
    """The account that a notice is about, and why.

    ``credit_limit`` is that before the decision, CNY, and ``limit_before`` that from before the
    first cut in force, the same if none is.  ``comparison`` explains the comparison
    accounts that sentences of ``reasons`` speak of; None if none can.  ``since_last`` is a sentence
    about the change since the earlier decision; None if there is none to tell.  ``also_known`` are
    the facts that are never silent and no reason.  An account is ``overdue`` if
    a payment is due and was not made by its last statement.
    """

    account_id: str
    product: str
    credit_limit: float
    limit_before: float
    reasons: Sequence[Reason]
    comparison: Text | None
    since_last: Text | None = None
    also_known: Sequence[AlsoKnown] = ()
    overdue: bool = False


@quick_init
@dataclass(frozen=True, slots=True)
class Case:
    """What the words of a notice follow from."""

    outcome: Outcome
    subject: Subject
    today: datetime.date
