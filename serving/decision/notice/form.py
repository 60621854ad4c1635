"""The texts of a notice, put together once, and the words that differ between accounts.

Notices with the same parts differ in a dozen words and the sentences of their reasons.  So their
texts are put together once, in both languages, and each notice fills one template.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeAlias

from serving.decision.config.reasons import Language, Text, Wording
from serving.decision.config.template import (
    InBoth,
    Template,
    TemplateInBoth,
    join,
    literal,
    placeholder,
    template_of,
)
from serving.decision.notice.parts import Parts, choose_parts
from serving.decision.notice.subject import Case
from serving.decision.reasons.wording import day_in_both, number_in_both

Word: TypeAlias = Callable[[Case], InBoth]
_TAIL = 4  # characters of an account's id
# A text in each language.
_OWN: Mapping[Language, Callable[[Text], str]] = {"en": attrgetter("en"), "zh": attrgetter("zh")}
# What stands between the sentences of a paragraph.
_BETWEEN: Mapping[Language, str] = {"en": " ", "zh": ""}


def name_account(account_id: str, product: str, wording: Wording) -> Text:
    """What a notice calls an account: its product, and the last characters of its id.

    A customer may have several accounts, and a letter may not show the whole id.
    """
    name, template = wording.products[product], wording.notice["account"]
    tail, _ = _tail(account_id)
    return Text(
        en=template_of(template.en).fill({"product": name.en, "account_tail": tail}),
        zh=template_of(template.zh).fill({"product": name.zh, "account_tail": tail}),
    )


def write(case: Case, wording: Wording) -> Text:
    """The text of a notice in both languages, in paragraphs."""
    form = _form_of(choose_parts(case.outcome, case.subject, wording), wording)
    return Text(*form.template.fill([word(case) for word in form.words]))


@dataclass(frozen=True, slots=True)
class _Form:
    """The template of all notices with the same parts, with the word of each of its ``names``."""

    template: TemplateInBoth
    words: tuple[Word, ...]


# By the identity of a wording, which is kept with its forms.
_MOST_WORDINGS = 8  # a process decides by a few
_FORMS: dict[int, tuple[Wording, dict[Parts, _Form]]] = {}


def _form_of(parts: Parts, wording: Wording) -> _Form:
    """The form of these parts, made once for each wording."""
    kept = _FORMS.get(id(wording))
    if kept is None:
        if len(_FORMS) >= _MOST_WORDINGS:
            _FORMS.clear()
        kept = _FORMS[id(wording)] = wording, {}
    forms = kept[1]
    form = forms.get(parts)
    if form is None:
        form = forms[parts] = _make_form(parts, wording)
    return form


def _make_form(parts: Parts, wording: Wording) -> _Form:
    template = TemplateInBoth(
        _put_together(parts, wording, "en", parts.compares[0]),
        _put_together(parts, wording, "zh", parts.compares[1]),
    )
    return _Form(template, tuple(map(_WORDS.__getitem__, template.names)))


def _put_together(
    parts: Parts,
    wording: Wording,
    language: Language,
    compares: bool,
) -> Template:
    """A paragraph each on the decision or proposal, the reasons, and the customer's rights."""
    own, between = _OWN[language], _BETWEEN[language]

    def template(part: str) -> Template:
        return template_of(own(wording.notice[part]))

    paragraphs = [join(map(template, parts.opening), between)]
    for slot, heading in (("main", parts.main), ("further", parts.further)):
        if heading is not None:  # one without sentences would look like a missing page
            paragraphs.append(template(heading).put({"reasons": placeholder(slot)}))
    for slot, part in parts.also_known:
        paragraphs.append(template(part).put({"fact": placeholder(slot)}))
    if parts.tells_change:
        paragraphs.append(placeholder("since_last"))
    if compares:
        paragraphs.append(placeholder("comparison"))
    paragraphs.append(template(parts.rights))
    account = {"product": literal(own(wording.products[parts.product]))}
    known = {"account": template("account").put(account)}
    if parts.product in wording.new_use:
        known["new_use"] = literal(own(wording.new_use[parts.product]))
    proposal = join(map(template, parts.proposal), between)
    return join(paragraphs, "\n\n").put({"proposal": proposal}).put(known)


def _tail(account_id: str) -> InBoth:
    tail = account_id[-_TAIL:]
    return tail, tail


def _day(date: datetime.date | None) -> InBoth:
    if date is None:
        raise ValueError("expected the day that the notice states, got none")
    return day_in_both(date)


def _amount(amount: float | None) -> InBoth:
    if amount is None:
        raise ValueError("expected the amount that the notice states, got none")
    return number_in_both(amount, "CNY")


def _reasons(case: Case, *, main: bool) -> InBoth:
    """The sentences of the main or of the further reasons, numbered."""
    reasons = [reason for reason in case.subject.reasons if reason.leader == main]
    return (
        "\n".join([f"{reason.rank}. {reason.text.en}" for reason in reasons]),
        "\n".join([f"{reason.rank}. {reason.text.zh}" for reason in reasons]),
    )


def _known_facts(case: Case, *, counted: bool) -> InBoth:
    facts = [fact.text for fact in case.subject.also_known if fact.counted == counted]
    return (
        _BETWEEN["en"].join([fact.en for fact in facts]),
        _BETWEEN["zh"].join([fact.zh for fact in facts]),
    )


def _text(text: Text | None) -> InBoth:
    if text is None:
        raise ValueError("expected the text that the notice states, got none")
    return text.en, text.zh


_WORDS: Mapping[str, Word] = {
    "account_tail": lambda case: _tail(case.subject.account_id),
    "decided_on": lambda case: _day(case.today),
    "effective_on": lambda case: _day(case.outcome.effective_on),
    "review_on": lambda case: _day(case.outcome.review_on),
    "credit_limit": lambda case: _amount(case.subject.credit_limit),
    "limit_before": lambda case: _amount(case.subject.limit_before),
    "new_limit": lambda case: _amount(case.outcome.new_limit),
    "proposed_limit": lambda case: _amount(case.outcome.proposed_limit),
    "main": lambda case: _reasons(case, main=True),
    "further": lambda case: _reasons(case, main=False),
    "also_counted": lambda case: _known_facts(case, counted=True),
    "also_known": lambda case: _known_facts(case, counted=False),
    "since_last": lambda case: _text(case.subject.since_last),
    "comparison": lambda case: _text(case.subject.comparison),
}
