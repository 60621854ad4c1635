"""The body of a request, read whole before any parser sees it: its type, size, time and encoding.

There is no limit on the depth of the JSON here. pydantic's parser stops at 200 levels (100,000
open brackets are refused in 0.1 ms), and no other parser sees a body before pydantic accepted it.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from serving.web.errors import ApiError, single_fault

SECONDS_TO_ARRIVE = 5.0
_MAX_LENGTH_DIGITS = 15


class ClientDisconnected(Exception):
    """The client closed the connection before its request was complete: no answer can be sent."""


def check_content_type(headers: Headers) -> None:
    """Raise :class:`ApiError` (415) unless the body is declared as uncompressed JSON in UTF-8."""
    content_types = headers.getlist("content-type")
    if len(content_types) != 1 or not _is_json(content_types[0]):
        message = "expected the content type application/json, in UTF-8"
        raise single_fault(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)
    for coding in headers.getlist("content-encoding"):
        if coding.strip().lower() != "identity":
            message = "expected no content encoding"
            raise single_fault(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)


async def read_body(headers: Headers, receive: Receive, max_bytes: int) -> bytes:
    """Return the whole body of a request.

    Raises
    ------
    ApiError
        413 as soon as more than `max_bytes` are announced or have arrived; 408 after
        :data:`SECONDS_TO_ARRIVE`.
    ClientDisconnected
        If the client closes the connection first.
    """
    length = headers.get("content-length", "0")
    # The server refuses a malformed length; more than 15 digits are too large without parsing.
    if not length.isdecimal() or len(length) > _MAX_LENGTH_DIGITS or int(length) > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(SECONDS_TO_ARRIVE):
            return await _read(receive, max_bytes)
    except TimeoutError:
        message = f"expected the whole request within {SECONDS_TO_ARRIVE:g} s"
        # On an open connection the late rest of the body would be parsed as the next request.
        headers_to_send = {"connection": "close"}
        raise single_fault(HTTPStatus.REQUEST_TIMEOUT, message, headers=headers_to_send) from None


async def _read(receive: Receive, max_bytes: int) -> bytes:
    body = bytearray()
    more = True
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def check_encoding(body: bytes) -> None:
    """Raise :class:`ApiError` (400) unless the body is UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError:
        raise single_fault(HTTPStatus.BAD_REQUEST, "expected UTF-8") from None


def _is_json(content_type: str) -> bool:
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [
        parameter.partition("=")[2].strip('"')
        for parameter in parameters
        if parameter.startswith("charset")
    ]
    return kind == "application/json" and all(charset in ("utf-8", "utf8") for charset in charsets)


def _too_large(max_bytes: int) -> ApiError:
    message = f"expected at most {max_bytes} bytes"
    return single_fault(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
