"""Rows that change what is in force for an account, as the service appends them, made by hand."""

from __future__ import annotations

import datetime
import itertools
import json
from dataclasses import asdict
from typing import Any

from serving.audit_log.entry import NewEntry
from serving.decision.policy.prior import Prior
from tests.support.records import NOW

TODAY = NOW.date()
BALANCE = 1_000.0
_ids = itertools.count()


def decision(
    account: str,
    action: str,
    limits: tuple[float, float],
    prior: Prior | None = None,
    **fields: Any,
) -> NewEntry:
    """A decision with the limits before and after it, in CNY; ``keep`` has no notice.

    ``fields`` replace those of the answer, or of the row: ``tenant``, ``follows``, ``on``, ``due``.
    A row of an ``earlier_version`` does not say in readable form when the account is looked at.
    """
    earlier_version = fields.pop("earlier_version", False)
    on = fields.pop("on", TODAY)
    tenant, follows = fields.pop("tenant", "lender"), fields.pop("follows", None)
    due = fields.pop("due", None if action == "keep" else on)
    entry_id = f"decision-{next(_ids)}"
    review_on = fields.pop("review_on", on + datetime.timedelta(days=90))
    answer = {
        "decision_id": entry_id,
        "account_id": account,
        "action": action,
        "credit_limit": limits[0],
        "new_limit": limits[1],
        "suspended": action == "suspend",
        "effective_on": on.isoformat() if action in ("reduce", "suspend", "restore") else None,
        "review_on": None if due is None else review_on.isoformat(),
        "log_odds": -1.2345678901234567,
        **fields,
    }
    request = {
        "account_id": account,
        "statements": [
            {"month": "2026-10", "balance": BALANCE},
            {"month": "2026-09", "balance": 7.0},
        ],
        "prior": None if prior is None else asdict(prior),
    }
    metadata: dict[str, Any] = {"door": "decisions", "action": action}
    if not earlier_version:
        metadata["decided_on"] = on.isoformat()
        if due is not None:
            metadata["review_on"] = next_look(action, limits[1], prior, review_on)
    return NewEntry(
        entry_id=entry_id,
        kind="decision",
        subject=entry_id,
        tenant=tenant,
        caller="key-1",
        at=datetime.datetime.combine(on, NOW.timetz()),
        account=account,
        metadata=metadata,
        request_body=json.dumps(request, default=str).encode(),
        response_body=json.dumps(answer).encode(),
        due=due,
        follows=follows,
    )


def outcome(about: NewEntry, kind: str, new_limit: float | None = None, **fields: Any) -> NewEntry:
    """The outcome of a review of a decision: ``uphold``, ``overturn``, or ``amend`` to a limit.

    ``fields`` are of the row: ``review_on`` in its metadata, ``follows``, ``on``, ``due``; or of
    its notice: ``effective_on``.
    """
    on = fields.pop("on", TODAY)
    metadata = {"review": "review-1", "outcome": kind, "decided_on": on.isoformat()}
    if "review_on" in fields:
        metadata["review_on"] = fields["review_on"]
    notice = {"kind": "review_outcome", "effective_on": fields.get("effective_on")}
    entry_id = f"outcome-{next(_ids)}"
    return NewEntry(
        entry_id=entry_id,
        kind="resolution",
        subject=about.entry_id,
        tenant=about.tenant,
        caller="key-1",
        at=datetime.datetime.combine(on, NOW.timetz()),
        account=about.account,
        metadata=metadata,
        request_body=json.dumps({"new_limit": new_limit}).encode(),
        response_body=json.dumps(notice).encode(),
        due=fields.get("due", on),
        follows=fields.get("follows"),
    )


def next_look(
    action: str, limit: float, prior: Prior | None, review_on: datetime.date
) -> str | None:
    """The day of the next look after a decision with a notice; None = nothing is in force."""
    if action == "review":
        known = None if prior is None else prior.review_on
        return None if known is None else known.isoformat()
    if prior is not None and limit >= prior.limit_before:
        return None
    return review_on.isoformat()
