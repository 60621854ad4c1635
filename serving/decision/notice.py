"""The notice of a decision: what the customer is told of it, and by when.

An individual cut is adverse action (12 CFR 1002.9(a)(1)(iii) and (a)(2)): the customer is told in
writing, within 30 days, what was decided and the specific principal reasons.  A decision made by
automation alone may be refused and must be explained on request (PIPL article 24): the notice says
so.  Under review nothing is decided yet, and the customer can be heard.

Nothing is computed here: the sentences are those of the reasons, the templates those of
reasons.toml.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from serving.decision.config.policy import Policy
from serving.decision.config.reasons import Language, Text, Wording
from serving.decision.policy.dates import local_date
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
    """What the customer is told: ``text`` in paragraphs, sent by ``send_by`` at the latest, on the
    lender's clock.
    """

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
    """The notice of an outcome with its principal reasons; null where the limit stays and nobody
    reviews it.

    ``credit_limit`` is the one before the decision, CNY.  ValueError for a ``decided_at`` without a
    zone.
    """
    if outcome.action == "keep":
        return None
    today = local_date(decided_at, policy)
    send_by = today + datetime.timedelta(days=policy.dates.notice_within_days)
    en, zh = (
        _text(outcome, reasons, _values(outcome, credit_limit, today, language), wording, language)
        for language in LANGUAGES
    )
    return Notice(_KINDS[outcome.action], send_by, Text(en, zh))


def _text(
    outcome: Outcome,
    reasons: Sequence[Reason],
    values: Mapping[str, str],
    wording: Wording,
    language: Language,
) -> str:
    """What was decided or is proposed, why, and what the customer can do: a paragraph each."""
    parts = {name: str(getattr(part, language)) for name, part in wording.notice.items()}
    sentences = "\n".join(f"{reason.rank}. {getattr(reason.text, language)}" for reason in reasons)
    reviewed = outcome.action == "review"
    proposal = parts[_proposal(outcome)].format(**values) if reviewed else ""
    paragraphs = (
        parts[outcome.action].format(proposal=proposal, **values),
        # A person may be asked about what no sentence states; a heading above nothing would look
        # like a page lost.
        parts["reasons"].format(reasons=sentences) if sentences else "",
        parts["hearing" if reviewed else "rights"],
    )
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _values(
    outcome: Outcome, credit_limit: float, today: datetime.date, language: Language
) -> dict[str, str]:
    """The dates and amounts that there are, as the customer reads them, by placeholder."""
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
    said = {name: day(date, language) for name, date in dates.items() if date is not None}
    return said | {
        name: number(amount, "CNY", language)
        for name, amount in amounts.items()
        if amount is not None
    }


def _proposal(outcome: Outcome) -> str:
    """The part that says what a person is asked to confirm; under review the limit in force is the
    one before.
    """
    if outcome.suspends:
        return "propose_suspend"
    lower = outcome.proposed_limit is not None and outcome.proposed_limit < outcome.new_limit
    return "propose_reduce" if lower else "propose_nothing"
