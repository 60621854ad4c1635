"""Calls of every route that uses the database, and of every command, without a network."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.api.answers import Endpoint, answer_again
from serving.api.decisions import Decisions
from serving.api.errors import error_response
from serving.api.reviews import review_app
from serving.api.submission import receive
from serving.audit_log.log import AuditLog
from serving.auth.caller import SCOPES, Caller
from serving.decision.bundle import Bundle
from serving.reviews.service import Reviews
from serving.schemas import examples
from serving.schemas.advice_request import AdviceRequest
from serving.schemas.base import ApiRequest
from serving.schemas.decision import BatchRequest, Request

Json = dict[str, Any]
# A month of an account that is hardly used.
QUIET = {
    "balance": 500.0,
    "spend": 500.0,
    "cash_advance": 0.0,
    "payment": 500.0,
    "minimum_due": 50.0,
    "days_past_due": 0,
    "limit_requests": 0,
    "credit_inquiries": 0,
    "external_debt": 0.0,
}
ASKER = Caller("asker", "lender", frozenset(SCOPES), "Zhao Min")
REVIEWER = Caller("reviewer", "lender", frozenset(SCOPES), "Li Na")


def example(account: str) -> Json:
    """The documented request, whose limit is cut, for an account."""
    return examples.REQUEST | {"account_id": account}


class EveryRoute:
    """The endpoints over one audit log. ``called`` has the methods and templates so far."""

    def __init__(self, audit_log: AuditLog, bundle: Bundle) -> None:
        self._decisions = Decisions(bundle, audit_log)
        self._reviews = Reviews(bundle, audit_log, answer_again)
        self._app = self._build()
        self.called: set[tuple[str, str]] = set()
        self.caller = ASKER

    def call(
        self,
        method: str,
        template: str,
        id_: str = "",
        body: Json | None = None,
        *,
        key: str | None = None,
    ) -> Json:
        """The body of the answer, which is a success; `template` may have a query."""
        self.called.add((method, template.partition("?")[0]))
        headers = {} if key is None else {"idempotency-key": key}

        async def send() -> httpx.Response:
            app = _with_caller(self._app, self.caller)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                url = template.replace("{id}", id_)
                return await http.request(method, url, json=body, headers=headers)

        response = asyncio.run(send())
        assert response.status_code in (200, 201), response.text
        answer: Json = response.json()
        return answer

    def decide(self, account: str, key: str | None = None) -> Json:
        """A decision, whose limit is cut."""
        return self.call("POST", "/v1/decisions", body=example(account), key=key)

    def decide_kept(self, account: str) -> Json:
        """A decision that keeps the limit."""
        body = copy.deepcopy(example(account))
        for statement in body["statements"]:
            statement |= QUIET
        answer = self.call("POST", "/v1/decisions", body=body)
        assert answer["action"] == "keep"
        return answer

    def open_review(self, decision_id: str) -> str:
        """Open a review and return its id."""
        opened = self.call(
            "POST", "/v1/decisions/{id}/reviews", decision_id, {"reason": "I was ill."}
        )
        return str(opened["review_id"])

    def start(self, review_id: str) -> None:
        with self.as_reviewer():
            self.call("POST", "/v1/reviews/{id}/start", review_id, {"reviewer": "Li Na"})

    def resolve(self, review_id: str) -> None:
        """Take a review and answer it."""
        self.start(review_id)
        body = {"reviewer": "Li Na", "outcome": "overturn", "reasons": "So it is."}
        with self.as_reviewer():
            self.call("POST", "/v1/reviews/{id}/resolution", review_id, body)

    def withdraw(self, review_id: str) -> None:
        self.call("POST", "/v1/reviews/{id}/withdrawal", review_id, {"reason": None})

    def notify(self, decision_id: str, review_id: str | None = None) -> None:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {"sent_at": now, "channel": "app", "language": "zh", "review_id": review_id}
        self.call("POST", "/v1/decisions/{id}/notifications", decision_id, body)

    def lists(self) -> None:
        """Every list, with and without a status, from the first page and from a later one."""
        for path, name, statuses in (
            ("/v1/reviews", "review", ("open", "in_review", "resolved", "withdrawn")),
            ("/v1/notices", "notice", ("due", "overdue")),
        ):
            first = self.call("GET", path)[f"{name}s"]
            last = first[0][f"{name}_id"]
            self.call("GET", f"{path}?after={last}")
            for status in statuses:
                self.call("GET", f"{path}?status={status}")
        of_account = "/v1/decisions?account_id=second-1"
        decided = self.call("GET", of_account)["decisions"]
        if decided:
            self.call("GET", f"{of_account}&after={decided[0]['decision_id']}")
        due = self.call("GET", "/v1/due?until=2999-12-31")["accounts"]
        self.call("GET", f"/v1/due?after={due[-1]['due_id']}")

    def all(self, prefix: str) -> str:
        """Call every route; returns the id of a decision."""
        key = f"{prefix}-key"
        first = self.decide(f"{prefix}-1", key)
        assert self.decide(f"{prefix}-1", key) == first
        decision_id = str(first["decision_id"])
        batch = {"accounts": [example(f"{prefix}-{number}") for number in (2, 3)]}
        for _ in range(2):
            self.call("POST", "/v1/decisions/batch", body=batch, key=f"{key}-batch")
        self.call("POST", "/v1/advice", body=example(f"{prefix}-4"))
        answered = self.open_review(decision_id)
        self.resolve(answered)
        self.withdraw(self.open_review(decision_id))
        self.notify(decision_id)
        self.notify(decision_id, answered)
        self.open_review(decision_id)
        self.call("GET", "/v1/decisions/{id}", decision_id)
        self.call("GET", "/v1/reviews/{id}", answered)
        self.lists()
        return decision_id

    @contextlib.contextmanager
    def as_reviewer(self) -> Iterator[None]:
        """The one who asked for a review may not answer it."""
        self.caller = REVIEWER
        yield
        self.caller = ASKER

    def _build(self) -> Starlette:
        models: dict[Endpoint, tuple[str, type[ApiRequest]]] = {
            "decisions": ("/v1/decisions", Request),
            "batch": ("/v1/decisions/batch", BatchRequest),
            "advice": ("/v1/advice", AdviceRequest),
        }
        app = review_app(lambda: self._reviews)
        for endpoint, (path, model) in models.items():
            route = Route(path, self._handler(endpoint, model), methods=["POST"])
            app.router.routes.insert(0, route)
        return app

    def _handler(self, endpoint: Endpoint, model: type[ApiRequest]) -> Callable[..., Any]:
        async def handle(http_request: HttpRequest) -> Response:
            try:
                sent = await receive(model, http_request)
                body: Any = sent.body
                accounts = body.accounts if endpoint == "batch" else [body]
                return await self._decisions.decide(endpoint, body, accounts, sent.context)
            except Exception as error:  # noqa: BLE001
                return error_response(error)

        return handle


def _with_caller(app: Starlette, caller: Caller) -> Any:
    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {"caller": caller}}, receive, send)

    return called
