"""What an event leaves in force: a decision, or the outcome of a review."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from pydantic_core import to_json

from features.months import add_months
from serving.audit_log.entry import Entry, NewEntry
from serving.decision.policy.prior import Change, Prior, after, after_overturn
from serving.web.models import read_json

DECIDED_ON = "decided_on"  # in the metadata of an event: its day on the lender's clock
REVIEW_ON = "review_on"  # and the day of the next look; null = nothing is in force
# Of an outcome of a version that did not say when the account is looked at again.
_MONTHS_TO_NEXT_LOOK = 3
_DATES = tuple(one.name for one in fields(Prior) if "datetime.date" in str(one.type))
_AMOUNTS = tuple(one.name for one in fields(Prior) if one.type == "float")


@dataclass(frozen=True, slots=True)
class Decided:
    """The row of a decision with its bodies as JSON, each parsed once.

    ``answer`` is the decision: that of the endpoint ``advice`` is without the advice.
    """

    row: Entry
    request: Mapping[str, Any]
    answer: Mapping[str, Any]

    @classmethod
    def read(cls, row: Entry) -> Decided:
        """Parse the row of a decision that was not erased."""
        answer = read_json(row.response_body or b"{}")
        if row.metadata["door"] == "advice":
            answer = answer["decision"]
        return cls(row, read_json(row.request_body or b"{}"), answer)

    @property
    def prior(self) -> Prior | None:
        """What it was made with; None also in rows of versions without a memory."""
        return read_prior(self.request.get("prior"))

    @property
    def refers(self) -> bool:
        """Whether it refers the account to a person."""
        return bool(self.answer["action"] == "review")

    @property
    def balance(self) -> float:
        """What is owed on the last statement, CNY."""
        last = max(self.request["statements"], key=lambda statement: str(statement["month"]))
        return float(last["balance"])

    @property
    def change(self) -> Change:
        """What it put in force or looked at."""
        answer = self.answer
        on = decided_on(self.row)
        return Change(
            decision_id=self.row.entry_id,
            on=on,
            limit_before=float(answer["credit_limit"]),
            limit=float(answer["new_limit"]),
            effective_on=_day(answer["effective_on"]) or on,
            # Versions without the field had no memory: a suspension was in the action or nowhere.
            suspended=answer.get("suspended", answer["action"] == "suspend"),
            balance=self.balance,
            log_odds=answer["log_odds"],
            # Under review it is the last day for a person's decision.
            review_on=None if self.refers else _day(answer["review_on"]),
            refers=self.refers,
        )


def after_outcome(
    prior: Prior | None,
    outcome: Entry | NewEntry,
    decision: Decided,
    is_newest: bool,
) -> Prior | None:
    """What is in force after the outcome of a review.

    Args:
        prior: In force before it.
        outcome: The row of the outcome, stored or to be stored.
        decision: The reviewed decision.
        is_newest: Whether the account's newest event that is a decision is this one.
    """
    kind = outcome.metadata["outcome"]
    took_nothing = decision.answer["action"] in ("keep", "restore")
    if kind == "uphold" or (kind == "overturn" and took_nothing):
        return prior
    if kind == "overturn" and is_newest:
        before = decision.prior
        if decision.refers:
            # The referral itself is remembered: nobody is referred twice for one thing.
            before = after(before, decision.change)
        if before is not None:
            # Statements still show the limit of the decision. An earlier cut keeps its day.
            on = decided_on(outcome)
            kept = replace(before, in_force_from=max(before.in_force_from, on))
            if decision.refers:
                return kept
            return after_overturn(kept, on, decision.answer["log_odds"])
    change = outcome_change(prior, outcome, decision)
    if not is_newest and (prior is None or change.limit <= prior.limit_in_force):
        # Later decisions gave back as much already: a review never costs the customer anything.
        return prior
    is_suspended = prior is not None and prior.suspended
    if (change.limit, change.suspended) == (change.limit_before, is_suspended):
        return prior
    following = after(prior, change)
    if following is None or following.cuts:
        return following
    # A person has given back all of it, whether the outcome is called overturn or amend.
    return after_overturn(following, change.on, decision.answer["log_odds"])


def outcome_change(prior: Prior | None, outcome: Entry | NewEntry, decision: Decided) -> Change:
    """What the outcome of a review puts in force: another limit than ``prior`` has."""
    on = decided_on(outcome)
    before = decision.answer["credit_limit"] if prior is None else prior.limit_in_force
    notice = read_json(outcome.response_body or b"{}")
    if outcome.metadata["outcome"] == "overturn":
        limit = decision.answer["credit_limit"]
        suspended = decision.prior is not None and decision.prior.suspended
    else:
        limit = read_json(outcome.request_body or b"{}")["new_limit"]
        # Who is given more than the limit that was drawn may draw it.
        suspended = prior is not None and prior.suspended and limit <= prior.limit_in_force
    return Change(
        decision_id=outcome.entry_id,
        on=on,
        limit_before=float(before),
        limit=float(limit),
        effective_on=_day(notice.get("effective_on")) or on,
        suspended=suspended,
        balance=decision.balance,
        log_odds=decision.answer["log_odds"],
        review_on=_day(outcome.metadata.get(REVIEW_ON)) or add_months(on, _MONTHS_TO_NEXT_LOOK),
    )


def read_prior(stored: Mapping[str, Any] | None) -> Prior | None:
    """A prior from the JSON of a request's body, or of :func:`write_prior`."""
    if stored is None:
        return None
    values = dict(stored)
    for name in _DATES:
        text = values[name]
        if text is not None:
            values[name] = datetime.date.fromisoformat(text)
    for name in _AMOUNTS:
        # A whole number in JSON: the id of a decision depends on how it is written.
        values[name] = float(values[name])
    values["decisions"] = tuple(values["decisions"])
    return Prior(**values)


def write_prior(prior: Prior | None) -> bytes:
    """A prior as JSON, null for None: what :func:`read_prior` reads."""
    return to_json(prior)


def product_of(metadata: Mapping[str, Any]) -> str | None:
    """The product of a decision, by the metadata of its row; None = the row does not say it."""
    product: str | None = metadata.get("product")
    return product


def decided_on(row: Entry | NewEntry) -> datetime.date:
    """The day of an event on the lender's clock; in rows of earlier versions that of UTC."""
    return _day(row.metadata.get(DECIDED_ON)) or row.at.date()


def _day(text: str | None) -> datetime.date | None:
    return None if text is None else datetime.date.fromisoformat(text)
