"""The notice of a decision: what the lender writes to the customer, and by when.

An individual cut is adverse action (12 CFR 1002.9(a)(1)(iii) and (a)(2)): within 30 days the
customer gets in writing the decision and its specific principal reasons.  The notice of a cut is
due earlier, before the cut takes effect.  A customer may refuse a decision that was made by
automation alone, and may have it explained (PIPL article 24); the notice says so.  Under review
nothing is decided yet, and the customer may comment: that notice is due while there is time to.

This module computes nothing: the sentences come from the reasons, and the templates from
reasons.toml.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from serving.decision.config.policy import Policy
from serving.decision.config.reasons import Language, Text, Wording
from serving.decision.policy.dates import (
    cut_notice_due_date,
    hearing_notice_due_date,
    local_date,
)
from serving.decision.policy.outcome import Action, Outcome
from serving.decision.reasons.ranking import Reason
from serving.decision.reasons.wording import day, number

Kind = Literal["adverse_action", "under_review"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
_KINDS: Mapping[Action, Kind] = {
    "reduce": "adverse_action",
    "suspend": "adverse_action",
    "review": "under_review",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice to a customer: its text in paragraphs, and the last day to send it."""

    kind: Kind
    send_by: datetime.date
    text: Text


def make_notice(
    outcome: Outcome,
    credit_limit: float,
    reasons: Sequence[Reason],
    wording: Wording,
    policy: Policy,
    decided_at: datetime.datetime,
) -> Notice | None:
    """The notice of an outcome with its principal reasons.

    It is None for ``keep``.  ``credit_limit`` is the limit before the decision, CNY.

    Raises:
        ValueError: ``decided_at`` has no time zone.
    """
    if outcome.action == "keep":
        return None
    today = local_date(decided_at, policy)
    reviewed = outcome.action == "review"
    send_by = (hearing_notice_due_date if reviewed else cut_notice_due_date)(today, policy)
    texts = {}
    for language in LANGUAGES:
        values = _values(outcome, credit_limit, today, language)
        texts[language] = _text(outcome, reasons, values, wording, language)
    return Notice(_KINDS[outcome.action], send_by, Text(texts["en"], texts["zh"]))


def _text(
    outcome: Outcome,
    reasons: Sequence[Reason],
    values: Mapping[str, str],
    wording: Wording,
    language: Language,
) -> str:
    """A paragraph each on the decision or proposal, the reasons, and the customer's rights."""
    parts = {name: str(getattr(part, language)) for name, part in wording.notice.items()}
    sentences = "\n".join(f"{reason.rank}. {getattr(reason.text, language)}" for reason in reasons)
    reviewed = outcome.action == "review"
    proposal = parts[_proposal(outcome)].format(**values) if reviewed else ""
    paragraphs = (
        parts[outcome.action].format(proposal=proposal, **values),
        # A reviewer may get a case without a reason in words.  A heading without sentences would
        # look like a missing page.
        parts["reasons"].format(reasons=sentences) if sentences else "",
        parts["hearing" if reviewed else "rights"],
    )
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _values(
    outcome: Outcome, credit_limit: float, today: datetime.date, language: Language
) -> dict[str, str]:
    """The formatted dates and amounts of an outcome by placeholder, without those that are None."""
    dates = {
        "decided_on": today,
        "effective_on": outcome.effective_on,
        "review_on": outcome.review_on,
    }
    amounts = {
        "credit_limit": credit_limit,
        "new_limit": outcome.new_limit,
        "proposed_limit": outcome.proposed_limit,
    }
    values = {name: day(date, language) for name, date in dates.items() if date is not None}
    for name, amount in amounts.items():
        if amount is not None:
            values[name] = number(amount, "CNY", language)
    return values


def _proposal(outcome: Outcome) -> str:
    """The template of the proposal; under review ``new_limit`` is the present limit."""
    if outcome.suspends:
        return "propose_suspend"
    lower = outcome.proposed_limit is not None and outcome.proposed_limit < outcome.new_limit
    return "propose_reduce" if lower else "propose_nothing"
