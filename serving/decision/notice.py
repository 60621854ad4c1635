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
from operator import attrgetter
from typing import Any, Literal, TypeAlias, get_args

from serving.decision.config.policy import Policy
from serving.decision.config.quick_init import quick_init
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
_InLanguage: TypeAlias = Callable[[Text], str]
# A text in each language.
_OWN: Mapping[Language, _InLanguage] = {language: attrgetter(language) for language in LANGUAGES}
_Facts: TypeAlias = Mapping[str, tuple[Callable[[Any, Language], str], object]]
# What stands between the sentences of a paragraph.
_BETWEEN: Mapping[Language, str] = {"en": " ", "zh": ""}


@quick_init
@dataclass(frozen=True, slots=True)
class Notice:
    """A notice to a customer: its text in paragraphs, and the last day to send it."""

    kind: Kind
    send_by: datetime.date
    text: Text


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
    if not has_notice(outcome):
        return None
    today = local_date(decided_at, policy)
    kind = _KINDS[outcome.action]
    send_by = _DUE_DATES[kind](today, policy)
    parts = _choose_parts(outcome, subject, wording)
    facts = _facts(outcome, subject, today)
    account = name_account(subject.account_id, subject.product, wording)
    use = wording.new_use.get(subject.product)
    texts = {}
    for language, own in _OWN.items():
        values = _Values(facts, language)
        values["account"] = own(account)
        if use is not None:
            values["new_use"] = own(use)
        texts[language] = _text(parts, subject, values, wording, language)
    return Notice(kind, send_by, Text(texts["en"], texts["zh"]))


class _Values(dict[str, str]):
    """The facts of a notice in one language, each written when a text has a place for it."""

    def __init__(self, facts: _Facts, language: Language) -> None:
        super().__init__()
        self._facts = facts
        self._language = language

    def __missing__(self, name: str) -> str:
        write, fact = self._facts[name]
        if fact is None:
            raise KeyError(name)
        written = self[name] = write(fact, self._language)
        return written


def has_notice(outcome: Outcome) -> bool:
    """Whether the customer is told of an outcome."""
    return outcome.action != "keep" or outcome.looked


_DUE_DATES: Mapping[Kind, Callable[[datetime.date, Policy], datetime.date]] = {
    "adverse_action": cut_notice_due_date,
    "under_review": hearing_notice_due_date,
    "restored": notice_due_date,
    "still_reduced": notice_due_date,
}
_RIGHTS: Mapping[Action, str] = {"review": "hearing", "restore": "rights_after_return"}


@quick_init
@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a notice, the same in each language, by name.

    ``headings`` stand above the reasons after them.  ``also_known`` are paragraphs, each with the
    facts that it tells.
    """

    opening: Sequence[str]
    proposal: Sequence[str]
    is_close: bool
    headings: Sequence[tuple[str, Sequence[Reason]]]
    also_known: Sequence[tuple[str, Sequence[Text]]]
    rights: str


def _choose_parts(outcome: Outcome, subject: Subject, wording: Wording) -> _Parts:
    overdue = ["overdue"] if subject.overdue and "overdue" in wording.notice else []
    main = [reason for reason in subject.reasons if reason.leader]
    further = [reason for reason in subject.reasons if not reason.leader]
    heading = "reasons_for_less" if _gives_less(outcome) else _heading("reason", main, wording)
    proposal = []
    if outcome.action == "review":
        proposal = _with_why(_proposal(outcome), wording)
    return _Parts(
        opening=[*_sentences(outcome, subject, wording), *overdue],
        proposal=proposal,
        is_close="near_cut_off" in outcome.review_because,
        headings=[
            (heading, main),
            (_heading("further_reason", further, wording), further),
        ],
        also_known=_also_known(subject, wording) if subject.also_known else (),
        rights=_RIGHTS.get(outcome.action, "rights"),
    )


def _text(
    parts: _Parts,
    subject: Subject,
    values: _Values,
    wording: Wording,
    language: Language,
) -> str:
    """A paragraph each on the decision or proposal, the reasons, and the customer's rights."""
    own, between = _OWN[language], _BETWEEN[language]
    templates = wording.notice

    def write(names: Sequence[str]) -> str:
        return between.join([template_of(own(templates[name])).fill(values) for name in names])

    values["proposal"] = write(parts.proposal)
    if parts.is_close:
        values["proposal"] += between + own(templates["close"])
    paragraphs = [write(parts.opening)]
    for heading, reasons in parts.headings:
        if reasons:  # a heading without sentences would look like a missing page
            paragraphs.append(_reasons(own(templates[heading]), reasons, own))
    for part, facts in parts.also_known:
        told = between.join(map(own, facts))
        paragraphs.append(template_of(own(templates[part])).fill({"fact": told}))
    if subject.since_last is not None:
        paragraphs.append(own(subject.since_last))
    paragraphs.append(_comparison(subject, wording, own))
    paragraphs.append(own(templates[parts.rights]))
    return "\n\n".join(filter(None, paragraphs))


def _gives_less(outcome: Outcome) -> bool:
    """Whether the reasons say why a reduced limit is not higher."""
    is_look = outcome.action == "keep" and not outcome.suspended
    return is_look or outcome.action == "restore"


def _reasons(template: str, reasons: Sequence[Reason], own: _InLanguage) -> str:
    """A heading with the sentences of reasons, numbered."""
    sentences = [f"{reason.rank}. {own(reason.text)}" for reason in reasons]
    return template_of(template).fill({"reasons": "\n".join(sentences)})


def _heading(one: str, reasons: Sequence[Reason], wording: Wording) -> str:
    """The part above reasons: that of one reason, or that of several."""
    return one if len(reasons) == 1 and one in wording.notice else f"{one}s"


def _also_known(subject: Subject, wording: Wording) -> list[tuple[str, Sequence[Text]]]:
    """The part of the facts that counted less than the reasons, and that of the others."""
    paragraphs: list[tuple[str, Sequence[Text]]] = []
    for part, counted in (("also_counted", True), ("also_known", False)):
        facts = [fact.text for fact in subject.also_known if fact.counted == counted]
        if facts:
            paragraphs.append((part if part in wording.notice else "also_known", facts))
    return paragraphs


def _comparison(subject: Subject, wording: Wording, own: _InLanguage) -> str:
    """Who the comparison accounts are; "" where no sentence speaks of them."""
    if subject.comparison is None:
        return ""
    name = own(wording.comparison_name)
    speaks = any(name in own(reason.text) for reason in subject.reasons)
    return own(subject.comparison) if speaks else ""


def _facts(outcome: Outcome, subject: Subject, today: datetime.date) -> _Facts:
    """What a notice may state of an outcome: how it is written, and what."""
    return {
        "decided_on": (day, today),
        "effective_on": (day, outcome.effective_on),
        "review_on": (day, outcome.review_on),
        "credit_limit": (_amount, subject.credit_limit),
        "limit_before": (_amount, subject.limit_before),
        "new_limit": (_amount, outcome.new_limit),
        "proposed_limit": (_amount, outcome.proposed_limit),
    }


def _amount(amount: float, language: Language) -> str:
    return number(amount, "CNY", language)


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
