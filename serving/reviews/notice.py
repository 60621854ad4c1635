"""The notice of a review's outcome to the customer.

A limit that a reviewer lowers is adverse action: the notice is due within 30 days, with the reasons
(12 CFR 1002.9(a)). There is a notice of every other outcome too. The reasons are the reviewer's own
words.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from serving.decision.config.reasons import Language
from serving.decision.reasons.wording import day, number
from serving.schemas.review import Asker, OutcomeKind, ReviewOutcome

_OPENINGS: dict[Language, dict[Asker, str]] = {
    "en": {
        "customer": (
            "You asked for a person to reconsider the decision of {decided_on} "
            "on your credit limit. A person has reconsidered it."
        ),
        "policy": (
            "On {decided_on} the decision on your credit limit was referred to a person. "
            "The person has decided."
        ),
    },
    "zh": {
        "customer": "您曾要求人工复核{decided_on}关于您信用额度的决定，复核已完成。",
        "policy": "您的信用额度于{decided_on}转由专人审核，审核已完成。",
    },
}
_CHANGES: dict[Language, dict[str, str]] = {
    "en": {
        "same": "Your credit limit stays at {limit}.",
        "restored": "The decision is withdrawn: your credit limit is {limit} again, as before it.",
        "raised": "Your credit limit is raised from {before} to {limit}.",
        "lowered": "Your credit limit is lowered from {before} to {limit}.",
    },
    "zh": {
        "same": "您的信用额度维持{limit}。",
        "restored": "原决定已撤销，您的信用额度恢复为{limit}，与该决定之前相同。",
        "raised": "您的信用额度由{before}上调至{limit}。",
        "lowered": "您的信用额度由{before}下调至{limit}。",
    },
}
_REASONS: dict[Language, str] = {"en": "The reasons: {reasons}", "zh": "理由：{reasons}"}
_FURTHER_REVIEW: dict[Language, str] = {
    "en": (
        "You can ask for a person to reconsider this too, and add what we do not know, at any time."
    ),
    "zh": "您可以随时要求对此再次进行人工复核，并补充我们尚未了解的情况。",
}


@dataclass(frozen=True, slots=True)
class ReviewDecision:
    """A person's answer to a review; `before` and `limit` are in force before and after it, CNY."""

    asked_by: Asker
    outcome: ReviewOutcome
    before: float
    limit: float
    reasons: str


def outcome_notice(
    decision: ReviewDecision, decided_on: datetime.date, send_by: datetime.date
) -> dict[str, Any]:
    """Return the notice as JSON: `kind`, `send_by` (YYYY-MM-DD) and `text` in ``en`` and ``zh``.

    `decided_on` is the day of the reviewed decision, and `send_by` the last day to send the notice,
    both on the lender's clock.

    >>> from datetime import date
    >>> decision = ReviewDecision("customer", "overturn", 3500.0, 21500.0, "Proven.")
    >>> notice = outcome_notice(decision, date(2026, 11, 7), date(2026, 12, 7))
    >>> notice["kind"]
    'review_outcome'
    >>> notice["text"]["en"].splitlines()[2]
    'The decision is withdrawn: your credit limit is CNY 21,500 again, as before it.'
    """
    kind: OutcomeKind = "adverse_action" if decision.limit < decision.before else "review_outcome"
    text = {"en": _text(decision, decided_on, "en"), "zh": _text(decision, decided_on, "zh")}
    return {"kind": kind, "send_by": send_by.isoformat(), "text": text}


def _text(decision: ReviewDecision, decided_on: datetime.date, language: Language) -> str:
    opening = _OPENINGS[language][decision.asked_by]
    change = _CHANGES[language][_change(decision)]
    paragraphs = (
        opening.format(decided_on=day(decided_on, language)),
        change.format(
            before=number(decision.before, "CNY", language),
            limit=number(decision.limit, "CNY", language),
        ),
        _REASONS[language].format(reasons=decision.reasons),
        _FURTHER_REVIEW[language],
    )
    return "\n\n".join(paragraphs)


def _change(decision: ReviewDecision) -> str:
    if decision.limit == decision.before:
        return "same"
    if decision.outcome == "overturn":
        return "restored"
    return "lowered" if decision.limit < decision.before else "raised"
