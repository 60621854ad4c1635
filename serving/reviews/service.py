"""The counter: what is done about decisions that were made.

Every step is a row of the record, and of one tenant.
"""

from __future__ import annotations

import datetime
import functools
import json
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any

from features.schema import StatementError
from serving.audit_log.entry import Entry, Kind, NewEntry
from serving.audit_log.errors import Duplicate
from serving.audit_log.log import AuditLog
from serving.audit_log.reader import Reader
from serving.auth.caller import Caller
from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.decision.policy.dates import local_date
from serving.reviews.notice import ReviewDecision, outcome_notice
from serving.reviews.workflow import (
    DAYS_TO_DECIDE,
    STEPS,
    Review,
    decision_in,
    limit_of,
    reviews_of,
    slot_of_notification,
    slot_of_review,
    slot_of_step,
)
from serving.schemas.answers import answer_requests
from serving.schemas.base import ApiRequest, parse
from serving.schemas.decision import Request
from serving.schemas.review import (
    STATES,
    UNDER_WAY,
    NotificationRequest,
    ResolutionRequest,
    ReviewRequest,
    StartRequest,
    State,
    WithdrawalRequest,
)
from serving.storage.models import find_bundle
from serving.web.errors import ApiError, Fault, api_error, statement_error

MOST_LISTED = 100
_NEVER, _EVER = datetime.date(1970, 1, 1), datetime.date(9999, 12, 31)


class Reviews:
    """Answers about the decisions of one record; ``bundle`` is the one that decides now."""

    def __init__(self, bundle: Bundle, record: AuditLog) -> None:
        self._bundle, self._record = bundle, record

    async def about(self, decision_id: str, caller: Caller) -> list[Entry]:
        """The rows about a decision, itself first; Refused with 404 where the tenant has none, 410
        where it was erased.
        """
        rows = await self._record.find(lambda reader: reader.about(decision_id))
        if not rows or rows[0].kind != "decision" or rows[0].tenant != caller.tenant:
            raise _nothing("decision")
        if rows[0].erased:
            raise api_error(
                HTTPStatus.GONE, [Fault(path="$", message="what could name the person was erased")]
            )
        return rows

    async def review(self, review_id: str, caller: Caller) -> tuple[Review, list[Entry]]:
        """A review, and the rows about its decision; Refused with 404 where the tenant has none."""
        row = await self._record.find(lambda reader: reader.by_id(review_id))
        if row is None or row.kind != "review":
            raise _nothing("review")
        try:
            rows = await self.about(row.subject, caller)
        except ApiError as refused:
            raise (
                _nothing("review") if refused.problem.status == HTTPStatus.NOT_FOUND else refused
            ) from None
        return next(review for review in reviews_of(rows) if review.review_id == review_id), rows

    async def reviews(
        self, status: State | None, caller: Caller, after: str | None
    ) -> list[tuple[Review, list[Entry]]]:
        """The tenant's reviews in this state (None = those that somebody has still to answer), the
        oldest first, at most :data:`MOST_LISTED`; those ``after`` one of them.  Those of erased
        persons are none any more."""
        last = 0 if after is None else (await self._row(after, ("review",), caller)).seq
        states = UNDER_WAY if status is None else (status,)

        def found(reader: Reader) -> list[tuple[Review, list[Entry]]]:
            listed: list[tuple[Review, list[Entry]]] = []
            rows = (
                row
                for row in reader.of_kind(["review"], caller.tenant)
                if row.seq > last and not row.erased
            )
            while len(listed) < MOST_LISTED and (some := list(islice(rows, MOST_LISTED))):
                about = reader.about_all([row.subject for row in some])
                for row in some:
                    review = next(
                        one
                        for one in reviews_of(about[row.subject])
                        if one.review_id == row.entry_id
                    )
                    if review.state in states:
                        listed.append((review, about[row.subject]))
            return listed[:MOST_LISTED]

        return await self._record.find(found)

    async def open(self, decision_id: str, asked: ReviewRequest) -> str:
        """Open a customer's review; its id.  One that the policy asked for gives way to it; Refused
        with 409 while another customer's is open."""
        rows = await self.about(decision_id, asked.caller)
        earlier, now = reviews_of(rows), _now()
        corrected = None if asked.statements is None else self._again(rows[0], asked, now)
        days = datetime.timedelta(days=DAYS_TO_DECIDE)
        decide_by, review_id = local_date(now, self._bundle.policy) + days, str(uuid.uuid4())
        drafts: list[NewEntry] = []
        for current in (review for review in earlier if review.under_way):
            if current.asked_by == "customer":
                raise _conflict(
                    f"a review of this decision is {_in_words(current.state)} already: {current.review_id}"
                )
            gives_way = {"review": current.review_id, "superseded_by": review_id}
            drafts.append(
                _draft(
                    "withdrawal", rows[0], asked, now, gives_way, None, None, slot_of_step(current)
                )
            )
            decide_by = min(decide_by, current.decide_by)
        facts = {
            "decide_by": decide_by.isoformat(),
            "corrected": corrected is not None,
            "asked_by": "customer",
        }
        content = asked.model_dump_json().encode()
        slot = slot_of_review(decision_id, earlier)
        drafts.append(
            _draft("review", rows[0], asked, now, facts, content, corrected, slot, review_id)
        )
        return await self._keep(
            drafts, asked, "another review was opened just now: look at the decision again"
        )

    async def start(self, review_id: str, asked: StartRequest) -> None:
        """A person takes a review, or takes it over; Refused with 409 where another has it."""
        review, rows = await self._to_step("started", review_id, asked)
        if review.reviewer is not None and asked.instead_of != review.reviewer:
            raise _conflict("another person has taken it: to take it over, say instead_of whom")
        if review.reviewer is None and asked.instead_of is not None:
            raise _conflict("nobody has taken it yet: expected no instead_of")
        await self._step("started", review, rows, asked, {}, _now())

    async def withdraw(self, review_id: str, asked: WithdrawalRequest) -> None:
        """The customer asks no longer; Refused with 409 where it is over, or was the policy's."""
        review, rows = await self._to_step("withdrawal", review_id, asked)
        if review.asked_by == "policy":
            raise _conflict("the policy asked for this review, and a person has to answer it")
        await self._step("withdrawal", review, rows, asked, {}, _now())

    async def resolve(self, review_id: str, asked: ResolutionRequest) -> None:
        """The answer of the person who has taken a review, with the notice of it to the customer."""
        review, rows = await self._to_step("resolution", review_id, asked)
        if review.reviewer != asked.reviewer:
            raise _conflict(
                "another person has taken it: to take it over, start it again and say instead_of whom"
            )
        decision, before, now = decision_in(rows[0]), limit_of(rows), _now()
        limit = _resolved_limit(
            asked, decision, before, any(one.resolution for one in reviews_of(rows))
        )
        policy = self._bundle.policy
        due = local_date(now, policy) + datetime.timedelta(days=policy.dates.notice_within_days)
        answered = ReviewDecision(review.asked_by, asked.outcome, before, limit, asked.reasons)
        notice = outcome_notice(answered, local_date(rows[0].at, policy), due)
        content = json.dumps(notice, ensure_ascii=False).encode()
        await self._step(
            "resolution", review, rows, asked, {"outcome": asked.outcome}, now, content, due
        )

    async def notify(self, decision_id: str, asked: NotificationRequest) -> str:
        """Record that the customer was told of a decision or of a review's outcome; the row's id.
        Refused where there was nothing to tell, not then, or where the same was recorded."""
        rows = await self.about(decision_id, asked.caller)
        told_of = rows[0] if asked.review_id is None else _resolution_row(rows, asked.review_id)
        if told_of.due is None:
            raise _conflict("there is nothing to tell of this decision: the limit was kept")
        now = _now()
        try:
            sent_at = datetime.datetime.fromisoformat(asked.sent_at)
        except ValueError:
            raise _wrong("sent_at", "expected a day of the calendar") from None
        if not told_of.at.replace(microsecond=0) <= sent_at <= now:
            raise _wrong("sent_at", "expected a time from when it was decided, up to now")
        facts = {
            "sent_at": asked.sent_at,
            "channel": asked.channel,
            "language": asked.language,
            "review_id": asked.review_id,
        }
        earlier = [
            row
            for row in rows
            if row.kind == "notification" and row.metadata.get("review_id") == asked.review_id
        ]
        if same := next((row for row in earlier if row.metadata == facts), None):
            raise _conflict(f"the same notification is recorded already: {same.entry_id}")
        slot = slot_of_notification(told_of.entry_id, len(earlier))
        draft = _draft("notification", rows[0], asked, now, facts, None, None, slot)
        return await self._keep(
            [draft], asked, "another notification was recorded just now: look at the decision again"
        )

    async def notices(
        self, overdue: bool | None, caller: Caller, after: str | None
    ) -> list[tuple[Entry, list[Entry]]]:
        """What the tenant's customers were not told of, the soonest due first, at most
        :data:`MOST_LISTED`: decisions and outcomes of reviews, each with the rows about its
        decision; None = overdue or not."""
        last = None if after is None else await self._row(after, ("decision", "resolution"), caller)
        place = ("", 0) if last is None or last.due is None else (last.due.isoformat(), last.seq)
        today = self.today()
        since = today if overdue is False else _NEVER
        until = today if overdue else _EVER

        def found(reader: Reader) -> list[tuple[Entry, list[Entry]]]:
            rows = [
                row
                for row in reader.untold(caller.tenant, since, until, MOST_LISTED, place)
                if not row.erased
            ]
            about = reader.about_all([row.subject for row in rows])
            return [(row, about[row.subject]) for row in rows]

        return await self._record.find(found)

    def today(self) -> datetime.date:
        """The day on the lender's clock."""
        return local_date(_now(), self._bundle.policy)

    async def _row(self, entry_id: str, kinds: Sequence[Kind], caller: Caller) -> Entry:
        """A row of the tenant's; Refused with 422 where there is none."""
        row = await self._record.find(lambda reader: reader.by_id(entry_id))
        if row is None or row.kind not in kinds or row.tenant != caller.tenant:
            fault = Fault(
                path="?after", message="expected the id of the last one of the page before"
            )
            raise api_error(HTTPStatus.UNPROCESSABLE_ENTITY, [fault])
        return row

    def _again(self, decision: Entry, asked: ReviewRequest, now: datetime.datetime) -> bytes:
        """The answer on the corrected statements, by the bundle that decided first."""
        digest = decision.metadata["model"]["bundle"]
        bundle = self._bundle if digest == self._bundle.digest else _stored(digest)
        if bundle is None:
            raise _conflict(
                "the bundle that decided is not stored here any more: a person has to decide without it"
            )
        first = json.loads(decision.request_body or b"{}")
        last = max(statement["month"] for statement in first["statements"])
        if max(statement.month for statement in asked.statements or ()) != last:
            raise _wrong(
                "statements",
                "expected statements up to the month that was decided on, and none later",
            )
        corrected = {name: first[name] for name in ("account_id", "product", "currency")}
        corrected["statements"] = [statement.model_dump() for statement in asked.statements or ()]
        request = parse(Request, json.dumps(corrected).encode())
        try:
            [made] = answer_requests("decisions", [request], False, bundle, now)
        except StatementError as error:
            months = {request.account_id: [statement.month for statement in request.statements]}
            raise statement_error(error, months, {request.account_id: "$"}) from None
        return made.content

    async def _to_step(
        self, kind: Kind, review_id: str, asked: ApiRequest
    ) -> tuple[Review, list[Entry]]:
        """A review whose next step can be this; Refused with 409 where its state does not allow it."""
        review, rows = await self.review(review_id, asked.caller)
        before, _ = STEPS[kind]
        if review.state not in before:
            states = " or ".join(_in_words(state) for state in STATES if state in before)
            raise _conflict(
                f"expected a review that is {states}, this one is {_in_words(review.state)}"
            )
        return review, rows

    async def _step(
        self,
        kind: Kind,
        review: Review,
        rows: Sequence[Entry],
        asked: ApiRequest,
        facts: Mapping[str, Any],
        at: datetime.datetime,
        answered: bytes | None = None,
        due: datetime.date | None = None,
    ) -> None:
        said, content = {"review": review.review_id, **facts}, asked.model_dump_json().encode()
        draft = _draft(
            kind, rows[0], asked, at, said, content, answered, slot_of_step(review), due=due
        )
        await self._keep([draft], asked, "somebody else was quicker: look at the review again")

    async def _keep(self, drafts: Sequence[NewEntry], asked: ApiRequest, taken: str) -> str:
        """Keep all or none; the id of the last.

        Refused with 409 that says ``taken`` where another was quicker.
        """
        try:
            await self._record.keep(drafts, asked.arrived + self._record.deadline)
        except Duplicate:
            raise _conflict(taken) from None
        return drafts[-1].entry_id


def _draft(
    kind: Kind,
    decision: Entry,
    asked: ApiRequest,
    at: datetime.datetime,
    facts: Mapping[str, Any],
    content: bytes | None,
    answered: bytes | None,
    slot: str | None,
    entry_id: str | None = None,
    due: datetime.date | None = None,
) -> NewEntry:
    return NewEntry(
        entry_id=entry_id or str(uuid.uuid4()),
        kind=kind,
        subject=decision.entry_id,
        tenant=asked.caller.tenant,
        caller=asked.caller.key_id,
        at=at,
        account=decision_in(decision)["account_id"],
        metadata=facts,
        request_body=content,
        response_body=answered,
        unique_key=slot,
        due=due,
    )


def _resolved_limit(
    asked: ResolutionRequest, decision: Mapping[str, Any], in_force: float, answered_before: bool
) -> float:
    """The limit that an answer leads to; Refused where it takes more than the decision did, or
    leaves open what it is.
    """
    before: float = decision["credit_limit"]
    if asked.outcome == "uphold":
        if decision["action"] == "review" and not answered_before:
            raise _wrong(
                "outcome",
                "nothing was decided yet: expected overturn, and the limit stays, or amend",
            )
        return in_force
    if asked.outcome == "overturn":
        return before
    limit = asked.new_limit
    # A customer who asks for a review does not come out of it worse; where no decision was made
    # yet, the person makes it.
    least = 0.0 if decision["action"] == "review" else decision["new_limit"]
    if limit is None or not least <= limit <= before:
        raise _wrong(
            "new_limit",
            "expected at least the limit that the decision left, and at most the one from before it",
        )
    return limit


def _resolution_row(rows: Sequence[Entry], review_id: str) -> Entry:
    """The row that says how a review ended; Refused where it has not, or there is no such review."""
    review = next((one for one in reviews_of(rows) if one.review_id == review_id), None)
    if review is None:
        raise _wrong("review_id", "expected a review of this decision")
    if review.resolution is None:
        raise _conflict(
            f"expected a review that is resolved, this one is {_in_words(review.state)}"
        )
    resolution_id = review.resolution.resolution_id
    return next(row for row in rows if row.entry_id == resolution_id)


@functools.lru_cache(maxsize=4)
def _stored(digest: str) -> Bundle | None:
    folder = find_bundle(digest)
    return None if folder is None else load(folder)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _in_words(state: State) -> str:
    return state.replace("_", " ")


def _nothing(what: str) -> ApiError:
    return api_error(HTTPStatus.NOT_FOUND, [Fault(path="$", message=f"there is no such {what}")])


def _conflict(said: str) -> ApiError:
    return api_error(HTTPStatus.CONFLICT, [Fault(path="$", message=said)])


def _wrong(field: str, said: str) -> ApiError:
    return api_error(HTTPStatus.UNPROCESSABLE_ENTITY, [Fault(path=f"$.{field}", message=said)])
