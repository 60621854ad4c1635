"""The gate's promises: in the process where a clock or a failing app is needed, else over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.auth.caller import LOOPBACK, Caller, caller_of
from serving.auth.gate import Gate, RealPath
from serving.auth.key_cache import KeyCache
from serving.auth.keys import Key
from serving.auth.rate_limit import RateLimiter
from serving.operations.client import start_service
from serving.web.error_responses import ProblemSender
from serving.web.errors import internal_error
from tests.serving.conftest import Guarded, Server
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

# Rates


@given(rate=st.floats(0.01, 1000), pauses=st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_a_key_gets_no_more_than_its_rate_and_what_it_saved(
    rate: float, pauses: list[float]
) -> None:
    now = 0.0
    limiter = RateLimiter(clock=lambda: now)
    passed: list[float] = []
    for pause in pauses:
        now += pause
        waits = [limiter.acquire("key", rate) for _ in range(3)]
        passed += [now] * waits.count(0.0)
        assert all(0 <= wait <= 1 / rate + 1e-9 for wait in waits)
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= max(1.0, 2 * rate) + rate * (passed[last] - start) + 1e-6
    wait = limiter.acquire("key", rate)
    now += wait + 1e-9
    assert limiter.acquire("key", rate) == 0.0 or not wait  # who waits as told is let in
    assert limiter.acquire("another", rate) == 0.0


def test_a_key_that_asks_too_often_is_told_when_to_come_back() -> None:
    with closing(keys_of(replace(LIVE, rate=0.3))) as held:
        gate = Gate(Echo(), held)
        assert asked(gate, content=b"{}", headers=JSON | SHOWN).status_code == 200
        for path in ("/v1/decisions", "/nowhere"):
            refused = asked(gate, path=path, content=b"{}", headers=JSON | SHOWN)
            problem_of(refused, 429)
            assert refused.headers["retry-after"] == "4"


def test_a_key_that_asks_too_often_is_refused_over_http(guarded: Guarded) -> None:
    headers = {"authorization": f"Bearer {guarded.keys['slow']}"}
    answers = [httpx.get(f"{guarded.url}/docs.json", headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert 90 <= int(answers[2].headers["retry-after"]) <= 100


# Without a key


@pytest.mark.parametrize(
    ("client", "headers", "let_in"),
    [
        ("127.0.0.1", {}, True),
        ("127.8.9.1", {}, True),
        ("::1", {}, True),
        ("::ffff:127.0.0.1", {}, True),
        ("127.0.0.1", {"host": "localhost:3000"}, True),
        ("127.0.0.1", {"host": "[::1]:3000"}, True),
        ("127.0.0.1", SHOWN, True),
        ("10.0.0.1", {}, False),
        ("::ffff:10.0.0.1", {}, False),
        ("192.0.2.1", {"host": "127.0.0.1"}, False),
        ("127.0.0.1.example", {}, False),
        ("", {}, False),
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}, False),
        ("127.0.0.1", {"forwarded": "for=10.0.0.1"}, False),
        ("127.0.0.1", {"x-real-ip": "10.0.0.1"}, False),
        ("127.0.0.1", {"host": "rebound.example:3000"}, False),
        ("127.0.0.1", {"host": "localhost.example"}, False),
    ],
)
def test_without_a_key_only_this_machine_is_answered(
    without_key: KeyCache,
    client: str,
    headers: dict[str, str],
    let_in: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    echo = Echo()
    for _ in range(3):
        response = asked(
            Gate(echo, without_key), client=client, content=b"{}", headers=JSON | headers
        )
    if let_in:
        assert response.status_code == 200
        assert [caller_of(scope) for scope in echo.scopes] == [LOOPBACK] * 3
    else:
        problem_of(response, 403)
        assert echo.scopes == []
        assert client in caplog.text
    assert (
        asked(Gate(echo, without_key), "GET", "/livez", client=client, headers=headers).status_code
        == 200
    )


def test_a_stranger_is_logged_once_a_minute(
    without_key: KeyCache, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(Echo(), without_key)
    for _ in range(5):
        for client in ("10.0.0.1", "10.0.0.2"):
            problem_of(asked(gate, path=f"/{MARK}", client=client), 403)
    assert len(caplog.records) == 2
    assert MARK not in caplog.text


def test_a_service_without_keys_says_so_and_refuses_others(server: Server) -> None:
    assert (
        server.log.read_text().count(
            "only clients on this machine are answered, everybody else gets 403"
        )
        == 1
    )
    # uvicorn takes the client's address from a proxy on this machine.
    response = httpx.get(f"{server.url}/docs.json", headers={"x-forwarded-for": "192.0.2.7"})
    problem_of(response, 403)
    assert "192.0.2.7" in server.log.read_text()
    assert httpx.get(f"{server.url}/docs.json").status_code == 200


def test_a_service_with_keys_says_nothing_of_the_kind(guarded: Guarded) -> None:
    log = guarded.log.read_text()
    assert "initialized" in log
    assert "only clients on this machine" not in log


def test_nobody_is_let_in_while_the_keys_are_not_known() -> None:
    def failing() -> Sequence[Key]:
        raise OSError(MARK)

    with closing(KeyCache(failing, 0.01)) as held:
        held.wait()
        gate = Gate(Echo(), held)
        for path in ("/docs.json", "/readyz", "/nowhere"):
            refused = asked(gate, "GET", path, headers=SHOWN)
            problem_of(refused, 503)
            assert int(refused.headers["retry-after"]) >= 1
        assert asked(gate, "GET", "/livez").status_code == 200


def test_a_gate_opens_the_keys_of_the_record_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.db").write_bytes(b"no database" * 200)
    for name, status in (("made/new.db", 200), ("broken.db", 503)):
        monkeypatch.setenv("CLEARLINE_RECORD", f"sqlite:///{tmp_path / name}")
        gate = Gate(Echo())
        assert asked(gate, "GET", "/docs.json").status_code == status
        assert gate._keys is not None
        gate._keys.close()


# What is handed on, and what comes back


def test_the_app_learns_who_asks_and_the_metrics_see_templates(with_key: KeyCache) -> None:
    seen: list[str] = []
    echo = Echo()

    async def metrics(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await RealPath(echo)(scope, receive, send)

    gate = Gate(metrics, with_key)
    for path in ("/v1/decisions/0199-a", "/docs.json"):
        assert asked(gate, "GET", path, headers=SHOWN).status_code == 200
    assert seen == ["/v1/decisions/{id}", "/docs.json"]
    assert [scope["path"] for scope in echo.scopes] == ["/v1/decisions/0199-a", "/docs.json"]
    assert [caller_of(scope) for scope in echo.scopes] == [LIVE.caller] * 2


def test_an_app_without_a_gate_knows_no_caller() -> None:
    scopes: list[dict[str, Any]] = [{}, {"state": {}}, {"state": {"caller": "loopback"}}]
    for scope in scopes:
        with pytest.raises(LookupError, match="caller"):
            caller_of(scope)


@pytest.mark.usefixtures("server")
def test_metrics_name_no_path_that_was_asked_for(tmp_path: Path) -> None:
    # A service of its own: each one that starts takes away the metrics of those of the same
    # BENTOML_HOME.
    with start_service(tmp_path / "log") as url, httpx.Client(base_url=url, timeout=30) as client:
        for number in range(5):
            client.get(f"/v1/decisions/{MARK}-{number}")
            client.get(f"/{MARK}/{number}")
            client.post(f"/v1/reviews/{MARK}{number}/start", content=b"{}", headers=JSON)
        client.get(f"/{MARK}")
        metrics = client.get("/metrics").raise_for_status().text
    assert 'endpoint="/v1/decisions/{id}"' in metrics
    assert 'endpoint="/v1/reviews/{id}/start"' in metrics
    assert MARK not in metrics


def replying(*messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


@pytest.mark.parametrize(
    "status", [400, 404, 405, 413, 422, 429, 431, 499, 500, 501, 503, 504, 599]
)
@pytest.mark.parametrize("kind", [b"application/json", b"text/html; charset=utf-8", b""])
def test_every_error_of_the_app_leaves_as_a_problem(
    with_key: KeyCache, status: int, kind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    headers = [
        (b"content-type", kind),
        (b"Retry-After", b"7"),
        (b"allow", b"GET"),
        (b"x-said", MARK.encode()),
    ]
    start = {"type": "http.response.start", "status": status, "headers": headers}
    parts = [
        {"type": "http.response.body", "body": MARK.encode(), "more_body": more}
        for more in (True, True, False)
    ]
    response = asked(Gate(replying(start, *parts), with_key), content=b"{}", headers=JSON | SHOWN)
    problem = problem_of(response, status)
    assert bool(problem.errors) is (status < 500)
    assert (response.headers["retry-after"], response.headers["allow"]) == ("7", "GET")
    assert "x-said" not in response.headers
    # nothing went out after the end either: the client here would have complained
    assert caplog.records == []


def test_problems_and_answers_leave_as_they_are(with_key: KeyCache) -> None:
    for status, kind in (
        (200, "text/plain"),
        (304, "text/plain"),
        (422, "application/problem+json"),
    ):
        start = {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", kind.encode()), (b"x-a", b"b")],
        }
        parts = [
            {"type": "http.response.body", "body": b"ab", "more_body": more}
            for more in (True, False)
        ]
        response = asked(
            Gate(replying(start, *parts), with_key), content=b"{}", headers=JSON | SHOWN
        )
        assert (response.status_code, response.content, response.headers["x-a"]) == (
            status,
            b"abab",
            "b",
        )


def test_a_fault_behind_the_gate_is_masked(
    with_key: KeyCache, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            raise KeyError(MARK)
        except KeyError as error:
            raise ValueError(MARK) from error

    response = asked(Gate(failing, with_key), content=MARK.encode(), headers=JSON | SHOWN)
    assert problem_of(response, 500) == internal_error()
    assert "ValueError" in caplog.text
    assert "in failing" in caplog.text
    assert MARK not in caplog.text


def test_a_fault_after_the_first_byte_says_nothing_more(
    with_key: KeyCache, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError(MARK)

    assert [
        message["type"] for message in served(Gate(failing, with_key), [piece(b"{}", False)])
    ] == ["http.response.start"]
    assert MARK not in caplog.text


def test_a_websocket_is_refused_as_a_problem_where_the_server_can(with_key: KeyCache) -> None:
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["websocket.close"]),
        (
            {"websocket.http.response": {}},
            ["websocket.http.response.start", "websocket.http.response.body"],
        ),
    ]
    for extensions, types in cases:
        sent: list[Message] = []

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        scope = {"type": "websocket", "path": "/", "extensions": extensions}
        asyncio.run(Gate(Echo(), with_key)(scope, None, send))  # type: ignore[arg-type]
        assert [message["type"] for message in sent] == types


def test_outgoing_sends_a_problem_with_its_length() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(ProblemSender(send).send_problem(internal_error(), {"Retry-After": "1"}))
    headers = dict(sent[0]["headers"])
    assert headers[b"content-length"] == str(len(sent[1]["body"])).encode()
    assert headers[b"retry-after"] == b"1"


def test_a_caller_may_what_its_scopes_say() -> None:
    assert Caller("k", "t", frozenset({"score"})).may("review", "score")
    assert not Caller("k", "t", frozenset({"score"})).may("review", "audit")
