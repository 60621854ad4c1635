"""A service whose answers differ from its OpenAPI document: the control of the document's cases."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.described_service import DescribedService
from serving.service import LimitReduction

__all__ = ["LIES", "LimitReduction"]
_HANGS_FOR = 4.0  # seconds


class Answer(NamedTuple):
    """An answer before it is sent."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


Lie = Callable[[Answer], Answer]


def _with_text_for_number(answer: Answer) -> Answer:
    body = re.sub(rb'"probability":[^,]+', b'"probability":"low"', answer.body, count=1)
    return answer._replace(body=body)


def _with_other_content_type(answer: Answer) -> Answer:
    headers = [
        (name, b"text/plain" if name == b"content-type" else value)
        for name, value in answer.headers
    ]
    return answer._replace(headers=headers)


def _with_status_500(answer: Answer) -> Answer:
    return answer._replace(status=500)


def _with_undocumented_success(answer: Answer) -> Answer:
    """200 as 202, and a refusal as 200."""
    return answer._replace(status={200: 202, 422: 200}.get(answer.status, answer.status))


def _with_refusal_of_success(answer: Answer) -> Answer:
    return answer._replace(status=409) if answer.status < 300 else answer


def _without_header(answer: Answer) -> Answer:
    headers = [header for header in answer.headers if header[0] != b"www-authenticate"]
    return answer._replace(headers=headers)


# The method and the end of the path -> the lie.  The stored rows stay as they are.
LIES: Mapping[tuple[str, str], Lie] = {
    ("POST", "/v1/decisions"): _with_text_for_number,
    ("GET", "/v1/reviews"): _with_status_500,
    ("GET", "/v1/notices"): _with_undocumented_success,
    ("POST", "/notifications"): _with_refusal_of_success,
    ("POST", "/resolution"): _with_other_content_type,
    ("POST", "/v1/advice"): _without_header,
}


class _Liar:
    """ASGI middleware that changes answers, and lets the first batch wait too long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._has_hung = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == "/v1/decisions/batch" and not self._has_hung:
            self._has_hung = True
            await asyncio.sleep(_HANGS_FOR)
        lie = _lie_for(scope)
        if lie is None:
            await self._app(scope, receive, send)
            return
        messages: list[Message] = []

        async def collect(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, collect)
        start = messages[0]
        headers = [header for header in start["headers"] if header[0] != b"content-length"]
        body = b"".join(message.get("body", b"") for message in messages)
        answer = lie(Answer(start["status"], headers, body))
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": answer.headers,
            }
        )
        await send({"type": "http.response.body", "body": answer.body})


def _lie_for(scope: Scope) -> Lie | None:
    for (method, end), lie in LIES.items():
        if scope["method"] == method and scope["path"].endswith(end):
            return lie
    return None


_honest_app = DescribedService.to_asgi


def _lying_app(service: Any, is_main: bool = True) -> ASGIApp:
    return _Liar(_honest_app(service, is_main))


if "bentoml" in sys.argv[0]:
    # Only where BentoML serves it: pytest imports every module to look for doctests.
    DescribedService.to_asgi = _lying_app  # type: ignore[assignment, method-assign]
