"""The service as it must not be: it answers otherwise than its document says.

The control of the cases of the document.
"""

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


class Said(NamedTuple):
    """An answer, before it is sent."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def _another_type(said: Said) -> Said:
    return said._replace(
        body=re.sub(rb'"probability":[^,]+', b'"probability":"low"', said.body, count=1)
    )


def _another_kind(said: Said) -> Said:
    return said._replace(
        headers=[
            (name, b"text/plain" if name == b"content-type" else value)
            for name, value in said.headers
        ]
    )


def _accepted_all_the_same(said: Said) -> Said:
    return said._replace(status={200: 202, 422: 200}.get(said.status, said.status))


def _refused_after_all(said: Said) -> Said:
    return said._replace(status=409) if said.status < 300 else said


def _silent(said: Said) -> Said:
    return said._replace(
        headers=[header for header in said.headers if header[0] != b"www-authenticate"]
    )


# What becomes of an answer to each method and ending of a path; what the record keeps stays as it
# is.
LIES: Mapping[tuple[str, str], Callable[[Said], Said]] = {
    ("POST", "/v1/decisions"): _another_type,
    ("GET", "/v1/reviews"): lambda said: said._replace(status=500),
    ("GET", "/v1/notices"): _accepted_all_the_same,
    ("POST", "/notifications"): _refused_after_all,
    ("POST", "/resolution"): _another_kind,
    ("POST", "/v1/advice"): _silent,
}


class _Liar:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._hung = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lie = next(
            (lie for (method, end), lie in LIES.items() if self._is(scope, method, end)), None
        )
        if scope["type"] == "http" and scope["path"] == "/v1/decisions/batch" and not self._hung:
            self._hung = True
            await asyncio.sleep(_HANGS_FOR)
        if lie is None:
            await self._app(scope, receive, send)
            return
        told: list[Message] = []

        async def hear(message: Message) -> None:
            told.append(message)

        await self._app(scope, receive, hear)
        body = b"".join(message.get("body", b"") for message in told)
        headers = [(name, value) for name, value in told[0]["headers"] if name != b"content-length"]
        said = lie(Said(told[0]["status"], headers, body))
        await send({"type": "http.response.start", "status": said.status, "headers": said.headers})
        await send({"type": "http.response.body", "body": said.body})

    @staticmethod
    def _is(scope: Scope, method: str, end: str) -> bool:
        return (
            scope["type"] == "http"
            and scope["method"] == method
            and bool(scope["path"].endswith(end))
        )


_honest = DescribedService.to_asgi


def _lying(service: Any, is_main: bool = True) -> ASGIApp:
    return _Liar(_honest(service, is_main))


if "bentoml" in sys.argv[0]:
    # Only where BentoML serves it: pytest imports every module that may hold a doctest.
    DescribedService.to_asgi = _lying  # type: ignore[assignment, method-assign]
