"""The decisions of a period as a supervisor reads them: one JSON object each, and nothing that
tells who it is.

The lender itself, who watches whether what is asked still is what the model was fitted on, can have
what was asked beside it.

docs/service/audit_log.md says what each field means.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from serving.audit_log.entry import Entry
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.reader import Reader
from serving.reviews.workflow import Review, decision_in, reviews_of
from serving.storage.database import Database
from serving.storage.timestamps import decode_time, encode_time

_TOGETHER = 200  # decisions whose reviews and notifications are looked up at once


@dataclass(frozen=True, slots=True)
class ExportedReason:
    """A principal reason, as it was worded."""

    rank: int
    code: str
    cause: str
    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class ExportedReview:
    """A person's reconsideration, as it stands."""

    review_id: str
    state: str
    opened_at: str
    decide_by: str
    resolved_at: str | None
    outcome: str | None
    limit: float | None


@dataclass(frozen=True, slots=True)
class ExportedAsked:
    """What was decided from, as it was asked: it tells who it is."""

    account_id: str
    statements: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """A decision, what the customer was told and when, and what came of it.  None in what was
    erased with the person.

    ``asked`` is None also where it was not asked for.
    """

    decision_id: str
    tenant: str
    decided_at: str
    as_of: str
    product: str
    action: str
    credit_limit: float | None
    new_limit: float | None
    probability: float | None
    reasons: tuple[ExportedReason, ...] | None
    model: str
    version: str
    bundle: str
    reference: str
    policy: str
    person: str | None
    erased: bool
    send_by: str | None
    notified_at: str | None
    channel: str | None
    language: str | None
    notice_days: float | None
    reviews: tuple[ExportedReview, ...]
    asked: ExportedAsked | None = None


def export(
    database: Database,
    secrets: Secrets,
    since: str | None,
    until: str | None,
    tenant: str | None = None,
    with_asked: bool = False,
) -> Iterator[Exported]:
    """The decisions of ``since`` <= time < ``until`` in their order, with all that was recorded
    about them to this day.

    ``with_asked``: the account and its statements too, which tell who it is.
    """
    reader = Reader(database, secrets)
    decisions = reader.of_kind(("decision",), tenant, since, until)
    while some := list(islice(decisions, _TOGETHER)):
        about = reader.about_all([decision.entry_id for decision in some])
        for decision in some:
            one = _exported(about[decision.entry_id])
            yield replace(one, asked=_asked(decision)) if with_asked else one


def line(exported: Exported) -> str:
    """The JSON of a decision, on one line."""
    return json.dumps(asdict(exported), ensure_ascii=False, allow_nan=False)


def _exported(rows: Sequence[Entry]) -> Exported:
    decision = rows[0]
    facts, model = decision.metadata, decision.metadata["model"]
    answer = None if decision.response_body is None else decision_in(decision)
    # Of the decision itself: what was told of a review's outcome is another notice.
    of_it = [
        row for row in rows if row.kind == "notification" and row.metadata.get("review_id") is None
    ]
    told = min(of_it, key=lambda row: str(row.metadata["sent_at"]), default=None)
    return Exported(
        decision_id=decision.entry_id,
        tenant=decision.tenant,
        decided_at=facts["decided_at"],
        as_of=facts["as_of"],
        product=facts["product"],
        action=facts["action"],
        credit_limit=None if answer is None else answer["credit_limit"],
        new_limit=None if answer is None else answer["new_limit"],
        probability=None if answer is None else answer["probability"],
        reasons=None if answer is None else tuple(_reason(reason) for reason in answer["reasons"]),
        model=model["name"],
        version=model["version"],
        bundle=model["bundle"],
        reference=model["reference"],
        policy=model["policy"],
        person=decision.data_subject,
        erased=decision.erased,
        send_by=facts["send_by"],
        notified_at=None if told is None else told.metadata["sent_at"],
        channel=None if told is None else told.metadata["channel"],
        language=None if told is None else told.metadata["language"],
        notice_days=None
        if told is None
        else _days(decode_time(facts["decided_at"]), told.metadata["sent_at"]),
        reviews=tuple(_review(review) for review in reviews_of(rows)),
    )


def _asked(decision: Entry) -> ExportedAsked | None:
    if decision.request_body is None:
        return None
    request = json.loads(decision.request_body)
    return ExportedAsked(request["account_id"], tuple(request["statements"]))


def _reason(reason: dict[str, Any]) -> ExportedReason:
    return ExportedReason(
        reason["rank"], reason["code"], reason["cause"], reason["text"]["en"], reason["text"]["zh"]
    )


def _review(review: Review) -> ExportedReview:
    ended = review.resolution
    return ExportedReview(
        review_id=review.review_id,
        state=review.state,
        opened_at=encode_time(review.opened_at),
        decide_by=review.decide_by.isoformat(),
        resolved_at=None if ended is None else encode_time(ended.at),
        outcome=None if ended is None else ended.outcome,
        limit=None if ended is None else ended.limit,
    )


def _days(decided_at: datetime.datetime, sent_at: str) -> float:
    """From the decision until the customer was told, in days to the hundredth."""
    return round(
        (datetime.datetime.fromisoformat(sent_at) - decided_at) / datetime.timedelta(days=1), 2
    )
