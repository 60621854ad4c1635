"""The counter: what is done about decisions that were made.  Every step is a row of the record, and of one tenant."""

from __future__ import annotations

import datetime
import functools
import json
import uuid
from http import HTTPStatus
from typing import Any

from features.schema import StatementError
from serving.answering import answers
from serving.caller import Caller
from serving.decision import Bundle, load
from serving.decision.policy import local_date
from serving.payload import Request, Submitted, parse
from serving.record.entry import Draft, Kept, Kind
from serving.record.errors import Taken
from serving.record.reader import Reader
from serving.record.record import Record
from serving.refusals import Fault, Refused, of_statements, refusal
from serving.review_payload import NotificationRequest, ResolutionRequest, ReviewRequest
from serving.reviews import DAYS_TO_DECIDE, STEPS, Review, State, reviews_of, slot_of_review, slot_of_step
from serving.stored import with_digest

MOST_LISTED = 100
_NEVER, _EVER = datetime.date(1970, 1, 1), datetime.date(9999, 12, 31)


class Counter:
    """Answers about the decisions of one record; ``bundle`` is the one that decides now."""

    def __init__(self, bundle: Bundle, record: Record) -> None:
        self._bundle, self._record = bundle, record

    async def about(self, decision_id: str, caller: Caller) -> list[Kept]:
        """The rows about a decision, itself first; Refused with 404 where the tenant has none, 410 where it was erased."""
        rows = await self._record.find(lambda reader: reader.about(decision_id))
        if not rows or rows[0].kind != "decision" or rows[0].tenant != caller.tenant:
            raise _nothing("decision")
        if rows[0].erased:
            raise refusal(HTTPStatus.GONE, [Fault(path="$", message="what could name the person was erased")])
        return rows

    async def review(self, review_id: str, caller: Caller) -> tuple[Review, list[Kept]]:
        """A review, and the rows about its decision; Refused with 404 where the tenant has none."""
        row = await self._record.find(lambda reader: reader.by_id(review_id))
        if row is None or row.kind != "review":
            raise _nothing("review")
        try:
            rows = await self.about(row.subject, caller)
        except Refused as refused:
            raise (_nothing("review") if refused.problem.status == HTTPStatus.NOT_FOUND else refused) from None
        return next(review for review in reviews_of(rows) if review.review_id == review_id), rows

    async def reviews(self, status: State, caller: Caller, after: str | None) -> list[tuple[Review, list[Kept]]]:
        """The tenant's reviews in this state, the oldest first, at most :data:`MOST_LISTED`; those ``after`` one of them."""
        last = 0 if after is None else (await self._row(after, "review", caller)).seq

        def found(reader: Reader) -> list[tuple[Review, list[Kept]]]:
            listed: list[tuple[Review, list[Kept]]] = []
            for row in reader.of_kind(["review"], caller.tenant):
                if row.seq <= last or len(listed) == MOST_LISTED:
                    continue
                rows = reader.about(row.subject)
                review = next(one for one in reviews_of(rows) if one.review_id == row.entry_id)
                if review.state == status:
                    listed.append((review, rows))
            return listed

        return await self._record.find(found)

    async def open(self, decision_id: str, asked: ReviewRequest) -> str:
        """Open a review; its id.  Refused with 409 while another one is open."""
        rows = await self.about(decision_id, asked.caller)
        earlier = reviews_of(rows)
        if any(review.state in ("open", "in_review") for review in earlier):
            raise _conflict("a review of this decision is open already")
        now = _now()
        corrected = None if asked.statements is None else self._again(rows[0], asked, now)
        facts = {
            "decide_by": (local_date(now, self._bundle.policy) + datetime.timedelta(days=DAYS_TO_DECIDE)).isoformat(),
            "corrected": corrected is not None,
        }
        content = asked.model_dump_json().encode()
        return await self._keep("review", rows[0], asked, now, facts, content, corrected, slot_of_review(decision_id, earlier))

    async def step(self, kind: Kind, review_id: str, asked: Submitted, facts: dict[str, Any] | None = None) -> None:
        """Take a review's next step; Refused with 409 where its state does not allow it, or another was quicker."""
        review, rows = await self.review(review_id, asked.caller)
        before, _ = STEPS[kind]
        if review.state not in before:
            raise _conflict(f"expected a review that is {' or '.join(sorted(before))}, this one is {review.state}")
        said = {"review": review_id} | (facts or {})
        await self._keep(kind, rows[0], asked, _now(), said, asked.model_dump_json().encode(), None, slot_of_step(review))

    async def resolve(self, review_id: str, asked: ResolutionRequest) -> None:
        """Resolve a review that a person has taken."""
        _, rows = await self.review(review_id, asked.caller)
        decision = decision_in(rows[0])
        limits = {"uphold": decision["new_limit"], "overturn": decision["credit_limit"], "amend": asked.new_limit}
        if asked.new_limit is not None and asked.new_limit > decision["credit_limit"]:
            said = "expected at most the limit from before the decision"
            raise refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [Fault(path="$.new_limit", message=said)])
        await self.step("resolution", review_id, asked, {"outcome": asked.outcome, "limit": limits[asked.outcome]})

    async def notify(self, decision_id: str, asked: NotificationRequest) -> str:
        """Record that the customer was told; the row's id.  Refused where there was nothing to tell, or not then."""
        rows = await self.about(decision_id, asked.caller)
        if rows[0].due is None:
            raise _conflict("there is nothing to tell of this decision: the limit was kept")
        now = _now()
        try:
            sent_at = datetime.datetime.fromisoformat(asked.sent_at)
        except ValueError:
            raise _wrong("sent_at", "expected a day of the calendar") from None
        if not rows[0].at.replace(microsecond=0) <= sent_at <= now:
            raise _wrong("sent_at", "expected a time from the decision on, up to now")
        facts = {"sent_at": asked.sent_at, "channel": asked.channel, "language": asked.language}
        return await self._keep("notification", rows[0], asked, now, facts, None, None, None)

    async def notices(self, overdue: bool, caller: Caller, after: str | None) -> list[Kept]:
        """The tenant's decisions that nobody was told of, those overdue or those not yet, at most :data:`MOST_LISTED`."""
        last = None if after is None else await self._row(after, "decision", caller)
        place = ("", 0) if last is None or last.due is None else (last.due.isoformat(), last.seq)
        today = local_date(_now(), self._bundle.policy)
        since, until = (_NEVER, today) if overdue else (today, _EVER)
        rows = await self._record.find(lambda reader: reader.untold(caller.tenant, since, until, MOST_LISTED, place))
        return [row for row in rows if not row.erased]

    async def _row(self, entry_id: str, kind: Kind, caller: Caller) -> Kept:
        """A row of the tenant's; Refused with 422 where there is none."""
        row = await self._record.find(lambda reader: reader.by_id(entry_id))
        if row is None or row.kind != kind or row.tenant != caller.tenant:
            fault = Fault(path="?after", message=f"expected the last {kind} of the page before")
            raise refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [fault])
        return row

    def _again(self, decision: Kept, asked: ReviewRequest, now: datetime.datetime) -> bytes:
        """The answer on the corrected statements, by the bundle that decided first."""
        digest = decision.facts["model"]["bundle"]
        bundle = self._bundle if digest == self._bundle.digest else _stored(digest)
        if bundle is None:
            raise _conflict("the bundle that decided is not stored here any more: a person has to decide without it")
        first = json.loads(decision.asked or b"{}")
        corrected = {name: first[name] for name in ("account_id", "product", "currency")}
        corrected["statements"] = [statement.model_dump() for statement in asked.statements or ()]
        request = parse(Request, json.dumps(corrected).encode())
        try:
            [made] = answers("decisions", [request], False, bundle, now)
        except StatementError as error:
            months = {request.account_id: [statement.month for statement in request.statements]}
            raise of_statements(error, months, {request.account_id: "$"}) from None
        return made.content

    async def _keep(
        self,
        kind: Kind,
        decision: Kept,
        asked: Submitted,
        at: datetime.datetime,
        facts: dict[str, Any],
        content: bytes | None,
        answered: bytes | None,
        slot: str | None,
    ) -> str:
        entry_id = str(uuid.uuid4())
        draft = Draft(
            entry_id=entry_id,
            kind=kind,
            subject=decision.entry_id,
            tenant=asked.caller.tenant,
            caller=asked.caller.key_id,
            at=at,
            account=decision_in(decision)["account_id"],
            facts=facts,
            asked=content,
            answered=answered,
            slot=slot,
        )
        try:
            await self._record.keep([draft], asked.arrived + self._record.deadline)
        except Taken:
            raise _conflict("somebody else was quicker: look at the review again") from None
        return entry_id


def decision_in(row: Kept) -> dict[str, Any]:
    """The answer in a decision's row: of the door `advice` the decision is a part of it."""
    answered: dict[str, Any] = json.loads(row.answered or b"{}")
    decision: dict[str, Any] = answered["decision"] if row.facts["door"] == "advice" else answered
    return decision


@functools.lru_cache(maxsize=4)
def _stored(digest: str) -> Bundle | None:
    folder = with_digest(digest)
    return None if folder is None else load(folder)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _nothing(what: str) -> Refused:
    return refusal(HTTPStatus.NOT_FOUND, [Fault(path="$", message=f"there is no such {what}")])


def _conflict(said: str) -> Refused:
    return refusal(HTTPStatus.CONFLICT, [Fault(path="$", message=said)])


def _wrong(field: str, said: str) -> Refused:
    return refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [Fault(path=f"$.{field}", message=said)])
