"""A client of the reviews' endpoints, for tests over HTTP."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httpx

PAGE_SIZE = 100
Json = dict[str, Any]


class ReviewClient:
    """The endpoints of decisions, reviews and notices; `http` makes any other request."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def decide(self, request: Json) -> Json:
        """The decision on an account with nothing in force, however often it was decided on."""
        first = {"prior": None} | request
        return self._body(self.http.post("/v1/decisions", json=first), HTTPStatus.OK)

    def first_decided(self, requests: list[Json], wanted: Callable[[Json], bool]) -> Json:
        """The first of the requests whose decision is as `wanted`."""
        for request in requests:
            if wanted(self.decide(request)):
                return request
        raise AssertionError("expected a request with such a decision among them, got none")

    def record(self, decision: Json) -> Json:
        """The decision with its reviews and notifications."""
        return self._body(
            self.http.get(f"/v1/decisions/{decision['decision_id']}"),
            HTTPStatus.OK,
        )

    def ask_for_review(self, decision: Json, **fields: Any) -> httpx.Response:
        path = f"/v1/decisions/{decision['decision_id']}/reviews"
        return self.http.post(path, json={"reason": "I was ill."} | fields)

    def open_review(self, decision: Json, **fields: Any) -> Json:
        return self._body(self.ask_for_review(decision, **fields), HTTPStatus.CREATED)

    def review(self, review: Json) -> Json:
        return self._body(self.http.get(f"/v1/reviews/{review['review_id']}"), HTTPStatus.OK)

    def step(self, review: Json, name: str, **fields: Any) -> httpx.Response:
        return self.http.post(f"/v1/reviews/{review['review_id']}/{name}", json=fields)

    def start(self, review: Json, reviewer: str = "Li Na") -> Json:
        return self._body(self.step(review, "start", reviewer=reviewer), HTTPStatus.OK)

    def resolve(self, review: Json, **fields: Any) -> Json:
        """Take a review and answer it."""
        self.start(review)
        answer = {"reviewer": "Li Na", "reasons": "So it is."} | fields
        return self._body(self.step(review, "resolution", **answer), HTTPStatus.OK)

    def notify(self, decision: Json, **fields: Any) -> httpx.Response:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        sent = {"sent_at": now, "channel": "app", "language": "zh"} | fields
        path = f"/v1/decisions/{decision['decision_id']}/notifications"
        return self.http.post(path, json=sent)

    def open_reviews(self) -> list[Json]:
        """All reviews without an answer; other tests use the same service."""
        return self._all_pages("/v1/reviews", "reviews", "review_id")

    def unsent_notices(self) -> list[Json]:
        """All notices that are not sent yet; other tests use the same service."""
        return self._all_pages("/v1/notices", "notices", "notice_id")

    def _all_pages(self, path: str, field: str, id_field: str) -> list[Json]:
        items: list[Json] = []
        while True:
            after = {"after": items[-1][id_field]} if items else {}
            page = self._body(self.http.get(path, params=after), HTTPStatus.OK)[field]
            items += page
            if len(page) < PAGE_SIZE:
                return items

    @staticmethod
    def _body(response: httpx.Response, status: HTTPStatus) -> Json:
        assert response.status_code == status, response.text
        body: Json = response.json()
        return body
