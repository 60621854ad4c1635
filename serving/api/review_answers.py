"""Rows of the audit log as answers: decisions, reviews, notifications and notices."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serving.audit_log.entry import Entry
from serving.reviews import due
from serving.reviews.workflow import (
    Resolution,
    Review,
    Withdrawal,
    decision_in,
    limit_of,
    notification_in,
    reviews_of,
)
from serving.schemas.decision import Answer, Statement
from serving.schemas.earlier_decision import AnswerBeforePriors, EarlierAnswer
from serving.schemas.lists import DecisionInBrief, DueAccount, ListedDecision
from serving.schemas.review import (
    Correction,
    DecisionAnswer,
    Difference,
    Due,
    NotificationNote,
    ResolutionNote,
    ReviewAnswer,
    WithdrawalNote,
)
from serving.schemas.statement import AS_STORED
from serving.storage.timestamps import encode_time

_COMPARED_FIELDS = ("action", "new_limit", "proposed_limit", "probability", "reasons")


def decision_answer(
    rows: Sequence[Entry], vector: Mapping[str, Any] | None = None
) -> DecisionAnswer:
    """Return a decision, its reviews and its notifications, from the rows about it.

    The decision has the full vector if it is given; one that was recorded with it has none
    otherwise, because whoever reads it may lack the scope.
    """
    recorded = decision_in(rows[0])
    recorded.pop("detail", None)
    if vector is not None:
        recorded["detail"] = vector
    return DecisionAnswer(
        decision=_answer(recorded),
        limit=limit_of(rows),
        reviews=[listed_review(review, rows) for review in reviews_of(rows)],
        notifications=[_notification(row) for row in rows if row.kind == "notification"],
    )


def listed_decision(row: Entry) -> ListedDecision:
    """Return a decision as the list of an account has it."""
    decision = decision_in(row)
    brief = {name: decision[name] for name in DecisionInBrief.model_fields}
    fields = {**brief, "product": row.metadata["product"], "send_by": row.metadata["send_by"]}
    return ListedDecision.model_validate_json(json.dumps(fields))


def whole_review(review: Review, rows: Sequence[Entry]) -> ReviewAnswer:
    """Return a review with the statements of its decision, for the person who answers it."""
    statements = []
    for statement in _statements(rows[0]):
        text = json.dumps(statement)
        statements.append(Statement.model_validate_json(text, context=AS_STORED))
    return listed_review(review, rows).model_copy(update={"statements": statements})


def listed_review(review: Review, rows: Sequence[Entry]) -> ReviewAnswer:
    """Return a review without the statements of its decision; `rows` are those about it."""
    decision = decision_in(rows[0])
    corrections = corrected = differences = None
    if review.statements is not None:
        corrections = list(_corrections(_statements(rows[0]), review.statements))
    if review.corrected is not None:
        corrected = _answer(review.corrected)
        differences = list(_differences(decision, review.corrected))
    return ReviewAnswer(
        review_id=review.review_id,
        decision_id=review.decision_id,
        account_id=decision["account_id"],
        status=review.state,
        asked_by=review.asked_by,
        opened_at=encode_time(review.opened_at),
        decide_by=review.decide_by,
        reason=review.reason,
        reviewer=review.reviewer,
        limit=limit_of(rows),
        statements=None,
        corrections=corrections,
        corrected=corrected,
        differences=differences,
        resolution=None if review.resolution is None else _resolution(review.resolution),
        withdrawal=None if review.withdrawal is None else _withdrawal(review.withdrawal),
    )


def due_notice(row: Entry, rows: Sequence[Entry], today: datetime.date) -> Due:
    """Return the notice of `row`, a decision or a review's outcome, that is not sent yet.

    `rows` are those about the decision; `today` is the day on the lender's clock.
    """
    decision = decision_in(rows[0])
    if row.kind == "decision":
        notice, decided_at = decision["notice"], decision["decided_at"]
    else:
        notice, decided_at = json.loads(row.response_body or b"{}"), encode_time(row.at)
    send_by = datetime.date.fromisoformat(notice["send_by"])
    return Due(
        notice_id=row.entry_id,
        decision_id=rows[0].entry_id,
        review_id=row.metadata.get("review"),
        account_id=decision["account_id"],
        kind=notice["kind"],
        action=decision["action"],
        decided_at=decided_at,
        send_by=send_by,
        overdue=send_by < today,
        limit=limit_of(rows),
    )


def due_account(one: due.DueAccount) -> DueAccount:
    """Return an account to decide on again."""
    return DueAccount(
        due_id=one.due_id,
        account_id=one.account_id,
        decision_id=one.decision_id,
        review_on=one.review_on,
        limit_before=one.prior.limit_before,
        limit_in_force=one.prior.limit_in_force,
        suspended=one.prior.suspended,
        under_review=one.under_review,
    )


# Stored values are validated as JSON: strict models refuse a date that is a Python string.


def _answer(stored: Mapping[str, Any]) -> Answer | AnswerBeforePriors | EarlierAnswer:
    model: type[Answer | AnswerBeforePriors | EarlierAnswer] = EarlierAnswer
    if "leaders" in stored:
        model = Answer if "prior" in stored else AnswerBeforePriors
    return model.model_validate_json(json.dumps(stored))


def _resolution(resolution: Resolution) -> ResolutionNote:
    fields = {
        "outcome": resolution.outcome,
        "limit": resolution.limit,
        "reviewer": resolution.reviewer,
        "reasons": resolution.reasons,
        "at": encode_time(resolution.at),
        "notice": resolution.notice,
    }
    return ResolutionNote.model_validate_json(json.dumps(fields))


def _withdrawal(withdrawal: Withdrawal) -> WithdrawalNote:
    return WithdrawalNote(
        reason=withdrawal.reason,
        at=encode_time(withdrawal.at),
        superseded_by=withdrawal.superseded_by,
    )


def _notification(row: Entry) -> NotificationNote:
    return NotificationNote(notification_id=row.entry_id, **notification_in(row))


def _statements(decision: Entry) -> list[dict[str, Any]]:
    statements: list[dict[str, Any]] = json.loads(decision.request_body or b"{}")["statements"]
    return statements


def _corrections(
    decided: Sequence[Mapping[str, Any]], corrected: Sequence[Mapping[str, Any]]
) -> Iterator[Correction]:
    """Yield the differences by month: fields, or the statement if one side lacks the month."""
    decided_by_month = {statement["month"]: statement for statement in decided}
    corrected_by_month = {statement["month"]: statement for statement in corrected}
    for month in sorted(decided_by_month.keys() | corrected_by_month.keys()):
        before, after = decided_by_month.get(month), corrected_by_month.get(month)
        if before is None or after is None:
            yield Correction(
                month=month,
                field="statement",
                decided=before,
                corrected=after,
            )
            continue
        for name in before:
            if before[name] != after[name]:
                yield Correction(
                    month=month,
                    field=name,
                    decided=before[name],
                    corrected=after[name],
                )


def _differences(decided: Mapping[str, Any], corrected: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the compared fields of two answers that differ."""
    for name in _COMPARED_FIELDS:
        before, after = _compared(decided, name), _compared(corrected, name)
        if before != after:
            yield Difference(field=name, decided=before, corrected=after)


def _compared(answer: Mapping[str, Any], name: str) -> Any:
    # Of the reasons the codes in order: texts and contributions differ with every statement.
    if name == "reasons":
        return [reason["code"] for reason in answer["reasons"]]
    return answer[name]
