"""The notice of a person's answer to a review: what the customer is told of it, and by when.

Where the person lowers the limit that is adverse action like any other: the customer is told within
30 days, with the reasons (12 CFR 1002.9(a)).  Whoever asked for a review is told how it ended in
any case.  The reasons are the reviewer's own words.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from serving.decision.config.reasons import Language
from serving.decision.reasons.wording import day, number
from serving.schemas.review import Asker, OutcomeKind, ReviewOutcome

_ASKED: dict[tuple[Asker, Language], str] = {
    (
        "customer",
        "en",
    ): "You asked for a person to reconsider the decision of {decided_on} on your credit limit. It was done.",
    ("customer", "zh"): "您曾要求人工复核{decided_on}关于您信用额度的决定，复核已完成。",
    (
        "policy",
        "en",
    ): "On {decided_on} we told you that a person would look at your credit limit. It was done.",
    ("policy", "zh"): "我们曾于{decided_on}告知您，将由专人审核您的信用额度，审核已完成。",
}
_ANSWERS: dict[Language, dict[str, str]] = {
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
_AGAIN: dict[Language, str] = {
    "en": "You can ask for a person to reconsider this too, and add what we do not know, at any time.",
    "zh": "您可以随时要求对此再次进行人工复核，并补充我们尚未了解的情况。",
}


@dataclass(frozen=True, slots=True)
class ReviewDecision:
    """What a person answered: the limit in force before it and after it, CNY, and their reasons."""

    asked_by: Asker
    outcome: ReviewOutcome
    before: float
    limit: float
    reasons: str


def outcome_notice(
    answered: ReviewDecision, decided_on: datetime.date, send_by: datetime.date
) -> dict[str, Any]:
    """The notice as JSON: ``kind``, ``send_by`` (YYYY-MM-DD) and ``text`` in paragraphs, ``en`` and
    ``zh``.

    >>> from datetime import date
    >>> answered = ReviewDecision("customer", "overturn", 3500.0, 21500.0, "Proven.")
    >>> told = outcome_notice(answered, date(2026, 11, 7), date(2026, 12, 7))
    >>> told["kind"], told["text"]["en"].splitlines()[2]
    ('review_outcome', 'The decision is withdrawn: your credit limit is CNY 21,500 again, as before it.')
    """
    kind: OutcomeKind = "adverse_action" if answered.limit < answered.before else "review_outcome"
    text = {"en": _text(answered, decided_on, "en"), "zh": _text(answered, decided_on, "zh")}
    return {"kind": kind, "send_by": send_by.isoformat(), "text": text}


def _text(answered: ReviewDecision, decided_on: datetime.date, language: Language) -> str:
    before, limit = (
        number(amount, "CNY", language) for amount in (answered.before, answered.limit)
    )
    paragraphs = (
        _ASKED[answered.asked_by, language].format(decided_on=day(decided_on, language)),
        _ANSWERS[language][_change(answered)].format(before=before, limit=limit),
        _REASONS[language].format(reasons=answered.reasons),
        _AGAIN[language],
    )
    return "\n\n".join(paragraphs)


def _change(answered: ReviewDecision) -> str:
    if answered.limit == answered.before:
        return "same"
    if answered.outcome == "overturn":
        return "restored"
    return "lowered" if answered.limit < answered.before else "raised"
