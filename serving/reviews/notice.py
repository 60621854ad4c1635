"""The notice of a review's outcome to the customer.

A limit that a reviewer lowers is adverse action: the customer is told with the reasons (12 CFR
1002.9(a)), and before the lower limit takes effect. There is a notice of every other outcome too.
The reasons are the reviewer's own words.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Literal

from serving.decision.config.policy import Policy
from serving.decision.config.reasons import Language, Text
from serving.decision.notice import LANGUAGES
from serving.decision.policy.dates import (
    effective_date,
    notice_due_date,
    notice_due_date_before,
)
from serving.decision.reasons.wording import day, number
from serving.schemas.review import Asker, OutcomeKind, ReviewOutcome, WordsInBoth

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
        "stays": ("Your credit limit stays at {limit}. It is not lowered to {announced} on {day}."),
        "withdrawn": "The decision is withdrawn: your credit limit stays at {limit}.",
        "upheld": (
            "As decided, your credit limit will be {limit} from {day}. Until then it is {before}."
        ),
        "amended": (
            "Your credit limit will be {limit} instead of {announced} from {day}. "
            "Until then it is {before}."
        ),
    },
    "zh": {
        "same": "您的信用额度维持{limit}。",
        "restored": "原决定已撤销，您的信用额度恢复为{limit}，与该决定之前相同。",
        "raised": "您的信用额度由{before}上调至{limit}。",
        "lowered": "您的信用额度由{before}下调至{limit}，自{effective_on}起生效。",
        "stays": "您的信用额度维持{limit}，不再于{day}下调至{announced}。",
        "withdrawn": "原决定已撤销，您的信用额度维持{limit}。",
        "upheld": "按原决定，您的信用额度自{day}起为{limit}，在此之前为{before}。",
        "amended": "您的信用额度自{day}起由原定的{announced}改为{limit}，在此之前为{before}。",
    },
}
# What becomes of a suspension, or of a proposal to suspend.
UseAfter = Literal["stopped", "stop_withdrawn", "allowed"]
_USE: dict[Language, dict[UseAfter, str]] = {
    "en": {
        "stopped": "The decision to stop {new_use} stands.",
        "stop_withdrawn": "The decision to stop {new_use} is withdrawn.",
        "allowed": "Within that limit, you can still use the account for {new_use}.",
    },
    "zh": {
        "stopped": "暂停{new_use}的决定维持不变。",
        "stop_withdrawn": "暂停{new_use}的决定已撤销。",
        "allowed": "在上述额度内，您仍可{new_use}。",
    },
}
# Where the texts of the bundle do not name what a suspension stops.
_NEW_USE = Text("new drawings", "新增用款")
# What stands between two sentences.
_BETWEEN: dict[Language, str] = {"en": " ", "zh": ""}
_REASONS: dict[Language, str] = {"en": "The reasons: {reasons}", "zh": "理由：{reasons}"}
_FURTHER_REVIEW: dict[Language, str] = {
    "en": (
        "You can ask for a person to look at this again too, at any time, "
        "and add what we do not know."
    ),
    "zh": "您可以随时要求对此再次进行人工复核，并补充我们尚未了解的情况。",
}


@dataclass(frozen=True, slots=True)
class Announced:
    """A limit that was decided and is not in force yet, CNY; `first_day` is its first day."""

    limit: float
    first_day: datetime.date


@dataclass(frozen=True, slots=True)
class Use:
    """What the notice says of new drawings.

    `name` is what a suspension of the account stops; None = the texts of the bundle do not say.
    """

    after: UseAfter
    name: Text | None = None


@dataclass(frozen=True, slots=True)
class ReviewDecision:
    """A person's answer to a review.

    `before` is the limit in force on the day of the answer, and `limit` the one that it leads to,
    CNY. `announced` is the limit that would have been in force from a later day on; None = there
    is none. `account` is what the customer's account is called, as `name_account` returns it. `use`
    is None where nobody stopped new drawings or could have: then the notice says nothing of them.
    """

    account: Text
    asked_by: Asker
    outcome: ReviewOutcome
    before: float
    limit: float
    reasons: str | WordsInBoth
    announced: Announced | None = None
    use: Use | None = None

    @property
    def lowers(self) -> bool:
        """Whether the answer itself lowers the limit, below what was announced before."""
        least = self.before if self.announced is None else self.announced.limit
        return self.limit < min(self.before, least)


def outcome_notice(
    decision: ReviewDecision,
    decided_on: datetime.date,
    answered_on: datetime.date,
    policy: Policy,
) -> dict[str, Any]:
    """Return the notice as JSON.

    `kind`, `effective_on` (the day from which the limit is lower than on the day of the outcome:
    where a cut was announced before, its day; None = it is not lower), `send_by` (the last day to
    send the notice, before that day) and `text` in ``en`` and ``zh``; days as YYYY-MM-DD.
    `decided_on` and `answered_on` are the days of the reviewed decision and of the review's
    outcome, on the lender's clock.

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
    kind: OutcomeKind = "adverse_action" if decision.lowers else "review_outcome"
    effective_on = _first_day(decision, answered_on, policy)
    send_by = notice_due_date(answered_on, policy)
    if effective_on is not None:
        send_by = notice_due_date_before(effective_on, answered_on, policy)
    texts: dict[Language, str] = {}
    for language in LANGUAGES:
        texts[language] = _text(decision, decided_on, effective_on, language)
    return {
        "kind": kind,
        "effective_on": None if effective_on is None else effective_on.isoformat(),
        "send_by": send_by.isoformat(),
        "text": texts,
    }


def _first_day(
    decision: ReviewDecision, answered_on: datetime.date, policy: Policy
) -> datetime.date | None:
    """Return the first day of a limit below the one of today; None if it is not below."""
    if decision.limit >= decision.before:
        return None
    if decision.announced is None or decision.lowers:
        return effective_date(answered_on, policy)
    return decision.announced.first_day


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
    if decision.announced is not None:
        values["announced"] = number(decision.announced.limit, "CNY", language)
        values["day"] = day(decision.announced.first_day, language)
    opening = _OPENINGS[language][decision.asked_by]
    change = _CHANGES[language][_change(decision)].format(**values)
    if decision.use is not None:
        change += _BETWEEN[language] + _use(decision.use, language)
    paragraphs = (
        opening.format(
            decided_on=day(decided_on, language),
            account=getattr(decision.account, language),
        ),
        change,
        _REASONS[language].format(reasons=_reasons(decision, language)),
        _FURTHER_REVIEW[language],
    )
    return "\n\n".join(paragraphs)


def _use(use: Use, language: Language) -> str:
    name = use.name or _NEW_USE
    return _USE[language][use.after].format(new_use=getattr(name, language))


def _reasons(decision: ReviewDecision, language: Language) -> str:
    stated = decision.reasons
    if isinstance(stated, str):
        return stated
    return stated.en if language == "en" else stated.zh


def _change(decision: ReviewDecision) -> str:
    if decision.announced is not None and not decision.lowers:
        if decision.limit == decision.before:
            return "withdrawn" if decision.outcome == "overturn" else "stays"
        if decision.limit < decision.before:
            return "upheld" if decision.limit == decision.announced.limit else "amended"
    if decision.limit == decision.before:
        return "same"
    if decision.outcome == "overturn":
        return "restored"
    return "lowered" if decision.limit < decision.before else "raised"
