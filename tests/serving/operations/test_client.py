"""What `ask` sends, and to whom: never to a proxy of the environment, and the token to this machine
only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from serving.__main__ import main
from serving.auth.local_token import LocalToken, read_token
from serving.operations.client import ServiceError, ask, settings_for, start_service
from serving.schemas import examples
from serving.web.errors import ApiError, single_fault
from tests.support.each import each
from tests.support.forwarding_proxy import Proxy, run_proxy
from tests.support.served import Server

BODY = json.dumps(examples.REQUEST).encode()
SECRET = "clk_0123456789abcdef_secret"
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@contextmanager
def stub() -> Iterator[Proxy]:
    """A service that records the request, and closes the connection."""
    with run_proxy() as service:
        yield service


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that every variable of the environment names."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with run_proxy() as running:
        for name in NAMES:
            monkeypatch.setenv(name, running.url)
        yield running


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nothing_goes_to_a_proxy(proxy: Proxy, host: str) -> None:
    with stub() as service:
        url = service.url.replace("127.0.0.1", host)
        with pytest.raises(ServiceError):
            ask(url, BODY, key=SECRET)
        assert proxy.received == []
        [request] = service.received
        assert SECRET.encode() in request
        assert request.endswith(BODY)
        # The control: httpx by itself sends the key and the statements to the proxy.
        with pytest.raises(httpx.HTTPError):
            httpx.post(url, content=BODY, headers={"authorization": f"Bearer {SECRET}"})
    assert any(SECRET.encode() in one and BODY in one for one in each(proxy.received))


@pytest.mark.parametrize("host", ["service.invalid", "192.0.2.1:1"])
def test_a_proxy_reads_nothing_of_what_is_sent_to_another_machine(
    proxy: Proxy, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.operations.client._SECONDS_FOR_ANSWER", 0.5)
    for scheme in ("http", "https"):
        with pytest.raises(ServiceError):
            ask(f"{scheme}://{host}", BODY, key=SECRET)
    for request in each(proxy.received):
        assert request.startswith(b"CONNECT ")
        assert SECRET.encode() not in request


def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(ServiceError, match="a proxy of the environment cannot be used"):
        ask("https://service.invalid", BODY, key=SECRET)


@pytest.mark.slow
def test_a_service_starts_and_answers_with_a_proxy_in_the_environment(
    proxy: Proxy, server: Server, tmp_path: Path
) -> None:
    with start_service(tmp_path / "log") as url:
        key = str(read_token(tmp_path / "record.db.token"))
        assert json.loads(ask(url, BODY, key=key))["account_id"] == examples.REQUEST["account_id"]
    assert proxy.received == []


def test_a_refusal_is_told_in_words_and_a_missing_key_with_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse_with(error: ApiError) -> None:
        body = error.problem.model_dump_json()
        refusal = httpx.Response(error.problem.status, content=body)
        monkeypatch.setattr(httpx.Client, "send", lambda *_, **__: refusal)

    refuse_with(single_fault(HTTPStatus.UNAUTHORIZED, "expected a live API key"))
    with pytest.raises(ServiceError) as refused:
        ask("http://10.0.0.1:3000", BODY)
    first, fault, hint = str(refused.value).splitlines()
    assert first == "http://10.0.0.1:3000: 401 Unauthorized, 1 fault"
    assert fault == "  $: expected a live API key"
    assert "CLEARLINE_KEY" in hint

    # The control: no other refusal speaks of a key.
    refuse_with(single_fault(HTTPStatus.UNPROCESSABLE_ENTITY, "expected 0 or more"))
    with pytest.raises(ServiceError) as refused:
        ask("http://10.0.0.1:3000", BODY)
    assert "CLEARLINE_KEY" not in str(refused.value)
    assert str(refused.value).endswith("  $: expected 0 or more")


def test_the_token_is_sent_to_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLEARLINE_KEY", raising=False)
    for name, value in settings_for(tmp_path).items():
        monkeypatch.setenv(name, value)
    LocalToken(tmp_path / "record.db.token").create()
    token = str(read_token(tmp_path / "record.db.token")).encode()
    sent: list[httpx.Request] = []

    def record(client: httpx.Client, request: httpx.Request, **_: object) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, request=request)

    monkeypatch.setattr(httpx.Client, "send", record)
    for url in ("http://127.0.0.1:3000", "http://localhost:3000", "http://[::1]:3000"):
        ask(url, BODY)
        assert sent.pop().headers["authorization"].encode() == b"Bearer " + token
    for url in ("https://clearline.example", "http://127.0.0.1.example", "http://10.0.0.1:3000"):
        ask(url, BODY)
        assert "authorization" not in sent.pop().headers


def test_pack_asks_a_tracking_server_on_this_machine_without_a_proxy(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "elsewhere.example")  # removed after the test
    with run_proxy() as server:
        assert main(["pack", "--tracking-uri", server.url]) == 2
        assert server.received
    assert proxy.received == []
    assert len(capsys.readouterr().err.splitlines()) >= 1


@pytest.mark.parametrize("url", ["", "127.0.0.1:3000", "http://[", "ftp://a", "http://127.0.0.1:x"])
def test_an_address_that_is_none_is_one_error(url: str) -> None:
    # "[" is looked up as a name of a machine.
    message = "is the service running" if url == "http://[" else "expected a URL such as"
    with pytest.raises(ServiceError, match=message):
        ask(url, BODY, key=SECRET)
