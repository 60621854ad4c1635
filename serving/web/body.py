"""The body of a request, read whole before anything looks at it: of the right kind, size and shape,
and in good time.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from itertools import accumulate

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.types import Message, Receive

from serving.web.errors import ApiError, Fault, api_error


async def read_body(request: HttpRequest, largest: int) -> bytes:
    """The body, at most ``largest`` bytes; raises :class:`ApiError` as soon as more have come,
    without reading on.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > largest:
                fault = Fault(path="$", message=f"expected at most {largest} bytes")
                raise api_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, [fault])
    except ClientDisconnect:
        # Nobody is left to read the answer; it keeps a caller's hanging up from being logged as an
        # error of ours.
        raise api_error(
            HTTPStatus.BAD_REQUEST, [Fault(path="$", message="the body ended early")]
        ) from None
    return bytes(body)


DEEPEST = 32  # objects and arrays within each other; a request has four
SECONDS_TO_ARRIVE = 5.0
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_STEPS = bytes.maketrans(b"[]", bytes([1, 255]))  # as signed bytes: one deeper, one higher
_PIECE = 4096


class ClientDisconnected(Exception):
    """The client hung up before its request was whole; nobody is left to answer."""


def check_content_type(headers: Headers) -> None:
    """Raises :class:`serving.web.errors.ApiError` (415) for what is not called JSON in UTF-8, or is
    compressed.
    """
    kinds = headers.getlist("content-type")
    if len(kinds) != 1 or not _is_json(kinds[0]):
        raise _refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "expected the content type application/json, in UTF-8",
        )
    if any(coding.strip().lower() != "identity" for coding in headers.getlist("content-encoding")):
        raise _refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected no content encoding")


async def receive_body(headers: Headers, receive: Receive, largest: int) -> bytes:
    """The body, at most ``largest`` bytes.

    Raises Refused (413) as soon as more is announced or has come, Refused (408) where it takes
    longer than 5 s, and :class:`ClientDisconnected`.
    """
    announced = headers.get("content-length", "0")
    # Servers refuse what is no number; a long one is not worth reading.
    if not announced.isdecimal() or len(announced) > 15 or int(announced) > largest:
        raise _too_large(largest)
    try:
        async with asyncio.timeout(SECONDS_TO_ARRIVE):
            return await _read(receive, largest)
    except TimeoutError:
        # The rest may come at any time and would be taken for the next request: the connection
        # ends.
        message = f"expected the whole request within {SECONDS_TO_ARRIVE:g} s"
        raise _refused(HTTPStatus.REQUEST_TIMEOUT, message, {"connection": "close"}) from None


async def _read(receive: Receive, largest: int) -> bytes:
    body = bytearray()
    more = True
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > largest:
            raise _too_large(largest)
    return bytes(body)


def check_encoding_and_depth(body: bytes) -> None:
    """Raises Refused (400) for what is not UTF-8, or nested deeper than :data:`DEEPEST`; otherwise
    it may not be JSON yet.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        raise _refused(HTTPStatus.BAD_REQUEST, "expected UTF-8") from None
    if not is_shallow(body):
        raise _refused(
            HTTPStatus.BAD_REQUEST, f"expected JSON that is nested at most {DEEPEST} deep"
        )


def is_shallow(body: bytes) -> bool:
    """Whether objects and arrays are at most :data:`DEEPEST` within each other, whatever stands in
    texts.

    Without a parser, because some recurse.  Measured: 4 us for a request of 6 KB, 75 us for a batch
    of 30 KB.

    >>> is_shallow(b"[" * 32 + b"]" * 32), is_shallow(b"[" * 33 + b"]" * 33), is_shallow(b'["' + b"[" * 33 + b'"]')
    (True, False, True)
    """
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return True
    if b"\\" in body:
        # Pairs first: in \\" the quotation mark ends the text.
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(body.translate(None, _NOT_STRUCTURE).split(b'"')[::2]).translate(_ONE_KIND)
    return _depth(outside) <= DEEPEST


def _depth(brackets: bytes) -> int:
    """How deep square brackets stand within each other, or more where they do not match; stops
    beyond :data:`DEEPEST`.
    """
    levels = 0
    # The innermost go first, all at once, as long as most are innermost: ten times faster than step
    # by step.
    while 2 * len(left := brackets.replace(b"[]", b"")) < len(brackets):
        brackets, levels = left, levels + 1
    steps = memoryview(brackets.translate(_STEPS)).cast("b")
    depth = deepest = 0
    for start in range(0, len(steps), _PIECE):
        depths = list(accumulate(steps[start : start + _PIECE], initial=depth))
        depth, deepest = depths[-1], max(deepest, max(depths))
        if levels + deepest > DEEPEST:
            break
    return levels + deepest


def _is_json(content_type: str) -> bool:
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [
        parameter.partition("=")[2].strip('"')
        for parameter in parameters
        if parameter.startswith("charset")
    ]
    return kind == "application/json" and all(charset in ("utf-8", "utf8") for charset in charsets)


def _too_large(largest: int) -> ApiError:
    return _refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {largest} bytes")


def _refused(status: HTTPStatus, message: str, headers: dict[str, str] | None = None) -> ApiError:
    return api_error(status, [Fault(path="$", message=message)], headers)
