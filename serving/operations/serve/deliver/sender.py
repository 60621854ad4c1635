"""One attempt to post an event, and what its answer means."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

import httpx

from serving.operations.serve.deliver.endpoints import Endpoint
from serving.operations.serve.deliver.message import Message, signed_headers

_MOST_ANSWER = 16 * 1024  # bytes that are read, so that the connection can be used again
_LONGEST_RETRY_AFTER = 3600.0  # seconds
# Of a request that is refused for now: it came too slowly, or too soon.
_FOR_NOW = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an attempt.

    ``failed`` = try again: there was no answer in time, or one that says nothing for good.
    ``refused`` = the app will not take the event. ``why`` names neither URL nor content.
    ``retry_after`` is in seconds, None = the app did not say.
    """

    outcome: Literal["delivered", "refused", "failed"]
    status: int | None = None
    why: str = ""
    retry_after: float | None = None


class Sender:
    """Posts to one endpoint, over connections that are kept."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        limits = httpx.Limits(max_connections=endpoint.in_flight)
        # Redirects are not followed: what is signed for one place is posted to no other.
        self._client = httpx.AsyncClient(
            limits=limits, timeout=endpoint.timeout, follow_redirects=False
        )

    async def send(self, message: Message) -> Answer:
        """Post an event, and wait for the answer; the timeout is for all of it."""
        body = message.body
        secrets = self._endpoint.secrets
        headers = signed_headers(message.event_id, body, secrets, int(time.time()))
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                return await self._post(body, headers)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Answer("failed", why=type(error).__name__)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        url = self._endpoint.url
        posting = self._client.stream("POST", url, content=body, headers=dict(headers))
        async with posting as response:
            answer = judge(response.status_code, response.headers.get("retry-after"))
            read = 0
            async for piece in response.aiter_raw():
                read += len(piece)
                if read > _MOST_ANSWER:
                    break
        return answer


def judge(status: int, retry_after: str | None) -> Answer:
    """What a status means.

    >>> judge(204, None).outcome, judge(422, None).outcome, judge(503, "7").retry_after
    ('delivered', 'refused', 7.0)
    >>> judge(302, None).outcome, judge(429, "soon").retry_after
    ('failed', None)
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Answer("delivered", status)
    is_client_error = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    if is_client_error and status not in _FOR_NOW:
        return Answer("refused", status, f"status {status}")
    return Answer("failed", status, f"status {status}", _seconds(retry_after))


def _seconds(text: str | None) -> float | None:
    """The seconds of a ``Retry-After``; a date is not read, and the own back-off goes on."""
    if text is None or not text.isascii() or not text.isdecimal():
        return None
    return min(float(text), _LONGEST_RETRY_AFTER)
