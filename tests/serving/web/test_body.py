"""Bodies at the gate: type, size, time and encoding, whatever app is behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from serving.auth.gate import Gate
from serving.auth.key_cache import KeyCache
from serving.auth.routes import LARGEST_BATCH, LARGEST_BODY
from serving.schemas import examples
from serving.web import body
from tests.support.gated_app import (
    AUTHORIZATION,
    JSON,
    LIVE,
    MARK,
    Echo,
    body_part,
    cache_of,
    messages_of,
    post_json,
    problem_of,
    request,
)

DISCONNECT: Message = {"type": "http.disconnect"}


@given(cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_the_app_gets_the_body_in_one_message(cuts: list[int]) -> None:
    content = json.dumps(examples.REQUEST).encode()
    places = [0, *sorted(cuts), len(content)]
    parts = [body_part(content[start:end]) for start, end in pairwise(places)]
    with closing(cache_of(LIVE)) as keys:
        sent = messages_of(Gate(Echo(), keys), [*parts, body_part(b"", more=False)])
    assert sent[1]["body"] == content


def test_an_app_that_reads_on_gets_the_disconnect(with_key: KeyCache) -> None:
    received: list[str] = []

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(3):
            message = await receive()
            received.append(message["type"])

    incoming = [
        body_part(b"{}", more=False),
        body_part(b"late", more=False),
        DISCONNECT,
        DISCONNECT,
    ]
    messages_of(Gate(reading, with_key), incoming)
    assert received == ["http.request", "http.disconnect", "http.disconnect"]


async def in_chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 65536):
        yield content[start : start + 65536]


@pytest.mark.parametrize(
    ("path", "largest"), [("/v1/decisions", LARGEST_BODY), ("/v1/decisions/batch", LARGEST_BATCH)]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_may_be_as_large_as_its_route_allows(
    with_key: KeyCache, path: str, largest: int, chunked: bool
) -> None:
    gate = Gate(Echo(), with_key)

    def post(size: int) -> int:
        content = b"1" * size
        response = post_json(gate, in_chunks(content) if chunked else content, path=path)
        assert ("content-length" in response.request.headers) is not chunked
        if response.is_error:
            [fault] = problem_of(response, 413).errors
            assert fault.message == f"expected at most {largest} bytes"
        return response.status_code

    assert post(largest) == 200
    assert post(largest + 1) == 413


@pytest.mark.parametrize("length", [str(LARGEST_BODY + 1), "9" * 400, "-1", "x"])
def test_a_body_that_is_announced_as_too_large_is_not_read(with_key: KeyCache, length: str) -> None:
    sent = messages_of(Gate(Echo(), with_key), [], {"content-length": length})
    assert sent[0]["status"] == 413


def test_reading_stops_at_the_limit(with_key: KeyCache) -> None:
    incoming = [body_part(b"1" * LARGEST_BODY), body_part(b"1"), body_part(b"never read")]
    sent = messages_of(Gate(Echo(), with_key), incoming)
    assert sent[0]["status"] == 413


def test_a_slow_body_is_given_up(with_key: KeyCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "SECONDS_TO_ARRIVE", 0.1)
    slow: list[Message | float] = []
    for _ in range(20):
        slow += [body_part(b" "), 0.02]
    end = body_part(b"{}", more=False)
    refused = messages_of(Gate(Echo(), with_key), [*slow, end])
    assert refused[0]["status"] == 408
    # On an open connection the rest would be parsed as the next request.
    assert (b"connection", b"close") in refused[0]["headers"]
    accepted = messages_of(Gate(Echo(), with_key), [*slow[:4], end])
    assert accepted[0]["status"] == 200


def test_a_disconnect_is_no_error_of_the_service(
    with_key: KeyCache, caplog: pytest.LogCaptureFixture
) -> None:
    echo = Echo()
    assert messages_of(Gate(echo, with_key), [body_part(b"{"), DISCONNECT]) == []
    assert echo.scopes == []
    assert caplog.records == []


CONTENT_TYPES = {
    "application/json": 200,
    "Application/JSON": 200,
    "application/json; charset=utf-8": 200,
    'application/json;charset="UTF-8"': 200,
    "application/json; version=1": 200,
    "application/json; charset=latin-1": 415,
    "application/json; charset=utf-16": 415,
    "application/json, text/plain": 415,
    "application/jsonx": 415,
    "application/problem+json": 415,
    "application/x-www-form-urlencoded": 415,
    "application/vnd.bentoml+pickle": 415,
    "text/json": 415,
    "": 415,
    MARK: 415,
}


@pytest.mark.parametrize(("content_type", "status"), CONTENT_TYPES.items())
def test_only_json_in_utf_8_is_accepted(with_key: KeyCache, content_type: str, status: int) -> None:
    headers = AUTHORIZATION | {"content-type": content_type}
    response = request(Gate(Echo(), with_key), content=b"{}", headers=headers)
    assert response.status_code == status
    if response.is_error:
        problem_of(response, 415)


@pytest.mark.parametrize(
    "content_types",
    [[], ["application/json"] * 2, ["application/json", "text/plain"]],
)
def test_exactly_one_content_type_is_accepted(with_key: KeyCache, content_types: list[str]) -> None:
    headers = [*AUTHORIZATION.items(), *(("content-type", kind) for kind in content_types)]
    response = request(Gate(Echo(), with_key), content=b"{}", headers=headers)
    problem_of(response, 415)


@pytest.mark.parametrize(
    ("coding", "status"), [("identity", 200), ("gzip", 415), ("br", 415), ("identity, gzip", 415)]
)
def test_a_compressed_body_is_refused(with_key: KeyCache, coding: str, status: int) -> None:
    headers = JSON | AUTHORIZATION | {"content-encoding": coding}
    response = request(Gate(Echo(), with_key), content=b"{}", headers=headers)
    assert response.status_code == status


@pytest.mark.parametrize(
    "content",
    [b"\xff", b'{"a": "\xc3"}', b"\xed\xa0\x80", b"\xff\xfe{\x00}\x00"],
)
def test_a_body_that_is_not_utf_8_is_refused(with_key: KeyCache, content: bytes) -> None:
    problem_of(post_json(Gate(Echo(), with_key), content), 400)


def test_the_body_of_a_get_is_limited_and_ignored(with_key: KeyCache) -> None:
    gate = Gate(Echo(), with_key)

    def get(content: bytes) -> bytes:
        response = request(gate, "GET", "/docs.json", content=content, headers=AUTHORIZATION)
        if response.is_error:
            problem_of(response, 413)
        return response.content if response.is_success else b"refused"

    assert get(b"\xff" * 10) == b""
    assert get(b"1" * (LARGEST_BODY + 1)) == b"refused"
