"""The gate: in this process where a clock or a failing app is needed, else over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import combinations_with_replacement
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
from serving.auth.local_token import LocalToken, read_token
from serving.auth.rate_limit import RateLimiter
from serving.web.error_responses import ProblemSender
from serving.web.errors import internal_error
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
from tests.support.records import environment_of, settings_in
from tests.support.served import Guarded, Server

# Rates


@given(rate=st.floats(0.01, 1000), pauses=st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_a_key_never_exceeds_its_rate_and_burst(rate: float, pauses: list[float]) -> None:
    now = 0.0
    limiter = RateLimiter(clock=lambda: now)
    allowed_at: list[float] = []
    for pause in pauses:
        now += pause
        waits = [limiter.acquire("key", rate) for _ in range(3)]
        allowed_at += [now] * waits.count(0.0)
        assert all(0 <= wait <= 1 / rate + 1e-9 for wait in waits)
    burst = max(1.0, 2 * rate)
    for first, last in combinations_with_replacement(range(len(allowed_at)), 2):
        seconds = allowed_at[last] - allowed_at[first]
        assert last - first + 1 <= burst + rate * seconds + 1e-6
    wait = limiter.acquire("key", rate)
    now += wait + 1e-9
    assert limiter.acquire("key", rate) == 0.0 or not wait, "refused after the stated wait"
    assert limiter.acquire("another", rate) == 0.0


def test_a_key_above_its_rate_is_told_when_to_try_again() -> None:
    with closing(cache_of(replace(LIVE, rate=0.3))) as keys:
        gate = Gate(Echo(), keys)
        assert post_json(gate).status_code == 200
        for path in ("/v1/decisions", "/nowhere"):
            refused = post_json(gate, path=path)
            problem_of(refused, 429)
            assert refused.headers["retry-after"] == "4"


def test_a_key_above_its_rate_is_refused_over_http(guarded: Guarded) -> None:
    headers = {"authorization": f"Bearer {guarded.keys['slow']}"}
    responses = [httpx.get(f"{guarded.url}/docs.json", headers=headers) for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 429, 429]
    assert 90 <= int(responses[2].headers["retry-after"]) <= 100


# Without a key

DIRECT: list[tuple[str, dict[str, str]]] = [
    ("127.0.0.1", {}),
    ("127.8.9.1", {}),
    ("::1", {}),
    ("::ffff:127.0.0.1", {}),
    ("127.0.0.1", {"host": "localhost:3000"}),
    ("127.0.0.1", {"host": "LOCALHOST:3000"}),
    ("127.0.0.1", {"x-request-id": "1", "accept": "*/*"}),
]
NOT_DIRECT: list[tuple[str, dict[str, str]]] = [
    ("10.0.0.1", {}),
    ("::ffff:10.0.0.1", {}),
    ("192.0.2.1", {"host": "127.0.0.1:3000"}),
    ("127.0.0.1.example", {}),
    ("", {}),
    ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}),
    ("127.0.0.1", {"x-forwarded-proto": "http"}),
    ("127.0.0.1", {"x-forwarded-anything": ""}),
    ("127.0.0.1", {"forwarded": "for=10.0.0.1"}),
    ("127.0.0.1", {"via": "1.1 proxy"}),
    ("127.0.0.1", {"x-real-ip": "10.0.0.1"}),
    ("127.0.0.1", {"host": "rebound.example:3000"}),
    ("127.0.0.1", {"host": "localhost.example:3000"}),
    ("127.0.0.1", {"host": "localhost"}),
    ("127.0.0.1", {"host": "127.0.0.1"}),
    ("127.0.0.1", {"host": "127.0.0.1:3001"}),
    ("127.0.0.1", {"host": "127.0.0.2:3000"}),
    ("127.0.0.1", {"host": "[::1]:3000"}),
    ("127.0.0.1", {"host": ""}),
]
NO_TOKEN = {
    "none": {},
    "a key": AUTHORIZATION,
    "the beginning of it": {"authorization": f"Bearer {'local_'}"},
    "as another scheme": {"authorization": "Basic TOKEN"},
    "as text": {"authorization": "TOKEN"},
    "with an end": {"authorization": "Bearer TOKENx"},
    "without an end": {"authorization": "Bearer CUT"},
    "not ASCII": {"authorization": "Bearer \u00fc"},
    "in another header": {"x-api-key": "TOKEN"},
}


@pytest.fixture
def token(tmp_path: Path) -> LocalToken:
    made = LocalToken(tmp_path / "token")
    made.create()
    return made


def with_token(token: LocalToken) -> dict[str, str]:
    return {"authorization": f"Bearer {read_token(token.file)}"}


@pytest.mark.parametrize(("client", "headers"), DIRECT)
def test_without_keys_a_direct_client_with_the_token_is_answered(
    without_key: KeyCache, token: LocalToken, client: str, headers: dict[str, str]
) -> None:
    echo = Echo()
    gate = Gate(echo, without_key, token)
    sent = JSON | headers | with_token(token)
    for _ in range(3):
        response = request(gate, client=client, content=b"{}", headers=sent)
        assert response.status_code == 200
    assert [caller_of(scope) for scope in echo.scopes] == [LOOPBACK] * 3
    assert request(gate, "GET", "/livez", client=client, headers=headers).status_code == 200


@pytest.mark.parametrize("name", NO_TOKEN)
def test_without_keys_a_direct_client_needs_the_token(
    without_key: KeyCache, token: LocalToken, name: str
) -> None:
    echo = Echo()
    gate = Gate(echo, without_key, token)
    text = str(read_token(token.file))
    headers = {
        field: value.replace("TOKEN", text).replace("CUT", text[:-1]).encode()
        for field, value in NO_TOKEN[name].items()
    }
    refused = request(gate, content=b"{}", headers={**JSON, **headers})
    problem_of(refused, 401)
    assert refused.headers["www-authenticate"] == "Bearer"
    assert text not in refused.text
    assert str(token.file) not in refused.text
    assert echo.scopes == []
    # The control: with the token the same client is answered.
    assert request(gate, content=b"{}", headers=JSON | with_token(token)).status_code == 200


@pytest.mark.parametrize(("client", "headers"), NOT_DIRECT)
def test_without_keys_any_other_client_is_refused_and_logged(
    without_key: KeyCache,
    token: LocalToken,
    client: str,
    headers: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    echo = Echo()
    gate = Gate(echo, without_key, token)
    sent = JSON | headers | with_token(token)
    for _ in range(3):
        response = request(gate, client=client, content=b"{}", headers=sent)
        problem_of(response, 403)
        assert "in Host the address" in response.text
    assert echo.scopes == []
    assert len(caplog.records) == 1
    assert client in caplog.text
    assert request(gate, "GET", "/livez", client=client, headers=headers).status_code == 200


def test_a_token_opens_nothing_once_there_is_a_key(with_key: KeyCache, token: LocalToken) -> None:
    gate = Gate(Echo(), with_key, token)
    problem_of(request(gate, content=b"{}", headers=JSON | with_token(token)), 401)
    assert post_json(gate).status_code == 200


def test_without_keys_and_without_a_writable_folder_nobody_is_answered(
    without_key: KeyCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    gate = Gate(Echo(), without_key, LocalToken(tmp_path / "file" / "token"))
    for headers in ({}, {"authorization": "Bearer "}, {"authorization": "Bearer None"}):
        problem_of(request(gate, "GET", "/docs.json", headers=headers), 401)
    assert "the token of local callers cannot be written" in caplog.text


def test_an_address_is_logged_once_a_minute(
    without_key: KeyCache, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(Echo(), without_key)
    for _ in range(5):
        for client in ("10.0.0.1", "10.0.0.2"):
            problem_of(request(gate, path=f"/{MARK}", client=client), 403)
    assert len(caplog.records) == 2
    assert MARK not in caplog.text


def test_a_service_without_keys_says_so_and_refuses_others(server: Server) -> None:
    warning = "only clients on this machine are answered, all others get 403"
    log = server.log.read_text(encoding="utf-8")
    assert log.count(warning) == 1
    assert str(server.log.parent / "record.db.token") in log
    assert server.token not in log
    # uvicorn takes the client's address from the header of a proxy on this machine.
    headers = {"x-forwarded-for": "192.0.2.7"} | server.headers
    problem_of(httpx.get(f"{server.url}/docs.json", headers=headers), 403)
    assert "192.0.2.7" in server.log.read_text(encoding="utf-8")
    problem_of(httpx.get(f"{server.url}/docs.json"), 401)
    assert httpx.get(f"{server.url}/docs.json", headers=server.headers).status_code == 200


def test_a_service_with_keys_has_no_such_warning(guarded: Guarded) -> None:
    log = guarded.log.read_text(encoding="utf-8")
    assert "initialized" in log
    assert "only clients on this machine" not in log


# The keys


def test_nobody_is_answered_before_the_keys_are_read() -> None:
    def fail() -> Sequence[Key]:
        raise OSError(MARK)

    with closing(KeyCache(fail, 0.01)) as keys:
        keys.wait()
        gate = Gate(Echo(), keys)
        for path in ("/docs.json", "/readyz", "/nowhere"):
            refused = request(gate, "GET", path, headers=AUTHORIZATION)
            problem_of(refused, 503)
            assert int(refused.headers["retry-after"]) >= 1
        assert request(gate, "GET", "/livez").status_code == 200


@pytest.mark.parametrize(("database", "status"), [("new/record.db", 200), ("broken.db", 503)])
def test_a_gate_opens_the_database_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str, status: int
) -> None:
    (tmp_path / "broken.db").write_bytes(b"no database" * 200)
    # All of them: the folder of the tests may hold the checkpoints of a service that ran there.
    settings = settings_in(tmp_path, f"sqlite:///{tmp_path / database}")
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    gate = Gate(Echo())
    assert request(gate, "GET", "/docs.json").status_code == (401 if status == 200 else status)
    token = read_token(tmp_path / f"{database}.token")
    assert (token is not None) is (status == 200)
    headers = {"authorization": f"Bearer {token}"}
    assert request(gate, "GET", "/docs.json", headers=headers).status_code == status
    assert gate.keys is not None
    gate.keys.close()


# What the app gets


def test_the_app_gets_the_caller_and_the_metrics_get_templates(with_key: KeyCache) -> None:
    seen_by_metrics: list[str] = []
    echo = Echo()

    async def metrics(scope: Scope, receive: Receive, send: Send) -> None:
        seen_by_metrics.append(scope["path"])
        await RealPath(echo)(scope, receive, send)

    gate = Gate(metrics, with_key)
    for path in ("/v1/decisions/0199-a", "/docs.json"):
        assert request(gate, "GET", path, headers=AUTHORIZATION).status_code == 200
    assert seen_by_metrics == ["/v1/decisions/{id}", "/docs.json"]
    assert [scope["path"] for scope in echo.scopes] == ["/v1/decisions/0199-a", "/docs.json"]
    assert [caller_of(scope) for scope in echo.scopes] == [LIVE.caller] * 2


@pytest.mark.parametrize("scope", [{}, {"state": {}}, {"state": {"caller": "loopback"}}])
def test_an_app_without_a_gate_has_no_caller(scope: dict[str, Any]) -> None:
    with pytest.raises(LookupError, match="caller"):
        caller_of(scope)


def test_a_caller_may_do_what_one_of_its_scopes_allows() -> None:
    caller = Caller("k", "t", frozenset({"score"}))
    assert caller.may("review", "score")
    assert not caller.may("review", "audit")


# What the client gets


def app_that_sends(status: int, headers: list[tuple[bytes, bytes]], *parts: bytes) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


@pytest.mark.parametrize(
    "status", [400, 404, 405, 413, 422, 429, 431, 499, 500, 501, 503, 504, 599]
)
@pytest.mark.parametrize("content_type", [b"application/json", b"text/html; charset=utf-8", b""])
def test_every_error_of_the_app_is_sent_as_a_problem(
    with_key: KeyCache, status: int, content_type: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    headers = [
        (b"content-type", content_type),
        (b"Retry-After", b"7"),
        (b"allow", b"GET"),
        (b"x-said", MARK.encode()),
    ]
    app = app_that_sends(status, headers, MARK.encode(), MARK.encode())
    # The client raises if a message comes after the end of the response.
    response = post_json(Gate(app, with_key))
    problem = problem_of(response, status)
    assert bool(problem.errors) is (status < 500)
    assert response.headers["retry-after"] == "7"
    assert response.headers["allow"] == "GET"
    assert "x-said" not in response.headers
    assert caplog.records == []


@pytest.mark.parametrize(
    ("status", "content_type"),
    [(200, b"text/plain"), (304, b"text/plain"), (422, b"application/problem+json")],
)
def test_problems_and_answers_are_sent_unchanged(
    with_key: KeyCache, status: int, content_type: bytes
) -> None:
    headers = [(b"content-type", content_type), (b"x-a", b"b")]
    response = post_json(Gate(app_that_sends(status, headers, b"ab", b"ab"), with_key))
    assert response.status_code == status
    assert response.content == b"abab"
    assert response.headers["x-a"] == "b"


def test_an_exception_of_the_app_is_masked(
    with_key: KeyCache, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            raise KeyError(MARK)
        except KeyError as error:
            raise ValueError(MARK) from error

    response = post_json(Gate(failing, with_key), MARK.encode())
    assert problem_of(response, 500) == internal_error()
    assert "ValueError" in caplog.text
    assert "in failing" in caplog.text
    assert MARK not in caplog.text


def test_an_exception_after_the_start_of_the_response_adds_nothing_to_it(
    with_key: KeyCache, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError(MARK)

    sent = messages_of(Gate(failing, with_key), [body_part(b"{}", more=False)])
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert MARK not in caplog.text


WEBSOCKET_RESPONSE = ["websocket.http.response.start", "websocket.http.response.body"]


@pytest.mark.parametrize(
    ("extensions", "types"),
    [({}, ["websocket.close"]), ({"websocket.http.response": {}}, WEBSOCKET_RESPONSE)],
)
def test_a_websocket_is_refused_with_a_problem_if_the_server_can_send_one(
    with_key: KeyCache, extensions: dict[str, Any], types: list[str]
) -> None:
    sent: list[str] = []

    async def receive() -> Message:
        raise AssertionError("nothing is to be read")

    async def send(message: Message) -> None:
        sent.append(message["type"])

    scope = {"type": "websocket", "path": "/", "extensions": extensions}
    asyncio.run(Gate(Echo(), with_key)(scope, receive, send))
    assert sent == types


def test_a_problem_is_sent_with_its_length() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    sender = ProblemSender(send)
    asyncio.run(sender.send_problem(internal_error(), {"Retry-After": "1"}))
    start, body = sent
    headers = dict(start["headers"])
    assert headers[b"content-length"] == str(len(body["body"])).encode()
    assert headers[b"retry-after"] == b"1"
