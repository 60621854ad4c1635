"""What goes out: every error as a problem (RFC 9457), whoever made it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Message, Send

from serving.web.errors import MEDIA_TYPE, Problem, status_problem

_KEPT = (b"allow", b"retry-after", b"www-authenticate")


class ProblemSender:
    """An ASGI ``send`` that lets a problem and a success pass and puts a problem in the place of
    any other error.

    What was not said as a problem may repeat what was sent, so nothing of it goes out but the
    status and what a client needs to go on: ``Allow``, ``Retry-After``, ``WWW-Authenticate``.
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

    async def problem(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        """Send a problem; to be called while nothing has started."""
        said = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        await self._whole(problem, said)

    async def _start(self, message: Message) -> None:
        headers = [
            (bytes(name).lower(), bytes(value)) for name, value in message.get("headers", [])
        ]
        kind = next((value for name, value in headers if name == b"content-type"), b"")
        if message["status"] >= 400 and kind.partition(b";")[0].strip() != MEDIA_TYPE.encode():
            self._replaced = True
            await self._whole(
                status_problem(message["status"]),
                [header for header in headers if header[0] in _KEPT],
            )
        else:
            self.started = True
            await self._send(message)

    async def _whole(self, problem: Problem, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = True
        body = problem.model_dump_json().encode()
        own = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await self._send(
            {"type": "http.response.start", "status": problem.status, "headers": [*own, *headers]}
        )
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
