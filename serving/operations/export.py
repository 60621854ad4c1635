"""The decisions of a period, for a supervisor and for `python -m training monitor`."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from serving.audit_log.entry import Entry
from serving.audit_log.reader import Reader
from serving.reviews.workflow import Review, decision_in, reviews_of
from serving.storage.timestamps import decode_time, encode_time

DECISIONS_PER_QUERY = 200


@dataclass(frozen=True, slots=True)
class ExportedReason:
    """A principal reason with its texts."""

    rank: int
    code: str
    cause: str
    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class ExportedReview:
    """A review in its present state."""

    review_id: str
    state: str
    opened_at: str
    decide_by: str
    resolved_at: str | None
    outcome: str | None
    limit: float | None


@dataclass(frozen=True, slots=True)
class ExportedRequest:
    """What the decision was made from; it identifies the customer."""

    account_id: str
    statements: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class ExportedDecision:
    """A decision, its notice and its reviews; docs/service/audit_log.md describes every field.

    The field names are those of the JSON lines. Erased values are None.
    """

    decision_id: str
    tenant: str
    decided_at: str
    as_of: str
    product: str
    action: str
    credit_limit: float | None
    new_limit: float | None
    suspended: bool | None
    limit_before_cut: float | None
    review_on: str | None
    prior: str | None
    probability: float | None
    reasons: tuple[ExportedReason, ...] | None
    model: str
    version: str
    bundle: str
    reference: str
    policy: str
    person: str | None  # the data subject's random id
    erased: bool
    send_by: str | None
    notified_at: str | None
    channel: str | None
    language: str | None
    notice_days: float | None  # from the decision to the notification
    reviews: tuple[ExportedReview, ...]
    # control = the model would cut, and the limit was left alone; treated = it was cut; None =
    # neither, as in rows of earlier versions
    arm: str | None = None
    asked: ExportedRequest | None = None  # None also if the export is without requests


def export(
    reader: Reader,
    since: str | None,
    until: str | None,
    tenant: str | None = None,
    with_request: bool = False,
) -> Iterator[ExportedDecision]:
    """The decisions of a period in order, with everything recorded about them until now.

    Args:
        reader: Of the audit log.
        since: From this time on, as text of ``encode_time``; None = from the first decision.
        until: Before this time; None = up to the last decision.
        tenant: Decisions of this tenant only.
        with_request: Include account and statements, which identify the customer.
    """
    decisions = reader.of_kind(("decision",), tenant, since, until)
    # Reviews and notifications are looked up for many decisions at once: one query each is slow.
    while some := list(islice(decisions, DECISIONS_PER_QUERY)):
        about = reader.about_all([decision.entry_id for decision in some])
        for decision in some:
            exported = _exported(about[decision.entry_id])
            yield replace(exported, asked=_request(decision)) if with_request else exported


def line(exported: ExportedDecision) -> str:
    """A decision as JSON on one line."""
    return json.dumps(asdict(exported), ensure_ascii=False, allow_nan=False)


def _exported(entries: Sequence[Entry]) -> ExportedDecision:
    decision = entries[0]
    metadata, model = decision.metadata, decision.metadata["model"]
    answer = {} if decision.response_body is None else decision_in(decision)
    notice = _first_notification(entries)
    return ExportedDecision(
        decision_id=decision.entry_id,
        tenant=decision.tenant,
        decided_at=metadata["decided_at"],
        as_of=metadata["as_of"],
        product=metadata["product"],
        action=metadata["action"],
        credit_limit=answer.get("credit_limit"),
        new_limit=answer.get("new_limit"),
        suspended=_suspended(answer),
        limit_before_cut=_limit_before_cut(answer),
        review_on=answer.get("review_on"),
        prior=metadata.get("prior"),
        probability=answer.get("probability"),
        reasons=tuple(_reason(reason) for reason in answer["reasons"]) if answer else None,
        model=model["name"],
        version=model["version"],
        bundle=model["bundle"],
        reference=model["reference"],
        policy=model["policy"],
        person=decision.data_subject,
        erased=decision.erased,
        send_by=metadata["send_by"],
        notified_at=notice.get("sent_at"),
        channel=notice.get("channel"),
        language=notice.get("language"),
        notice_days=_days_between(metadata["decided_at"], notice["sent_at"]) if notice else None,
        reviews=tuple(_review(review) for review in reviews_of(entries)),
        arm=metadata.get("arm"),
    )


def _suspended(answer: Mapping[str, Any]) -> bool | None:
    if not answer:
        return None
    # Versions without the field had no memory: a suspension was in the action or nowhere.
    return bool(answer.get("suspended", answer["action"] == "suspend"))


def _limit_before_cut(answer: Mapping[str, Any]) -> float | None:
    """The limit from before the first cut that was in force when it was decided."""
    prior = answer.get("prior")
    if prior is None or prior["first_cut_on"] is None:
        return None
    return float(prior["limit_before"])


def _first_notification(entries: Sequence[Entry]) -> dict[str, Any]:
    """The metadata of the first notification of a decision; empty if there is none.

    Notifications of a review's outcome are about another notice.
    """
    notifications = [
        dict(entry.metadata)
        for entry in entries
        if entry.kind == "notification" and entry.metadata.get("review_id") is None
    ]
    return min(notifications, key=lambda metadata: str(metadata["sent_at"]), default={})


def _request(decision: Entry) -> ExportedRequest | None:
    if decision.request_body is None:
        return None
    request = json.loads(decision.request_body)
    return ExportedRequest(request["account_id"], tuple(request["statements"]))


def _reason(reason: dict[str, Any]) -> ExportedReason:
    text = reason["text"]
    return ExportedReason(
        rank=reason["rank"],
        code=reason["code"],
        cause=reason["cause"],
        en=text["en"],
        zh=text["zh"],
    )


def _review(review: Review) -> ExportedReview:
    resolution = review.resolution
    return ExportedReview(
        review_id=review.review_id,
        state=review.state,
        opened_at=encode_time(review.opened_at),
        decide_by=review.decide_by.isoformat(),
        resolved_at=None if resolution is None else encode_time(resolution.at),
        outcome=None if resolution is None else resolution.outcome,
        limit=None if resolution is None else resolution.limit,
    )


def _days_between(decided_at: str, sent_at: str) -> float:
    """Days from the decision to the notification, rounded to 0.01."""
    passed = datetime.datetime.fromisoformat(sent_at) - decode_time(decided_at)
    return round(passed / datetime.timedelta(days=1), 2)
