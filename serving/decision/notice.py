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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from serving.decision.config.policy import Policy
from serving.decision.config.reasons import Language, Text, Wording
from serving.decision.config.template import template_of
from serving.decision.policy.dates import (
    cut_notice_due_date,
    hearing_notice_due_date,
    local_date,
    notice_due_date,
)
from serving.decision.policy.outcome import Action, Outcome
from serving.decision.reasons.ranking import Reason
from serving.decision.reasons.wording import day, number

Kind = Literal["adverse_action", "under_review", "restored", "still_reduced"]
_TAIL = 4  # characters of an account's id
LANGUAGES: tuple[Language, ...] = get_args(Language)
_KINDS: Mapping[Action, Kind] = {
    "reduce": "adverse_action",
    "suspend": "adverse_action",
    "restore": "restored",
    "review": "under_review",
    "keep": "still_reduced",
}
# What stands between the sentences of a paragraph.
_BETWEEN: Mapping[Language, str] = {"en": " ", "zh": ""}


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice to a customer: its text in paragraphs, and the last day to send it."""

    kind: Kind
    send_by: datetime.date
    text: Text


@dataclass(frozen=True, slots=True)
class AlsoKnown:
    """A fact that no reason tells; ``counted`` if it and its reason group pushed toward the cut."""

    text: Text
    counted: bool


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


def name_account(account_id: str, product: str, wording: Wording) -> Text:
    """What a notice calls an account: its product, and the last characters of its id.

    A customer may have several accounts, and a letter may not show the whole id.
    """
    template, products = wording.notice["account"], wording.products[product]
    tail = account_id[-_TAIL:]
    return Text(
        en=template_of(template.en).fill({"product": products.en, "account_tail": tail}),
        zh=template_of(template.zh).fill({"product": products.zh, "account_tail": tail}),
    )


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
    if outcome.action == "keep" and not outcome.looked:
        return None
    today = local_date(decided_at, policy)
    kind = _KINDS[outcome.action]
    send_by = _DUE_DATES[kind](today, policy)
    account = name_account(subject.account_id, subject.product, wording)
    texts = {}
    for language in LANGUAGES:
        values = _values(outcome, subject, today, wording, language)
        values["account"] = str(getattr(account, language))
        texts[language] = _text(outcome, subject, values, wording, language)
    return Notice(kind, send_by, Text(texts["en"], texts["zh"]))


_DUE_DATES: Mapping[Kind, Callable[[datetime.date, Policy], datetime.date]] = {
    "adverse_action": cut_notice_due_date,
    "under_review": hearing_notice_due_date,
    "restored": notice_due_date,
    "still_reduced": notice_due_date,
}
_RIGHTS: Mapping[Action, str] = {"review": "hearing", "restore": "rights_after_return"}


def _text(
    outcome: Outcome,
    subject: Subject,
    values: dict[str, str],
    wording: Wording,
    language: Language,
) -> str:
    """A paragraph each on the decision or proposal, the reasons, and the customer's rights."""
    parts = _Parts(wording.notice, language)
    proposal = ""
    if outcome.action == "review":
        proposal = _write(_with_why(_proposal(outcome), wording), parts, values)
    if "near_cut_off" in outcome.review_because:
        proposal += _BETWEEN[language] + parts["close"]
    overdue = ["overdue"] if subject.overdue and "overdue" in wording.notice else []
    values["proposal"] = proposal
    names = [*_sentences(outcome, subject, wording), *overdue]
    opening = _write(names, parts, values)
    main = [reason for reason in subject.reasons if reason.leader]
    further = [reason for reason in subject.reasons if not reason.leader]
    heading = "reasons_for_less" if _gives_less(outcome) else _heading("reason", main, wording)
    further_heading = _heading("further_reason", further, wording)
    paragraphs = (
        opening,
        _reasons(parts[heading], main, language),
        _reasons(parts[further_heading], further, language),
        *_also_known(subject, wording, language),
        "" if subject.since_last is None else str(getattr(subject.since_last, language)),
        _comparison(subject, wording, language),
        parts[_RIGHTS.get(outcome.action, "rights")],
    )
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _gives_less(outcome: Outcome) -> bool:
    """Whether the reasons say why a reduced limit is not higher."""
    is_look = outcome.action == "keep" and not outcome.suspended
    return is_look or outcome.action == "restore"


@dataclass(frozen=True, slots=True)
class _Parts:
    """The templates of a notice in one language."""

    texts: Mapping[str, Text]
    language: Language

    def __getitem__(self, name: str) -> str:
        return str(getattr(self.texts[name], self.language))


def _write(names: Sequence[str], parts: _Parts, values: Mapping[str, str]) -> str:
    """The sentences of these parts, filled in."""
    return _BETWEEN[parts.language].join([template_of(parts[name]).fill(values) for name in names])


def _reasons(template: str, reasons: Sequence[Reason], language: Language) -> str:
    """A heading with the sentences of reasons, numbered; "" without reasons.

    A reviewer may get a case without a reason in words.  A heading without sentences would look
    like a missing page.
    """
    sentences = [f"{reason.rank}. {getattr(reason.text, language)}" for reason in reasons]
    return template_of(template).fill({"reasons": "\n".join(sentences)}) if sentences else ""


def _heading(one: str, reasons: Sequence[Reason], wording: Wording) -> str:
    """The part above reasons: that of one reason, or that of several."""
    return one if len(reasons) == 1 and one in wording.notice else f"{one}s"


def _also_known(subject: Subject, wording: Wording, language: Language) -> list[str]:
    """A paragraph on the facts that counted less than the reasons, and one on the others."""
    paragraphs = []
    parts = {
        "also_counted": True,
        "also_known": False,
    }
    for part, counted in parts.items():
        facts = [fact.text for fact in subject.also_known if fact.counted == counted]
        told = _BETWEEN[language].join(str(getattr(text, language)) for text in facts)
        template = wording.notice.get(part, wording.notice["also_known"])
        paragraph = template_of(getattr(template, language))
        paragraphs.append(paragraph.fill({"fact": told}) if told else "")
    return paragraphs


def _comparison(subject: Subject, wording: Wording, language: Language) -> str:
    """Who the comparison accounts are; "" where no sentence speaks of them."""
    name = getattr(wording.comparison_name, language)
    speaks = any(name in getattr(reason.text, language) for reason in subject.reasons)
    if subject.comparison is None or not speaks:
        return ""
    return str(getattr(subject.comparison, language))


def _values(
    outcome: Outcome,
    subject: Subject,
    today: datetime.date,
    wording: Wording,
    language: Language,
) -> dict[str, str]:
    """The formatted facts of an outcome by placeholder, without the account and what is None."""
    dates = {
        "decided_on": today,
        "effective_on": outcome.effective_on,
        "review_on": outcome.review_on,
    }
    amounts = {
        "credit_limit": subject.credit_limit,
        "limit_before": subject.limit_before,
        "new_limit": outcome.new_limit,
        "proposed_limit": outcome.proposed_limit,
    }
    values = {name: day(date, language) for name, date in dates.items() if date is not None}
    for name, amount in amounts.items():
        if amount is not None:
            values[name] = number(amount, "CNY", language)
    if wording.new_use:
        values["new_use"] = str(getattr(wording.new_use[subject.product], language))
    return values


def _sentences(outcome: Outcome, subject: Subject, wording: Wording) -> list[str]:
    """The parts of the first paragraph."""
    if outcome.action == "restore":
        return _sentences_of_return(outcome, subject, wording)
    if outcome.action == "keep":
        still = "still_suspended" if outcome.suspended else "still_reduced"
        return [still, *_sentences_ahead(outcome, subject)]
    # A suspension leaves the limit as it is where nearly all of it is drawn.
    if outcome.action == "suspend" and outcome.new_limit != subject.credit_limit:
        return _with_why("suspend_and_reduce", wording)
    return [outcome.action]


def _with_why(part: str, wording: Wording) -> list[str]:
    """A part, and after a suspension that lowers the limit the part that says why it falls."""
    lowers = part in ("suspend_and_reduce", "propose_suspend_and_reduce")
    return [part, "why_less"] if lowers and "why_less" in wording.notice else [part]


def _sentences_of_return(outcome: Outcome, subject: Subject, wording: Wording) -> list[str]:
    is_raised = outcome.new_limit > subject.credit_limit
    opening = "raise"
    if outcome.lifts:
        opening = "allow_and_raise" if is_raised else "allow"
    if is_raised and outcome.new_limit >= subject.limit_before:
        return [opening, "whole_limit"]
    ahead = _sentences_ahead(outcome, subject)
    # Where a rule's cap holds the rest back, the reason of that rule says so.
    is_step = outcome.new_limit < subject.limit_before and not outcome.hits
    if is_step and "in_steps" in wording.notice:
        ahead.insert(ahead.index("limit_before") + 1, "in_steps")
    return [opening, *ahead]


def _sentences_ahead(outcome: Outcome, subject: Subject) -> list[str]:
    """The limit that is not back yet, and the next look."""
    parts = ["limit_before"] if outcome.new_limit < subject.limit_before else []
    return parts if outcome.review_on is None else [*parts, "next_look"]


def _proposal(outcome: Outcome) -> str:
    """The template of the proposal; under review ``new_limit`` is the present limit."""
    proposed = outcome.new_limit if outcome.proposed_limit is None else outcome.proposed_limit
    lower, higher = proposed < outcome.new_limit, proposed > outcome.new_limit
    if outcome.lifts:
        return "propose_allow_and_raise" if higher else "propose_allow"
    if higher:
        return "propose_raise"
    if outcome.suspends:
        return "propose_suspend_and_reduce" if lower else "propose_suspend"
    return "propose_reduce" if lower else "propose_nothing"
