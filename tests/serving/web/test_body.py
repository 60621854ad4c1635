"""Bodies at the gate: type, size, time and encoding, whatever app is behind it."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import pairwise
from typing import Any

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
    JSON,
    LIVE,
    MARK,
    SHOWN,
    Echo,
    asked,
    keys_of,
    piece,
    problem_of,
    served,
)


@given(cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_the_app_gets_the_body_in_one_piece_however_it_comes(cuts: list[int]) -> None:
    content = json.dumps(examples.REQUEST).encode()
    places = [0, *sorted(cuts), len(content)]
    pieces = [piece(content[start:end], True) for start, end in pairwise(places)]
    with closing(keys_of(LIVE)) as held:
        sent = served(Gate(Echo(), held), [*pieces, piece(b"", False)])
    assert sent[1]["body"] == content


def test_an_app_that_waits_hears_that_the_client_hung_up(with_key: KeyCache) -> None:
    heard: list[Message] = []

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        heard.extend([await receive(), await receive(), await receive()])

    gone = {"type": "http.disconnect"}
    served(Gate(waiting, with_key), [piece(b"{}", False), piece(b"late", False), gone, gone])
    assert [message["type"] for message in heard] == [
        "http.request",
        "http.disconnect",
        "http.disconnect",
    ]


@pytest.mark.parametrize(
    ("path", "largest"), [("/v1/decisions", LARGEST_BODY), ("/v1/decisions/batch", LARGEST_BATCH)]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_as_large_as_its_route_lets_it(
    with_key: KeyCache, path: str, largest: int, chunked: bool
) -> None:
    async def in_chunks(content: bytes) -> Any:
        for start in range(0, len(content), 65536):
            yield content[start : start + 65536]

    for size, status in ((largest, 200), (largest + 1, 413)):
        content = b"1" * size
        response = asked(
            Gate(Echo(), with_key),
            path=path,
            content=in_chunks(content) if chunked else content,
            headers=JSON | SHOWN,
        )
        assert ("content-length" in response.request.headers) is not chunked
        assert response.status_code == status
    assert problem_of(response, 413).errors[0].message == f"expected at most {largest} bytes"


def test_what_is_announced_as_too_large_is_not_read(with_key: KeyCache) -> None:
    for announced in (str(LARGEST_BODY + 1), "9" * 400, "-1", "x"):
        assert served(Gate(Echo(), with_key), [], {"content-length": announced})[0]["status"] == 413


def test_no_more_is_read_than_is_let_in(with_key: KeyCache) -> None:
    coming: list[Message | float] = [piece(b"1" * LARGEST_BODY), piece(b"1"), piece(b"never")]
    sent = served(Gate(Echo(), with_key), coming)
    assert sent[0]["status"] == 413


def test_a_body_that_comes_too_slowly_is_given_up(
    with_key: KeyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "SECONDS_TO_ARRIVE", 0.1)
    slowly: list[Message | float] = [item for _ in range(20) for item in (piece(b" "), 0.02)]
    sent = served(Gate(Echo(), with_key), [*slowly, piece(b"{}", False)])
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]  # the rest would be taken for a request
    assert served(Gate(Echo(), with_key), [*slowly[:4], piece(b"{}", False)])[0]["status"] == 200


def test_a_client_that_hangs_up_is_no_fault_of_ours(
    with_key: KeyCache, caplog: pytest.LogCaptureFixture
) -> None:
    echo = Echo()
    assert served(Gate(echo, with_key), [piece(b"{"), {"type": "http.disconnect"}]) == []
    assert (echo.scopes, caplog.records) == ([], [])


KINDS = {
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


@pytest.mark.parametrize("kind", list(KINDS))
def test_only_json_in_utf_8_is_let_in(with_key: KeyCache, kind: str) -> None:
    response = asked(Gate(Echo(), with_key), content=b"{}", headers=SHOWN | {"content-type": kind})
    assert response.status_code == KINDS[kind]
    if response.is_error:
        problem_of(response, 415)


def test_a_second_kind_or_none_is_refused(with_key: KeyCache) -> None:
    for kinds in ([], ["application/json"] * 2, ["application/json", "text/plain"]):
        headers = [*SHOWN.items(), *(("content-type", kind) for kind in kinds)]
        problem_of(asked(Gate(Echo(), with_key), content=b"{}", headers=headers), 415)


@pytest.mark.parametrize(
    ("coding", "status"), [("identity", 200), ("gzip", 415), ("br", 415), ("identity, gzip", 415)]
)
def test_a_body_that_is_compressed_is_refused(with_key: KeyCache, coding: str, status: int) -> None:
    headers = JSON | SHOWN | {"content-encoding": coding}
    assert asked(Gate(Echo(), with_key), content=b"{}", headers=headers).status_code == status


@pytest.mark.parametrize(
    "content",
    [b"\xff", b'{"a": "\xc3"}', b"\xed\xa0\x80", b"\xff\xfe{\x00}\x00"],
)
def test_a_body_that_is_not_utf_8_is_refused(with_key: KeyCache, content: bytes) -> None:
    problem_of(asked(Gate(Echo(), with_key), content=content, headers=JSON | SHOWN), 400)


def test_a_body_with_get_is_limited_and_ignored(with_key: KeyCache) -> None:
    gate = Gate(Echo(), with_key)
    assert asked(gate, "GET", "/docs.json", content=b"\xff" * 10, headers=SHOWN).content == b""
    problem_of(
        asked(gate, "GET", "/docs.json", content=b"1" * (LARGEST_BODY + 1), headers=SHOWN), 413
    )
