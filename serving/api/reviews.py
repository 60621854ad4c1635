"""Reviews, appeals and notices over HTTP: an app of its own, mounted in the service.

Each endpoint is one entry of :data:`OPERATIONS`; :mod:`serving.auth.routes` has its scopes.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from starlette.applications import Starlette

from serving.api.operation import Operation
from serving.api.review_answers import (
    decision_answer,
    due_account,
    due_notice,
    listed_decision,
    listed_review,
    whole_review,
)
from serving.auth.request_context import RequestContext
from serving.reviews.service import Reviews
from serving.schemas.base import DETAIL_TEXT
from serving.schemas.lists import DecisionList, DueList
from serving.schemas.review import (
    STATES,
    DecisionAnswer,
    NoticeList,
    NotificationAnswer,
    NotificationNote,
    NotificationRequest,
    ResolutionRequest,
    ReviewAnswer,
    ReviewList,
    ReviewRequest,
    StartRequest,
    WithdrawalRequest,
)
from serving.web.params import DETAIL, PageQuery

_LOOKUP_ERRORS = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_STEP_ERRORS = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE)
_ANSWER_ERRORS = (HTTPStatus.FORBIDDEN, *_STEP_ERRORS)


def review_app(get_reviews: Callable[[], Reviews]) -> Starlette:
    """Return the app, which answers each request by the reviews that `get_reviews` returns."""
    return Starlette(routes=[operation.route(get_reviews) for operation in OPERATIONS])


async def read_decision(
    reviews: Reviews, decision_id: str, context: RequestContext
) -> DecisionAnswer:
    """A decision as it was answered, its reviews and its notifications."""
    rows = await reviews.queries.about(decision_id, context.caller)
    if not context.with_detail:
        return decision_answer(rows, None)
    earlier = await reviews.queries.earlier(rows[0])
    vector = await reviews.read_full_vector(rows[0], earlier, context)
    return decision_answer(rows, vector)


async def list_decisions(
    reviews: Reviews, page: PageQuery, context: RequestContext
) -> DecisionList:
    """The decisions on an account, the newest first; 100 a page."""
    found = await reviews.queries.decisions(page.account_id or "", context.caller, page.after)
    return DecisionList(decisions=[listed_decision(row) for row in found])


async def open_review(
    reviews: Reviews, decision_id: str, body: ReviewRequest, context: RequestContext
) -> ReviewAnswer:
    """Open a review; the same bundle decides again on corrected statements, for comparison."""
    review_id = await reviews.open(decision_id, body, context)
    return await read_review(reviews, review_id, context)


async def read_review(reviews: Reviews, review_id: str, context: RequestContext) -> ReviewAnswer:
    """A review in its present state."""
    review, rows = await reviews.queries.review(review_id, context.caller)
    return whole_review(review, rows)


async def list_reviews(reviews: Reviews, page: PageQuery, context: RequestContext) -> ReviewList:
    """The reviews without an answer, or those in one state, the oldest first; 100 a page."""
    state = next((state for state in STATES if state == page.status), None)
    found = await reviews.queries.reviews(state, context.caller, page.after)
    return ReviewList(reviews=[listed_review(review, rows) for review, rows in found])


async def start_review(
    reviews: Reviews, review_id: str, body: StartRequest, context: RequestContext
) -> ReviewAnswer:
    """A person takes an open review, or takes it over from another person."""
    await reviews.start(review_id, body, context)
    return await read_review(reviews, review_id, context)


async def resolve_review(
    reviews: Reviews, review_id: str, body: ResolutionRequest, context: RequestContext
) -> ReviewAnswer:
    """The answer of the person who has taken a review: uphold, overturn or amend the decision."""
    await reviews.resolve(review_id, body, context)
    return await read_review(reviews, review_id, context)


async def withdraw_review(
    reviews: Reviews, review_id: str, body: WithdrawalRequest, context: RequestContext
) -> ReviewAnswer:
    """The customer withdraws a review."""
    await reviews.withdraw(review_id, body, context)
    return await read_review(reviews, review_id, context)


async def record_notification(
    reviews: Reviews, decision_id: str, body: NotificationRequest, context: RequestContext
) -> NotificationAnswer:
    """Record when and how the customer was notified of a decision, or of a review's outcome."""
    note = NotificationNote(
        notification_id=await reviews.record_notification(decision_id, body, context),
        sent_at=body.sent_at,
        channel=body.channel,
        language=body.language,
        review_id=body.review_id,
    )
    return NotificationAnswer(decision_id=decision_id, notification=note)


async def list_notices(reviews: Reviews, page: PageQuery, context: RequestContext) -> NoticeList:
    """The notices that are not sent yet, the soonest due first; 100 a page."""
    overdue = None if page.status is None else page.status == "overdue"
    found = await reviews.queries.notices(overdue, context.caller, page.after)
    today = reviews.queries.today()
    return NoticeList(notices=[due_notice(row, rows, today) for row, rows in found])


async def list_due(reviews: Reviews, page: PageQuery, context: RequestContext) -> DueList:
    """The accounts to decide on again, the soonest first; 100 a page."""
    found = await reviews.queries.due(page.until, context.caller, page.after)
    return DueList(accounts=[due_account(one) for one in found])


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/decisions",
        operation_id="decisions_on_account",
        handler=list_decisions,
        answer=DecisionList,
        of_account=True,
    ),
    Operation(
        method="GET",
        path="/v1/decisions/{id}",
        operation_id="decision",
        handler=read_decision,
        answer=DecisionAnswer,
        errors=_STEP_ERRORS,
        switches={DETAIL: DETAIL_TEXT},
    ),
    Operation(
        method="POST",
        path="/v1/decisions/{id}/reviews",
        operation_id="open_review",
        handler=open_review,
        body=ReviewRequest,
        answer=ReviewAnswer,
        errors=_STEP_ERRORS,
        created=True,
    ),
    Operation(
        method="POST",
        path="/v1/decisions/{id}/notifications",
        operation_id="notify",
        handler=record_notification,
        body=NotificationRequest,
        answer=NotificationAnswer,
        errors=_STEP_ERRORS,
        created=True,
    ),
    Operation(
        method="GET",
        path="/v1/reviews",
        operation_id="reviews",
        handler=list_reviews,
        answer=ReviewList,
        statuses=STATES,
    ),
    Operation(
        method="GET",
        path="/v1/reviews/{id}",
        operation_id="review",
        handler=read_review,
        answer=ReviewAnswer,
        errors=_LOOKUP_ERRORS,
    ),
    Operation(
        method="POST",
        path="/v1/reviews/{id}/start",
        operation_id="start",
        handler=start_review,
        body=StartRequest,
        answer=ReviewAnswer,
        errors=_ANSWER_ERRORS,
    ),
    Operation(
        method="POST",
        path="/v1/reviews/{id}/resolution",
        operation_id="resolve",
        handler=resolve_review,
        body=ResolutionRequest,
        answer=ReviewAnswer,
        errors=_ANSWER_ERRORS,
    ),
    Operation(
        method="POST",
        path="/v1/reviews/{id}/withdrawal",
        operation_id="withdraw",
        handler=withdraw_review,
        body=WithdrawalRequest,
        answer=ReviewAnswer,
        errors=_STEP_ERRORS,
    ),
    Operation(
        method="GET",
        path="/v1/notices",
        operation_id="notices",
        handler=list_notices,
        answer=NoticeList,
        statuses=("due", "overdue"),
    ),
    Operation(
        method="GET",
        path="/v1/due",
        operation_id="due",
        handler=list_due,
        answer=DueList,
        has_days=True,
    ),
)
