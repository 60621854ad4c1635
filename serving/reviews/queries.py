"""What is read about decisions: their rows, their reviews, and the notices that are due."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from http import HTTPStatus

from serving.audit_log.entry import Entry, Kind
from serving.audit_log.log import AuditLog
from serving.audit_log.reader import Reader
from serving.auth.caller import Caller
from serving.decision.policy.dates import local_date
from serving.reviews.due import PAGE_SIZE, DueAccount, read_due
from serving.reviews.errors import not_found
from serving.reviews.past_decision import earlier_id
from serving.reviews.workflow import Review, reviews_of
from serving.schemas.review import UNDER_WAY, State
from serving.storage.bundles.held import HeldBundles
from serving.web.errors import ApiError, single_fault

_FIRST_DAY = datetime.date(1970, 1, 1)
_LAST_DAY = datetime.date(9999, 12, 31)
# A review, or the row with a notice, and the rows about its decision.
ReviewAndRows = tuple[Review, list[Entry]]
NoticeAndRows = tuple[Entry, list[Entry]]


class ReviewQueries:
    """Reads one audit log; each caller sees the rows of the own tenant only.

    The policy of the active one of the `bundles` has the lender's clock.
    """

    def __init__(self, bundles: HeldBundles, audit_log: AuditLog) -> None:
        self._bundles, self._audit_log = bundles, audit_log

    async def about(self, decision_id: str, caller: Caller) -> list[Entry]:
        """Return the rows about a decision, the decision first.

        Raises ApiError: 404 if the tenant has no such decision, 410 if it was erased.
        """
        rows = await self._audit_log.read(lambda reader: reader.about(decision_id))
        if not rows or rows[0].kind != "decision" or rows[0].tenant != caller.tenant:
            raise not_found("decision")
        if rows[0].erased:
            raise single_fault(HTTPStatus.GONE, "what could name the person was erased")
        return rows

    async def decisions(
        self, account_id: str, caller: Caller, after: str | None
    ) -> Sequence[Entry]:
        """Return a page of the decisions on an account of the tenant, the newest first.

        `after` is the id of the last one of the page before. An erased account has none.

        Raises ApiError (422) if `after` is no decision on the account.
        """
        found = await self._audit_log.read(
            lambda reader: reader.decisions_on(
                caller.tenant,
                account_id,
                PAGE_SIZE,
                after,
            ),
            "lists",
        )
        if found is None:
            raise _not_of_page_before()
        return found

    async def earlier(self, decision: Entry) -> Entry | None:
        """Return the earlier decision that a decision was made with; None if there is none."""
        named = earlier_id(decision)
        if named is None:
            return None
        return await self._audit_log.read(lambda reader: reader.by_id(named))

    async def review(self, review_id: str, caller: Caller) -> ReviewAndRows:
        """Return a review and the rows about its decision.

        Raises ApiError: 404 if the tenant has no such review, 410 if the decision was erased.
        """
        row = await self._audit_log.read(lambda reader: reader.by_id(review_id))
        if row is None or row.kind != "review":
            raise not_found("review")
        try:
            rows = await self.about(row.subject, caller)
        except ApiError as error:
            # "no such decision" would tell another tenant that there is a review of this id.
            if error.problem.status == HTTPStatus.NOT_FOUND:
                raise not_found("review") from None
            raise
        return _review_in(rows, review_id), rows

    async def reviews(
        self, state: State | None, caller: Caller, after: str | None
    ) -> list[ReviewAndRows]:
        """Return a page of the tenant's reviews, the oldest first, each with its rows.

        `state` None = all reviews without an answer. `after` is the id of the last review of the
        page before. Reviews of erased decisions are left out.

        Raises ApiError (422) if `after` is no review of the tenant.
        """
        states = UNDER_WAY if state is None else (state,)
        last_seq = 0
        if after is not None:
            last = await self._row(after, ("review",), caller)
            last_seq = last.seq

        def read(reader: Reader) -> list[ReviewAndRows]:
            found: list[ReviewAndRows] = []
            seq = last_seq
            while len(found) < PAGE_SIZE:
                rows = reader.reviews(caller.tenant, states, PAGE_SIZE, seq)
                for row, about in _with_rows_about(reader, rows):
                    review = _review_in(about, row.entry_id)
                    # A step may have been stored since the page was read.
                    if review.state in states:
                        found.append((review, about))
                if len(rows) < PAGE_SIZE:
                    break
                seq = rows[-1].seq
            return found[:PAGE_SIZE]

        return await self._audit_log.read(read, "lists")

    async def notices(
        self, overdue: bool | None, caller: Caller, after: str | None
    ) -> list[NoticeAndRows]:
        """Return a page of the tenant's notices that are not sent yet, the soonest due first.

        A notice is the row of a decision or of a review's outcome, returned with the rows about
        the decision. `overdue` True = only those past their last day, False = only the others,
        None = both. `after` is the id of the last notice of the page before.

        Raises ApiError (422) if `after` is no notice of the tenant.
        """
        position = ("", 0)
        if after is not None:
            last = await self._row(after, ("decision", "resolution"), caller)
            if last.due is not None:
                position = (last.due.isoformat(), last.seq)
        today = self.today()
        since = today if overdue is False else _FIRST_DAY
        until = today if overdue else _LAST_DAY

        def read(reader: Reader) -> list[NoticeAndRows]:
            found: list[NoticeAndRows] = []
            begin = position
            while len(found) < PAGE_SIZE:
                rows = reader.due_notices(caller.tenant, since, until, PAGE_SIZE, begin)
                found += _with_rows_about(reader, rows)
                if len(rows) < PAGE_SIZE:
                    break
                begin = str(rows[-1].due), rows[-1].seq
            return found[:PAGE_SIZE]

        return await self._audit_log.read(read, "lists")

    async def due(
        self, until: datetime.date | None, caller: Caller, after: str | None
    ) -> list[DueAccount]:
        """Return a page of the tenant's accounts to decide on again, the soonest first.

        `until` is the last day; None = today. `after` is the id of the last one of the page before.

        Raises ApiError (422) if `after` is no such id.
        """
        last_day = until or self.today()

        def read(reader: Reader) -> list[DueAccount] | None:
            place = None
            if after is not None:
                place = reader.place_among_due(caller.tenant, after)
                if place is None:
                    return None
            return read_due(reader, caller.tenant, last_day, place)

        found = await self._audit_log.read(read, "lists")
        if found is None:
            raise _not_of_page_before()
        return found

    def today(self) -> datetime.date:
        """Return the day on the lender's clock."""
        return local_date(datetime.datetime.now(datetime.UTC), self._bundles.active.policy)

    async def _row(self, entry_id: str, kinds: Sequence[Kind], caller: Caller) -> Entry:
        """Return the last row of the page before; ApiError (422) if the tenant has no such row."""
        row = await self._audit_log.read(lambda reader: reader.by_id(entry_id))
        if row is None or row.kind not in kinds or row.tenant != caller.tenant:
            raise _not_of_page_before()
        return row


def _not_of_page_before() -> ApiError:
    message = "expected the id of the last one of the page before"
    return single_fault(HTTPStatus.UNPROCESSABLE_ENTITY, message, path="?after")


def _with_rows_about(reader: Reader, rows: Sequence[Entry]) -> list[NoticeAndRows]:
    """Return each row with the rows about its decision.

    The lists have no erased decision. One that was erased since they were read is left out: a page
    that is short for this is filled up, because a caller takes a short page for the last.
    """
    about = reader.about_all([row.subject for row in rows])
    return [(row, about[row.subject]) for row in rows if not about[row.subject][0].erased]


def _review_in(rows: Sequence[Entry], review_id: str) -> Review:
    return next(review for review in reviews_of(rows) if review.review_id == review_id)
