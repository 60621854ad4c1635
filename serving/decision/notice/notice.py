"""The notice of a decision: what the lender writes to the customer, and by when.

An individual cut is adverse action (12 CFR 1002.9(a)(1)(iii) and (a)(2)): within 30 days the
customer gets in writing the decision and its specific principal reasons.  The notice of a cut is
due earlier, before the cut takes effect.  A customer may refuse a decision that was made by
automation alone, and may have it explained (PIPL article 24); the notice says so.  Under review
nothing is decided yet, and the customer may comment: that notice is due while there is time to.  A
limit that comes back is told too, and so is a look at a reduced limit that gives nothing back.

This module computes nothing: the sentences come from the reasons, and the templates from
reasons.toml.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from serving.decision.config.policy import Policy
from serving.decision.config.quick_init import quick_init
from serving.decision.config.reasons import Language, Text, Wording
from serving.decision.notice.form import write
from serving.decision.notice.subject import Case, Subject
from serving.decision.policy.dates import (
    cut_notice_due_date,
    hearing_notice_due_date,
    local_date,
    notice_due_date,
)
from serving.decision.policy.outcome import Action, Outcome

Kind = Literal["adverse_action", "under_review", "restored", "still_reduced"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
_KINDS: Mapping[Action, Kind] = {
    "reduce": "adverse_action",
    "suspend": "adverse_action",
    "restore": "restored",
    "review": "under_review",
    "keep": "still_reduced",
}


@quick_init
@dataclass(frozen=True, slots=True)
class Notice:
    """A notice to a customer: its text in paragraphs, and the last day to send it."""

    kind: Kind
    send_by: datetime.date
    text: Text


def make_notice(
    outcome: Outcome,
    subject: Subject,
    wording: Wording,
    policy: Policy,
    decided_at: datetime.datetime,
) -> Notice | None:
    """The notice of an outcome with its principal reasons.

    It is None for ``keep``, unless it is the day of a look at a reduced limit.

    Raises:
        ValueError: ``decided_at`` has no time zone.
    """
    if not has_notice(outcome):
        return None
    today = local_date(decided_at, policy)
    kind = _KINDS[outcome.action]
    send_by = _DUE_DATES[kind](today, policy)
    text = write(Case(outcome, subject, today), wording)
    return Notice(kind, send_by, text)


def has_notice(outcome: Outcome) -> bool:
    """Whether the customer is told of an outcome."""
    return outcome.action != "keep" or outcome.looked


_DUE_DATES: Mapping[Kind, Callable[[datetime.date, Policy], datetime.date]] = {
    "adverse_action": cut_notice_due_date,
    "under_review": hearing_notice_due_date,
    "restored": notice_due_date,
    "still_reduced": notice_due_date,
}
