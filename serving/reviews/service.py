"""The steps after a decision: reviews are opened, taken, withdrawn, resolved; customers notified.

Each step is a row of the audit log, of one tenant.
"""

from __future__ import annotations

import datetime
import functools
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from features.schema import StatementError
from serving.audit_log.entry import Entry, Kind, NewEntry
from serving.audit_log.errors import Duplicate, Outdated
from serving.audit_log.log import AuditLog
from serving.audit_log.memory import DECIDED_ON, Memory
from serving.auth.request_context import RequestContext
from serving.decision.bundle import Bundle
from serving.decision.ids import UNKEYED
from serving.decision.notice import name_account
from serving.decision.policy.dates import local_date
from serving.decision.policy.prior import PriorError
from serving.reviews.errors import conflict, invalid
from serving.reviews.in_force import (
    announced_limit,
    limit_on,
    resolved_limit,
    use_after,
    with_next_look,
)
from serving.reviews.notice import ReviewDecision, outcome_notice
from serving.reviews.past_decision import AnswerAgain, earlier_of, full_vector_of, past_bundle
from serving.reviews.queries import ReviewQueries
from serving.reviews.reviewer import (
    actor_metadata,
    check_may_answer,
    is_same_person,
    reviewer_name,
)
from serving.reviews.workflow import (
    DAYS_TO_DECIDE,
    STEPS,
    Review,
    decision_in,
    notification_in,
    notification_key,
    review_key,
    reviews_of,
    step_key,
)
from serving.schemas.base import ApiRequest, parse
from serving.schemas.decision import Request
from serving.schemas.review import (
    STATES,
    NotificationRequest,
    ResolutionRequest,
    ReviewRequest,
    StartRequest,
    State,
    WithdrawalRequest,
)
from serving.storage.bundles.held import HeldBundles
from serving.web.errors import statement_error
from serving.web.work_pool import WorkPool


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of a review that its state allows; `rows` are those about the decision."""

    kind: Kind
    review: Review
    rows: Sequence[Entry]
    context: RequestContext
    at: datetime.datetime

    def entry(self, body: ApiRequest, metadata: Mapping[str, Any] | None = None) -> NewEntry:
        """Return the row of the step, with the body of its request."""
        return replace(
            _new_entry(self.kind, self.rows[0], self.context, self.at),
            metadata={
                "review": self.review.review_id,
                **actor_metadata(self.context.caller),
                **(metadata or {}),
            },
            request_body=body.model_dump_json().encode(),
            unique_key=step_key(self.review),
        )


class Reviews:
    """Reviews of the decisions in one audit log.

    `bundles` has the one that decides now, and earlier ones; a bundle alone decides now.
    `answer_again` decides on corrected statements, on a thread of `pool`. `queries` reads.
    """

    def __init__(
        self,
        bundles: HeldBundles | Bundle,
        audit_log: AuditLog,
        answer_again: AnswerAgain,
        pool: WorkPool | None = None,
    ) -> None:
        self._pool = WorkPool() if pool is None else pool
        self._bundles, self._audit_log = HeldBundles.of(bundles), audit_log
        self._answer_again = answer_again
        self.queries = ReviewQueries(self._bundles, audit_log)

    async def open(self, decision_id: str, body: ReviewRequest, context: RequestContext) -> str:
        """Open a customer's review and return its id; it replaces one that the policy opened.

        Raises ApiError (409) if another review of the customer is not answered yet.
        """
        rows = await self.queries.about(decision_id, context.caller)
        now, review_id = datetime.datetime.now(datetime.UTC), str(uuid.uuid4())
        corrected: bytes | None = None
        if body.statements is not None:
            decide = functools.partial(self._decide_again, rows[0], body, now)
            corrected = await self._pool.run(context.caller.key_id, 1.0, decide)
        earlier = reviews_of(rows)
        days = datetime.timedelta(days=DAYS_TO_DECIDE)
        decide_by = local_date(now, self._bundles.active.policy) + days
        by = actor_metadata(context.caller)
        entries: list[NewEntry] = []
        for review in (review for review in earlier if review.under_way):
            if review.asked_by == "customer":
                raise conflict(
                    f"a review of this decision is {_in_words(review.state)} already: "
                    f"{review.review_id}"
                )
            entries.append(
                replace(
                    _new_entry("withdrawal", rows[0], context, now),
                    metadata={"review": review.review_id, "superseded_by": review_id, **by},
                    unique_key=step_key(review),
                )
            )
            decide_by = min(decide_by, review.decide_by)
        opened = replace(
            _new_entry("review", rows[0], context, now),
            entry_id=review_id,
            metadata={
                "decide_by": decide_by.isoformat(),
                "corrected": corrected is not None,
                "asked_by": "customer",
                **by,
            },
            request_body=body.model_dump_json().encode(),
            response_body=corrected,
            unique_key=review_key(decision_id, earlier),
        )
        taken = "another review was opened just now: look at the decision again"
        await self._append([*entries, opened], context, taken)
        return review_id

    async def start(self, review_id: str, body: StartRequest, context: RequestContext) -> None:
        """Give a review to the key's owner, or to another person than before.

        Raises ApiError: 409 if another person has taken it, 403 if the caller may not answer it.
        """
        step = await self._step("started", review_id, context)
        check_may_answer(step.review, step.rows, context.caller)
        taken_by = reviewer_name(context.caller, body.reviewer)
        if not is_same_person(step.review.reviewer, body.instead_of):
            raise conflict(_why_not_taken(step.review.reviewer, taken_by, body.instead_of))
        recorded = body.model_copy(update={"reviewer": taken_by})
        await self._append_step(step.entry(recorded), context)

    async def withdraw(
        self, review_id: str, body: WithdrawalRequest, context: RequestContext
    ) -> None:
        """Withdraw a customer's review.

        Raises ApiError (409) if it has ended, or if the policy opened it.
        """
        step = await self._step("withdrawal", review_id, context)
        if step.review.asked_by == "policy":
            raise conflict("the policy asked for this review, and a person has to answer it")
        await self._append_step(step.entry(body), context)

    async def resolve(
        self, review_id: str, body: ResolutionRequest, context: RequestContext
    ) -> None:
        """Store a person's answer to a review, with its notice to the customer.

        Raises ApiError: 409 if another person has taken the review, 403 if the caller may not
        answer it, 422 if the outcome or the new limit does not fit the decision.
        """
        step = await self._step("resolution", review_id, context)
        check_may_answer(step.review, step.rows, context.caller)
        reviewer = reviewer_name(context.caller, body.reviewer)
        if not is_same_person(step.review.reviewer, reviewer):
            raise conflict(
                "another person has taken it: "
                "to take it over, start it again and say instead_of whom"
            )
        present = self._bundles.active
        policy = present.policy
        decision = step.rows[0]
        account_id = decision_in(decision)["account_id"]
        memory = await self._recall(account_id, context)
        decided_on, answered_on = local_date(decision.at, policy), local_date(step.at, policy)
        facts = {"outcome": body.outcome, DECIDED_ON: answered_on.isoformat()}
        entry = step.entry(body.model_copy(update={"reviewer": reviewer}), facts)
        outcome = ReviewDecision(
            account=name_account(account_id, decision.metadata["product"], present.wording),
            asked_by=step.review.asked_by,
            outcome=body.outcome,
            before=limit_on(answered_on, step.rows, memory),
            limit=resolved_limit(body, step.rows, memory),
            reasons=body.reasons,
            announced=announced_limit(answered_on, step.rows, memory),
            use=use_after(entry, decision, memory, present.wording),
        )
        notice = outcome_notice(outcome, decided_on, answered_on, policy)
        answered = replace(
            entry,
            response_body=json.dumps(notice, ensure_ascii=False).encode(),
            due=datetime.date.fromisoformat(notice["send_by"]),
            follows=memory.newest_event,
        )
        await self._append_step(with_next_look(answered, decision, memory, policy), context)

    async def record_notification(
        self, decision_id: str, body: NotificationRequest, context: RequestContext
    ) -> str:
        """Store that the customer was notified of a decision or of an outcome; the row's id.

        Raises ApiError: 409 if there was nothing to notify of, or the same is stored already; 422
        if the time of it is impossible.
        """
        rows = await self.queries.about(decision_id, context.caller)
        subject = rows[0] if body.review_id is None else _resolution_row(rows, body.review_id)
        if subject.due is None:
            raise conflict("there is nothing to tell of this decision: the limit was kept")
        now = datetime.datetime.now(datetime.UTC)
        _check_sent_at(body, subject.at, now)
        metadata = {
            "sent_at": body.sent_at,
            "channel": body.channel,
            "language": body.language,
            "review_id": body.review_id,
        }
        earlier = [
            row
            for row in rows
            if row.kind == "notification" and row.metadata.get("review_id") == body.review_id
        ]
        for row in earlier:
            if notification_in(row) == metadata:
                raise conflict(f"the same notification is recorded already: {row.entry_id}")
        entry = replace(
            _new_entry("notification", rows[0], context, now),
            metadata=metadata,
            unique_key=notification_key(subject.entry_id, len(earlier)),
        )
        taken = "another notification was recorded just now: look at the decision again"
        await self._append([entry], context, taken)
        return entry.entry_id

    async def read_full_vector(
        self, decision: Entry, earlier: Entry | None, context: RequestContext
    ) -> dict[str, Any]:
        """Return :meth:`full_vector`, made off the event loop: an old bundle takes a second."""
        make = functools.partial(self.full_vector, decision, earlier)
        return await self._pool.run(context.caller.key_id, 1.0, make)

    def full_vector(self, decision: Entry, earlier: Entry | None = None) -> dict[str, Any]:
        """Return the full vector of a decision as JSON; `earlier` is what it was made with.

        Raises ApiError (409) if the bundle that decided is not there, or scores differently today.
        """
        # A row of an earlier version has an id without a key.
        id_keys = (self._audit_log.secrets.id_key, UNKEYED)
        return full_vector_of(
            decision,
            self._bundles,
            self._answer_again,
            id_keys,
            earlier_of(earlier),
        )

    def _decide_again(self, decision: Entry, body: ReviewRequest, now: datetime.datetime) -> bytes:
        """Return the answer on the corrected statements, by the bundle that decided first."""
        bundle = past_bundle(decision, self._bundles)
        statements = [statement.model_dump() for statement in body.statements or ()]
        original = json.loads(decision.request_body or b"{}")
        as_of = max(statement["month"] for statement in original["statements"])
        if max(statement["month"] for statement in statements) != as_of:
            raise invalid(
                "statements",
                "expected statements up to the month that was decided on, and none later",
            )
        # With the prior of the decision: what was in force then did not depend on the statements.
        same = ("account_id", "product", "currency", "prior")
        fields = {name: original[name] for name in same if name in original}
        request = parse(Request, json.dumps({**fields, "statements": statements}).encode())
        try:
            return self._answer_again(
                request,
                bundle,
                now,
                self._audit_log.secrets.id_key,
            )
        except StatementError as error:
            months = {request.account_id: [statement.month for statement in request.statements]}
            raise statement_error(error, months, {request.account_id: "$"}) from None
        except PriorError as error:
            message = f"they contradict what was in force: {error.field}: expected {error.expected}"
            raise invalid("statements", message) from None

    async def _recall(self, account_id: str, context: RequestContext) -> Memory:
        """Return what is in force for an account now."""
        tenant = context.caller.tenant
        return await self._audit_log.read(
            lambda reader: reader.memory_with_limits(tenant, account_id)
        )

    async def _step(self, kind: Kind, review_id: str, context: RequestContext) -> _Step:
        """Return the next step of a review; ApiError (409) if its state does not allow `kind`."""
        review, rows = await self.queries.review(review_id, context.caller)
        states_before, _ = STEPS[kind]
        if review.state not in states_before:
            expected = " or ".join(_in_words(state) for state in STATES if state in states_before)
            raise conflict(
                f"expected a review that is {expected}, this one is {_in_words(review.state)}"
            )
        return _Step(kind, review, rows, context, datetime.datetime.now(datetime.UTC))

    async def _append_step(self, entry: NewEntry, context: RequestContext) -> None:
        taken = "somebody else was quicker: look at the review again"
        await self._append([entry], context, taken)

    async def _append(
        self, entries: Sequence[NewEntry], context: RequestContext, taken: str
    ) -> None:
        """Append all entries or none; ApiError (409) with the message `taken` if one exists."""
        deadline = context.arrived + self._audit_log.deadline
        try:
            await self._audit_log.append(entries, deadline)
        except (Duplicate, Outdated):
            raise conflict(taken) from None


def _new_entry(
    kind: Kind, decision: Entry, context: RequestContext, at: datetime.datetime
) -> NewEntry:
    """Return a row about a decision, without its content."""
    return NewEntry(
        entry_id=str(uuid.uuid4()),
        kind=kind,
        subject=decision.entry_id,
        tenant=context.caller.tenant,
        caller=context.caller.key_id,
        at=at,
        account=decision_in(decision)["account_id"],
    )


def _resolution_row(rows: Sequence[Entry], review_id: str) -> Entry:
    """Return the row with the outcome of a review; ApiError without such a review or outcome."""
    review = next((review for review in reviews_of(rows) if review.review_id == review_id), None)
    if review is None:
        raise invalid("review_id", "expected a review of this decision")
    if review.resolution is None:
        raise conflict(f"expected a review that is resolved, this one is {_in_words(review.state)}")
    resolution_id = review.resolution.resolution_id
    return next(row for row in rows if row.entry_id == resolution_id)


def _why_not_taken(reviewer: str | None, taken_by: str, instead_of: str | None) -> str:
    """Return why `taken_by` cannot take a review from `instead_of`: `reviewer` has it."""
    if reviewer is None:
        return "nobody has taken it yet: expected no instead_of"
    if instead_of is not None:
        return "another person has taken it than instead_of says"
    if is_same_person(reviewer, taken_by):
        return "the same person has taken it already"
    return "another person has taken it: to take it over, say instead_of whom"


def _check_sent_at(
    body: NotificationRequest, decided_at: datetime.datetime, now: datetime.datetime
) -> None:
    try:
        sent_at = datetime.datetime.fromisoformat(body.sent_at)
    except ValueError:
        raise invalid("sent_at", "expected a day of the calendar") from None
    # `sent_at` has no fraction of a second.
    if not decided_at.replace(microsecond=0) <= sent_at <= now:
        raise invalid("sent_at", "expected a time from when it was decided, up to now")


def _in_words(state: State) -> str:
    return state.replace("_", " ")
