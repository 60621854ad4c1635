"""Who asks for a review cannot answer it, and the reviewer is the key's owner."""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from collections.abc import Awaitable
from http import HTTPStatus
from typing import TypeVar

import pytest

from serving.audit_log.log import AuditLog
from serving.auth.caller import LOOPBACK, Caller
from serving.auth.request_context import RequestContext
from serving.decision.bundle import Bundle
from serving.decision.policy.since_last import Earlier
from serving.reviews.past_decision import AnswerAgain
from serving.reviews.service import Reviews
from serving.reviews.workflow import Review, reviews_of
from serving.schemas.decision import Request
from serving.schemas.review import ResolutionRequest, ReviewRequest, StartRequest
from serving.web.errors import ApiError
from tests.support.entries import decision_entry, example_request
from tests.support.records import append

Result = TypeVar("Result")
SCOPES = frozenset({"score", "review"})
APP = Caller("k-app", "lender", SCOPES, "mobile app")
LI_NA = Caller("k-li", "lender", SCOPES, "Li Na")
WANG_WEI = Caller("k-wang", "lender", SCOPES, "Wang Wei")
NO_KEY = Caller(LOOPBACK.key_id, "lender", SCOPES)
UNKNOWN = Caller("k-old", "lender", SCOPES)
OVERTURN = ResolutionRequest(reviewer="Li Na", outcome="overturn", reasons="So it is.")


def answer_nothing(
    request: Request,
    bundle: Bundle,
    decided_at: datetime.datetime,
    id_key: bytes,
    with_detail: bool = False,
    earlier: Earlier | None = None,
) -> bytes:
    raise LookupError("expected no corrected statements in these tests")


ANSWER_AGAIN: AnswerAgain = answer_nothing


class Desk:
    """The reviews of one decision, asked for by callers."""

    def __init__(self, audit_log: AuditLog, bundle: Bundle) -> None:
        draft = decision_entry(example_request("A-1"), bundle)
        append(audit_log, [draft])
        self.decision_id = draft.entry_id
        self._audit_log = audit_log
        self._reviews = Reviews(bundle, audit_log, ANSWER_AGAIN)

    def ask(self, caller: Caller) -> str:
        body = ReviewRequest(reason="I was ill.")
        return self._run(self._reviews.open(self.decision_id, body, self._context(caller)))

    def take(
        self, review_id: str, caller: Caller, name: str = "Zoe", instead_of: str | None = None
    ) -> None:
        body = StartRequest(reviewer=name, instead_of=instead_of)
        self._run(self._reviews.start(review_id, body, self._context(caller)))

    def overturn(self, review_id: str, caller: Caller) -> None:
        self._run(self._reviews.resolve(review_id, OVERTURN, self._context(caller)))

    def read(self, review_id: str) -> Review:
        rows = self._audit_log.reader.about(self.decision_id)
        return next(review for review in reviews_of(rows) if review.review_id == review_id)

    @staticmethod
    def _context(caller: Caller) -> RequestContext:
        return RequestContext(caller, time.monotonic())

    @staticmethod
    def _run(step: Awaitable[Result]) -> Result:
        async def run() -> Result:
            return await step

        return asyncio.run(run())


@pytest.fixture
def desk(record: AuditLog, golden: Bundle) -> Desk:
    return Desk(record, golden)


def refusal(raised: pytest.ExceptionInfo[ApiError]) -> tuple[int, str]:
    problem = raised.value.problem
    [fault] = problem.errors
    return problem.status, fault.message


def test_who_asks_for_a_review_can_neither_take_nor_resolve_it(desk: Desk) -> None:
    review_id = desk.ask(LI_NA)
    with pytest.raises(ApiError) as taking:
        desk.take(review_id, LI_NA, "Wang Wei")
    desk.take(review_id, WANG_WEI)
    with pytest.raises(ApiError) as taking_over:
        desk.take(review_id, LI_NA, instead_of="Wang Wei")
    with pytest.raises(ApiError) as resolving:
        desk.overturn(review_id, LI_NA)
    for raised in (taking, taking_over, resolving):
        status, message = refusal(raised)
        assert status == HTTPStatus.FORBIDDEN
        assert message == (
            "the owner of this key asked for the review: another person has to answer"
        )
    assert desk.read(review_id).state == "in_review"
    # The control: the other person may.
    desk.overturn(review_id, WANG_WEI)
    assert desk.read(review_id).state == "resolved"


def test_a_refused_start_says_who_has_the_review(desk: Desk) -> None:
    review_id = desk.ask(APP)
    desk.take(review_id, LI_NA)
    messages = []
    for caller, instead_of in ((LI_NA, None), (WANG_WEI, None), (WANG_WEI, "Zoe")):
        with pytest.raises(ApiError) as raised:
            desk.take(review_id, caller, instead_of=instead_of)
        status, message = refusal(raised)
        assert status == HTTPStatus.CONFLICT
        messages.append(message)
    assert messages == [
        "the same person has taken it already",
        "another person has taken it: to take it over, say instead_of whom",
        "another person has taken it than instead_of says",
    ]


def test_another_key_of_the_same_owner_is_the_same_person(desk: Desk) -> None:
    review_id = desk.ask(LI_NA)
    second = Caller("k-li-2", "lender", SCOPES, "li na")
    with pytest.raises(ApiError) as raised:
        desk.take(review_id, second)
    assert refusal(raised)[0] == HTTPStatus.FORBIDDEN


def test_the_reviewer_is_the_owner_of_the_key_and_not_a_text(desk: Desk, record: AuditLog) -> None:
    review_id = desk.ask(APP)
    desk.take(review_id, WANG_WEI, "Zoe")
    assert desk.read(review_id).reviewer == "Wang Wei"
    # The body says Li Na, and her name does not help.
    with pytest.raises(ApiError) as raised:
        desk.overturn(review_id, LI_NA)
    assert refusal(raised)[0] == HTTPStatus.CONFLICT
    desk.overturn(review_id, WANG_WEI)
    resolution = desk.read(review_id).resolution
    assert resolution is not None
    assert resolution.reviewer == "Wang Wei"
    rows = record.reader.about(desk.decision_id)
    assert [(row.kind, row.metadata.get("by")) for row in rows] == [
        ("decision", None),
        ("review", "mobile app"),
        ("started", "Wang Wei"),
        ("resolution", "Wang Wei"),
    ]
    for row in rows[2:]:
        assert json.loads(row.request_body or b"")["reviewer"] == "Wang Wei"


def test_a_key_without_an_owner_may_ask_and_not_answer(desk: Desk) -> None:
    review_id = desk.ask(UNKNOWN)
    with pytest.raises(ApiError) as raised:
        desk.take(review_id, UNKNOWN)
    status, message = refusal(raised)
    assert status == HTTPStatus.FORBIDDEN
    assert "keys new --owner NAME" in message
    desk.take(review_id, LI_NA)
    desk.overturn(review_id, LI_NA)


def test_a_review_that_a_text_has_taken_is_taken_over_by_the_owner(desk: Desk) -> None:
    """Of an earlier version, or of a service that had no key."""
    review_id = desk.ask(NO_KEY)
    desk.take(review_id, NO_KEY, "Zoe")
    with pytest.raises(ApiError) as raised:
        desk.overturn(review_id, LI_NA)
    assert refusal(raised)[0] == HTTPStatus.CONFLICT
    desk.take(review_id, LI_NA, instead_of="Zoe")
    desk.overturn(review_id, LI_NA)
    assert desk.read(review_id).state == "resolved"


def test_without_any_key_nobody_is_told_apart(desk: Desk) -> None:
    review_id = desk.ask(NO_KEY)
    desk.take(review_id, NO_KEY, "Li Na")
    desk.overturn(review_id, NO_KEY)
    resolution = desk.read(review_id).resolution
    assert resolution is not None
    assert resolution.reviewer == "Li Na"


def test_capital_letters_make_no_second_person(desk: Desk) -> None:
    review_id = desk.ask(APP)
    desk.take(review_id, LI_NA)
    small = Caller("k-small", "lender", SCOPES, "li na")
    with pytest.raises(ApiError) as refused:
        desk.take(review_id, small)
    assert refused.value.problem.errors[0].message == "the same person has taken it already"
    with pytest.raises(ApiError):  # the control
        desk.overturn(review_id, WANG_WEI)
    desk.overturn(review_id, small)
    assert desk.read(review_id).state == "resolved"


def test_a_review_is_taken_over_from_a_name_in_other_capitals(desk: Desk) -> None:
    review_id = desk.ask(APP)
    desk.take(review_id, LI_NA)
    desk.take(review_id, WANG_WEI, instead_of="LI NA")
    assert desk.read(review_id).reviewer == "Wang Wei"
