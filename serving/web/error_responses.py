"""Every error response that leaves the service is a problem (RFC 9457)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from starlette.types import Message, Send

from serving.web.errors import MEDIA_TYPE, ApiError, Problem, single_fault, status_problem

_KEPT_HEADERS = (b"allow", b"retry-after", b"www-authenticate")
_Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not taken now, and after how many seconds its client may try again."""

    status: HTTPStatus
    message: str
    retry_after: int

    @property
    def error(self) -> ApiError:
        """The refusal as an exception."""
        headers = {"retry-after": str(self.retry_after)}
        return single_fault(self.status, self.message, headers=headers)

    def response(self, name: bytes, value: str, keeps: bool) -> bytes:
        """Return the bytes of the HTTP response, with one more header.

        `keeps` is whether the connection stays open after it.
        """
        head, body = _head_and_body(self)
        close = b"" if keeps else b"connection: close\r\n"
        return b"%b%b: %b\r\n%b\r\n%b" % (head, name, value.encode(), close, body)


@functools.lru_cache(maxsize=64)  # of few messages and seconds
def _head_and_body(refusal: Refusal) -> tuple[bytes, bytes]:
    body = refusal.error.problem.model_dump_json().encode()
    lines = [
        f"HTTP/1.1 {refusal.status:d} {refusal.status.phrase}",
        f"content-type: {MEDIA_TYPE}",
        f"content-length: {len(body)}",
        f"retry-after: {refusal.retry_after}",
        "",
    ]
    return "\r\n".join(lines).encode(), body


class ProblemSender:
    """An ASGI ``send`` that replaces errors of other formats by problems.

    Responses below 400 and problems pass unchanged. The body of any other error may repeat input,
    so only its status and the headers ``Allow``, ``Retry-After`` and ``WWW-Authenticate`` are
    kept. `started` is true once the response has begun.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._replaced = False
        self.started = False

    async def __call__(self, message: Message) -> None:
        """Send a message of the app."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif not self._replaced:
            await self._send(message)

    async def send_problem(
        self, problem: Problem, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole response; call it only while `started` is false."""
        encoded = [
            (name.lower().encode(), value.encode()) for name, value in (headers or {}).items()
        ]
        await self._send_whole(problem, encoded)

    async def _start(self, message: Message) -> None:
        headers = [
            (bytes(name).lower(), bytes(value)) for name, value in message.get("headers", [])
        ]
        if message["status"] < 400 or _is_problem(headers):
            self.started = True
            await self._send(message)
            return
        self._replaced = True
        kept = [header for header in headers if header[0] in _KEPT_HEADERS]
        await self._send_whole(status_problem(message["status"]), kept)

    async def _send_whole(self, problem: Problem, headers: _Headers) -> None:
        self.started = True
        body = problem.model_dump_json().encode()
        own_headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await self._send(
            {
                "type": "http.response.start",
                "status": problem.status,
                "headers": [*own_headers, *headers],
            }
        )
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


def _is_problem(headers: _Headers) -> bool:
    content_type = next((value for name, value in headers if name == b"content-type"), b"")
    return content_type.partition(b";")[0].strip() == MEDIA_TYPE.encode()
