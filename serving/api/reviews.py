"""The web side of the counter: decisions that were made, their reviews, and what the customer was
told.

A small app beside the decisions.  Each operation stands once in :data:`OPERATIONS`, from which the
routes and their OpenAPI are made; who may ask stands in :mod:`serving.auth.routes`.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from serving.api.bento import LOGGER
from serving.api.decisions import not_stored
from serving.api.openapi import SECURITY, error_responses, json_content
from serving.audit_log.entry import Entry
from serving.audit_log.errors import Unavailable, Unconfirmed
from serving.auth.caller import Caller, caller_of
from serving.reviews.service import Reviews
from serving.reviews.workflow import (
    Resolution,
    Review,
    Withdrawal,
    decision_in,
    limit_of,
    reviews_of,
)
from serving.schemas.base import ApiRequest, encode
from serving.schemas.decision import Answer, Statement
from serving.schemas.review import (
    STATES,
    Correction,
    DecisionAnswer,
    Difference,
    Due,
    NoticeList,
    NotificationAnswer,
    NotificationNote,
    NotificationRequest,
    ResolutionNote,
    ResolutionRequest,
    ReviewAnswer,
    ReviewList,
    ReviewRequest,
    StartRequest,
    WithdrawalNote,
    WithdrawalRequest,
)
from serving.storage.timestamps import encode_time
from serving.web.errors import (
    ApiError,
    Fault,
    Problem,
    api_error,
    internal_error,
    parameter_path,
    problem_response,
)
from serving.web.logs import format_without_values
from serving.web.models import IODescriptor

_Handler = Callable[[Reviews, HttpRequest], Awaitable[IODescriptor]]
_Asked = TypeVar("_Asked", bound=ApiRequest)
_NAME = {"type": "string", "format": "uuid"}
_REFUSALS = {
    HTTPStatus.NOT_FOUND: "There is no such decision or review, or another tenant has it.",
    HTTPStatus.CONFLICT: "The state does not allow it, or somebody else was quicker.",
    HTTPStatus.GONE: "What could name the person was erased.",
    HTTPStatus.GATEWAY_TIMEOUT: "It may have been kept: look before asking again.",
}
_COMPARED = ("action", "new_limit", "proposed_limit", "probability", "reasons")


async def decision(counter: Reviews, request: HttpRequest) -> DecisionAnswer:
    """A decision as it was answered, its reviews, and when the customer was told."""
    rows = await counter.about(_name(request), caller_of(request.scope))
    answered = Answer.model_validate_json(json.dumps(decision_in(rows[0])))
    return DecisionAnswer(
        decision=answered,
        limit=limit_of(rows),
        reviews=[_shown(review, rows) for review in reviews_of(rows)],
        notifications=[_told(row) for row in rows if row.kind == "notification"],
    )


async def open_review(counter: Reviews, request: HttpRequest) -> ReviewAnswer:
    """Ask for a person to reconsider a decision; with corrected statements the same bundle decides
    again, for comparison.
    """
    asked = await _asked(ReviewRequest, request)
    return await _review(counter, await counter.open(_name(request), asked), asked.caller)


async def review(counter: Reviews, request: HttpRequest) -> ReviewAnswer:
    """A review as it stands."""
    return await _review(counter, _name(request), caller_of(request.scope))


async def reviews(counter: Reviews, request: HttpRequest) -> ReviewList:
    """The reviews that somebody has still to answer, or those in one state, the oldest first.

    At most 100 a page.
    """
    status, after = _page(request, STATES)
    found = await counter.reviews(
        next((one for one in STATES if one == status), None), caller_of(request.scope), after
    )
    return ReviewList(reviews=[_shown(*one) for one in found])


async def start(counter: Reviews, request: HttpRequest) -> ReviewAnswer:
    """A person takes a review that is open, or takes it over from another."""
    asked = await _asked(StartRequest, request)
    await counter.start(_name(request), asked)
    return await _review(counter, _name(request), asked.caller)


async def resolve(counter: Reviews, request: HttpRequest) -> ReviewAnswer:
    """The answer of the person who has taken a review: the limit in force stays, that of before
    comes back, or another.
    """
    asked = await _asked(ResolutionRequest, request)
    await counter.resolve(_name(request), asked)
    return await _review(counter, _name(request), asked.caller)


async def withdraw(counter: Reviews, request: HttpRequest) -> ReviewAnswer:
    """The customer asks no longer."""
    asked = await _asked(WithdrawalRequest, request)
    await counter.withdraw(_name(request), asked)
    return await _review(counter, _name(request), asked.caller)


async def notify(counter: Reviews, request: HttpRequest) -> NotificationAnswer:
    """Record that the customer was told of the decision, or of a review's outcome: when, how, in
    which language.
    """
    asked = await _asked(NotificationRequest, request)
    decision_id = _name(request)
    note = NotificationNote(
        notification_id=await counter.notify(decision_id, asked),
        sent_at=asked.sent_at,
        channel=asked.channel,
        language=asked.language,
        review_id=asked.review_id,
    )
    return NotificationAnswer(decision_id=decision_id, notification=note)


async def notices(counter: Reviews, request: HttpRequest) -> NoticeList:
    """Decisions and outcomes of reviews that nobody was told of, the soonest to be sent first.

    At most 100 a page.
    """
    status, after = _page(request, ("due", "overdue"))
    found = await counter.notices(
        None if status is None else status == "overdue", caller_of(request.scope), after
    )
    return NoticeList(notices=[_due(row, rows, counter.today()) for row, rows in found])


@dataclass(frozen=True, slots=True)
class Operation:
    """A method and path of the counter, what it takes and gives, and how it may be refused beyond
    what the gate refuses.
    """

    method: str
    path: str
    handler: _Handler
    takes: type[ApiRequest] | None
    gives: type[IODescriptor]
    created: bool = False
    choices: Mapping[str, Sequence[str]] | None = None
    refusals: tuple[HTTPStatus, ...] = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


_STEP = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE)
OPERATIONS = (
    Operation("GET", "/v1/decisions/{id}", decision, None, DecisionAnswer),
    Operation(
        "POST",
        "/v1/decisions/{id}/reviews",
        open_review,
        ReviewRequest,
        ReviewAnswer,
        True,
        refusals=_STEP,
    ),
    Operation(
        "POST",
        "/v1/decisions/{id}/notifications",
        notify,
        NotificationRequest,
        NotificationAnswer,
        True,
        refusals=_STEP,
    ),
    Operation(
        "GET", "/v1/reviews", reviews, None, ReviewList, choices={"status": STATES}, refusals=()
    ),
    Operation("GET", "/v1/reviews/{id}", review, None, ReviewAnswer),
    Operation("POST", "/v1/reviews/{id}/start", start, StartRequest, ReviewAnswer, refusals=_STEP),
    Operation(
        "POST",
        "/v1/reviews/{id}/resolution",
        resolve,
        ResolutionRequest,
        ReviewAnswer,
        refusals=_STEP,
    ),
    Operation(
        "POST",
        "/v1/reviews/{id}/withdrawal",
        withdraw,
        WithdrawalRequest,
        ReviewAnswer,
        refusals=_STEP,
    ),
    Operation(
        "GET",
        "/v1/notices",
        notices,
        None,
        NoticeList,
        choices={"status": ("due", "overdue")},
        refusals=(),
    ),
)


def review_app() -> Starlette:
    """The app; its ``state.counter`` is set when the service starts."""
    app = Starlette(
        routes=[Route(one.path, _answering(one), methods=[one.method]) for one in OPERATIONS]
    )
    app.state.described = described
    return app


def described() -> tuple[dict[str, Any], dict[str, Any]]:
    """The operations' paths and schemas, as OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for one in OPERATIONS:
        said: dict[str, Any] = {
            "summary": (one.handler.__doc__ or "").strip(),
            "operationId": one.handler.__name__,
            "tags": ["Service APIs"],
            "parameters": _parameters(one),
            "security": SECURITY,
            "responses": _responses(one),
        }
        if one.takes is not None:
            said["requestBody"] = {"content": json_content(one.takes), "required": True}
        for model in (one.takes, one.gives):
            if model is not None:
                schemas.update(model.openapi_components(model.__name__))  # type: ignore[attr-defined]
        paths.setdefault(one.path, {})[one.method.lower()] = said
    return paths, schemas


def _responses(one: Operation) -> dict[str, Any]:
    status = HTTPStatus.CREATED if one.created else HTTPStatus.OK
    late = (HTTPStatus.GATEWAY_TIMEOUT,) if one.method == "POST" else ()
    own = {refused: _REFUSALS[refused] for refused in (*one.refusals, *late)}
    return {
        str(int(status)): {"description": "The answer.", "content": json_content(one.gives)}
    } | error_responses(one.method, own)


def _parameters(one: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "{id}" in one.path:
        found.append(
            {
                "name": "id",
                "in": "path",
                "required": True,
                "description": "as it was answered",
                "schema": _NAME,
            }
        )
    for parameter, known in (one.choices or {}).items():
        choice = {"type": "string", "enum": list(known)}
        which = "which are listed alone"
        found.append(
            {
                "name": parameter,
                "in": "query",
                "required": False,
                "description": which,
                "schema": choice,
            }
        )
        said = "the id of the last one of the page before: its `review_id` or `notice_id`"
        found.append(
            {
                "name": "after",
                "in": "query",
                "required": False,
                "description": said,
                "schema": {"type": "string", "format": "uuid"},
            }
        )
    return found


def _answering(operation: Operation) -> Callable[[HttpRequest], Awaitable[Response]]:
    status = HTTPStatus.CREATED if operation.created else HTTPStatus.OK

    async def endpoint(request: HttpRequest) -> Response:
        try:
            if operation.choices is None and request.url.query:
                raise _unknown_parameters(request, ())
            answered = await operation.handler(request.app.state.counter, request)
        except ApiError as refused:
            return problem_response(refused.problem, refused.headers)
        except (Unavailable, Unconfirmed) as error:
            late = not_stored(error)
            return problem_response(late.problem, late.headers)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets a problem and the log gets its place
            LOGGER.error("internal error\n%s", format_without_values(error))
            return problem_response(internal_error())
        return Response(encode(answered), status, media_type="application/json")

    return endpoint


async def _asked(model: type[_Asked], request: HttpRequest) -> _Asked:
    """The request, parsed; raises :class:`serving.web.errors.ApiError`."""
    asked = await model.from_http_request(request, None)
    if isinstance(asked, Problem):
        raise ApiError(asked)
    if not isinstance(asked, model):
        raise TypeError(f"expected {model.__name__}, got {type(asked).__name__}")
    return asked


def _page(request: HttpRequest, known: Sequence[str]) -> tuple[str | None, str | None]:
    """Which of these words the URL names, and after which what is listed begins; nothing else may
    be in the URL.
    """
    sent = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if any(name not in ("status", "after") for name, _ in sent):
        raise _unknown_parameters(request, ("status", "after"))
    statuses, afters = (
        [value for key, value in sent if key == name] for name in ("status", "after")
    )
    if len(statuses) > 1 or (statuses and statuses[0] not in known):
        fault = Fault(
            path=parameter_path("status"), message=f"expected one of {', '.join(known)}, once"
        )
        raise api_error(HTTPStatus.UNPROCESSABLE_ENTITY, [fault])
    if len(afters) > 1:
        raise api_error(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            [Fault(path="?after", message="expected each parameter once")],
        )
    return statuses[0] if statuses else None, afters[0].lower() if afters else None


def _name(request: HttpRequest) -> str:
    """The id in the path; a UUID is the same in capitals."""
    return str(request.path_params["id"]).lower()


async def _review(counter: Reviews, review_id: str, caller: Caller) -> ReviewAnswer:
    """A review with all that whoever answers it has to see."""
    found, rows = await counter.review(review_id, caller)
    decided = json.loads(rows[0].request_body or b"{}")["statements"]
    return _shown(found, rows).model_copy(
        update={"statements": [_statement(one) for one in decided]}
    )


def _unknown_parameters(request: HttpRequest, known: Sequence[str]) -> ApiError:
    sent = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    paths = dict.fromkeys(parameter_path(name) for name, _ in sent if name not in known) or {
        "?": None
    }
    return api_error(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        [Fault(path=path, message="unknown parameter") for path in paths],
    )


def _shown(one: Review, rows: Sequence[Entry]) -> ReviewAnswer:
    made, corrected = decision_in(rows[0]), one.corrected
    return ReviewAnswer(
        review_id=one.review_id,
        decision_id=one.decision_id,
        account_id=made["account_id"],
        status=one.state,
        asked_by=one.asked_by,
        opened_at=encode_time(one.opened_at),
        decide_by=one.decide_by,
        reason=one.reason,
        reviewer=one.reviewer,
        limit=limit_of(rows),
        statements=None,
        corrections=None if one.statements is None else _corrections(rows[0], one.statements),
        corrected=None if corrected is None else Answer.model_validate_json(json.dumps(corrected)),
        differences=None if corrected is None else _differences(made, corrected),
        resolution=None if one.resolution is None else _ended(one.resolution),
        withdrawal=None if one.withdrawal is None else _withdrawn(one.withdrawal),
    )


def _ended(resolution: Resolution) -> ResolutionNote:
    return ResolutionNote.model_validate_json(
        json.dumps(
            {
                "outcome": resolution.outcome,
                "limit": resolution.limit,
                "reviewer": resolution.reviewer,
                "reasons": resolution.reasons,
                "at": encode_time(resolution.at),
                "notice": resolution.notice,
            }
        )
    )


def _withdrawn(withdrawal: Withdrawal) -> WithdrawalNote:
    return WithdrawalNote(
        reason=withdrawal.reason,
        at=encode_time(withdrawal.at),
        superseded_by=withdrawal.superseded_by,
    )


def _statement(said: Mapping[str, Any]) -> Statement:
    return Statement.model_validate_json(json.dumps(said))


def _corrections(decision: Entry, statements: Sequence[Mapping[str, Any]]) -> list[Correction]:
    """Field by field where a month stands on both sides, else the whole of it; by month."""
    decided = {
        one["month"]: one for one in json.loads(decision.request_body or b"{}")["statements"]
    }
    corrected = {one["month"]: one for one in statements}
    found = []
    for month in sorted(decided.keys() | corrected.keys()):
        first, second = decided.get(month), corrected.get(month)
        if first is None or second is None:
            found.append(
                Correction(month=month, field="statement", decided=first, corrected=second)
            )
            continue
        pairs = [(name, first[name], second[name]) for name in first]
        found += [
            Correction(month=month, field=name, decided=a, corrected=b)
            for name, a, b in pairs
            if a != b
        ]
    return found


def _differences(made: Mapping[str, Any], corrected: Mapping[str, Any]) -> list[Difference]:
    """What the corrected statements changed; of the reasons their codes, in order."""

    def value(answered: Mapping[str, Any], name: str) -> Any:
        return (
            [reason["code"] for reason in answered["reasons"]]
            if name == "reasons"
            else answered[name]
        )

    pairs = [(name, value(made, name), value(corrected, name)) for name in _COMPARED]
    return [
        Difference(field=name, decided=before, corrected=after)
        for name, before, after in pairs
        if before != after
    ]


def _told(row: Entry) -> NotificationNote:
    return NotificationNote(notification_id=row.entry_id, **{"review_id": None, **row.metadata})


def _due(row: Entry, rows: Sequence[Entry], today: datetime.date) -> Due:
    """A notice to be sent: a decision's, or that of a review's outcome."""
    made = decision_in(rows[0])
    notice = made["notice"] if row.kind == "decision" else json.loads(row.response_body or b"{}")
    send_by = datetime.date.fromisoformat(notice["send_by"])
    return Due(
        notice_id=row.entry_id,
        decision_id=rows[0].entry_id,
        review_id=row.metadata.get("review"),
        account_id=made["account_id"],
        kind=notice["kind"],
        action=made["action"],
        decided_at=made["decided_at"] if row.kind == "decision" else encode_time(row.at),
        send_by=send_by,
        overdue=send_by < today,
        limit=limit_of(rows),
    )
