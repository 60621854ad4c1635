"""The notice of a review's outcome to the customer.

A limit that a reviewer lowers is adverse action: the customer is told with the reasons (12 CFR
1002.9(a)), and before the lower limit takes effect. There is a notice of every other outcome too.
The reasons are the reviewer's own words.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from serving.decision.config.policy import Policy
from serving.decision.config.reasons import Language, Text
from serving.decision.notice import LANGUAGES
from serving.decision.policy.dates import cut_notice_due_date, effective_date, notice_due_date
from serving.decision.reasons.wording import day, number
from serving.schemas.review import Asker, OutcomeKind, ReviewOutcome

_OPENINGS: dict[Language, dict[Asker, str]] = {
    "en": {
        "customer": (
            "You asked for a person to look again at the decision of {decided_on} "
            "on the credit limit of your {account}. A person has done so."
        ),
        "policy": (
            "On {decided_on} the decision on the credit limit of your {account} was referred to a "
            "person. The person has decided."
        ),
    },
    "zh": {
        "customer": "您曾要求人工复核{decided_on}关于您的{account}信用额度的决定，复核已完成。",
        "policy": "您的{account}的信用额度于{decided_on}转由专人审核，审核已完成。",
    },
}
_CHANGES: dict[Language, dict[str, str]] = {
    "en": {
        "same": "Your credit limit stays at {limit}.",
        "restored": "The decision is withdrawn: your credit limit is {limit} again, as before it.",
        "raised": "Your credit limit is raised from {before} to {limit}.",
        "lowered": (
            "Your credit limit is lowered from {before} to {limit}. "
            "The new limit applies from {effective_on}."
        ),
    },
    "zh": {
        "same": "您的信用额度维持{limit}。",
        "restored": "原决定已撤销，您的信用额度恢复为{limit}，与该决定之前相同。",
        "raised": "您的信用额度由{before}上调至{limit}。",
        "lowered": "您的信用额度由{before}下调至{limit}，自{effective_on}起生效。",
    },
}
_REASONS: dict[Language, str] = {"en": "The reasons: {reasons}", "zh": "理由：{reasons}"}
_FURTHER_REVIEW: dict[Language, str] = {
    "en": (
        "You can ask for a person to look at this again too, at any time, "
        "and add what we do not know."
    ),
    "zh": "您可以随时要求对此再次进行人工复核，并补充我们尚未了解的情况。",
}


@dataclass(frozen=True, slots=True)
class ReviewDecision:
    """A person's answer to a review; `before` and `limit` are in force before and after it, CNY.

    `account` is what the customer's account is called, as `name_account` returns it.
    """

    account: Text
    asked_by: Asker
    outcome: ReviewOutcome
    before: float
    limit: float
    reasons: str


def outcome_notice(
    decision: ReviewDecision,
    decided_on: datetime.date,
    answered_on: datetime.date,
    policy: Policy,
) -> dict[str, Any]:
    """Return the notice as JSON.

    `kind`, `effective_on` (the day on which a lower limit takes effect; None = no lower limit),
    `send_by` (the last day to send the notice, before that day) and `text` in ``en`` and ``zh``;
    days as YYYY-MM-DD. `decided_on` and `answered_on` are the days of the reviewed decision and of
    the review's outcome, on the lender's clock.

    >>> from datetime import date
    >>> from importlib.resources import files
    >>> from serving.decision.config.policy import read_policy
    >>> text = files("serving.decision.config").joinpath("policy.toml").read_text("utf-8")
    >>> account = Text("cash loan account ending in 0042", "借款账户（尾号0042）")
    >>> decision = ReviewDecision(account, "customer", "overturn", 3500.0, 21500.0, "Proven.")
    >>> days = date(2026, 11, 7), date(2026, 11, 9)
    >>> notice = outcome_notice(decision, *days, read_policy(text))
    >>> notice["kind"], notice["send_by"], notice["effective_on"]
    ('review_outcome', '2026-12-09', None)
    >>> notice["text"]["en"].splitlines()[2]
    'The decision is withdrawn: your credit limit is CNY 21,500 again, as before it.'
    """
    kind: OutcomeKind = "review_outcome"
    send_by = notice_due_date(answered_on, policy)
    effective_on = None
    if decision.limit < decision.before:
        kind = "adverse_action"
        send_by = cut_notice_due_date(answered_on, policy)
        effective_on = effective_date(answered_on, policy)
    texts: dict[Language, str] = {}
    for language in LANGUAGES:
        texts[language] = _text(decision, decided_on, effective_on, language)
    return {
        "kind": kind,
        "effective_on": None if effective_on is None else effective_on.isoformat(),
        "send_by": send_by.isoformat(),
        "text": texts,
    }


def _text(
    decision: ReviewDecision,
    decided_on: datetime.date,
    effective_on: datetime.date | None,
    language: Language,
) -> str:
    values = {
        "before": number(decision.before, "CNY", language),
        "limit": number(decision.limit, "CNY", language),
    }
    if effective_on is not None:
        values["effective_on"] = day(effective_on, language)
    opening = _OPENINGS[language][decision.asked_by]
    change = _CHANGES[language][_change(decision)]
    paragraphs = (
        opening.format(
            decided_on=day(decided_on, language),
            account=getattr(decision.account, language),
        ),
        change.format(**values),
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
