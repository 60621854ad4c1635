"""A service without keys behind a proxy, and requests that name two hosts, over HTTP."""

from __future__ import annotations

import socket

import httpx
import pytest

from serving.schemas import examples
from tests.support.each import each
from tests.support.forwarding_proxy import run_proxy
from tests.support.served import Guarded, Server

PATHS = ("/docs.json", "/metrics", "/v1/reviews", "/v1/notices")


def test_a_service_without_keys_answers_nobody_behind_a_proxy(server: Server) -> None:
    """The proxy's requests come from this machine, name the service's address, and are unmarked."""
    with run_proxy(server.url) as proxy, httpx.Client(base_url=proxy.url) as outside:
        for path in each(PATHS):
            assert outside.get(path).status_code == 401, path
        assert outside.post("/v1/decisions", json=examples.REQUEST).status_code == 401
        forged = {"host": "localhost", "authorization": "Bearer local_guessed"}
        assert outside.get("/docs.json", headers=forged).status_code == 401
        # The control: the proxy passes requests on, and nothing but the token is missing.
        assert outside.get("/livez").status_code == 200
        assert outside.get("/docs.json", headers=server.headers).status_code == 200


@pytest.mark.parametrize("header", ["Via: 1.1 proxy", "X-Forwarded-For: 10.0.0.1", "Forwarded: "])
def test_a_marked_proxy_is_refused_even_with_the_token(server: Server, header: str) -> None:
    with run_proxy(server.url, b"\r\n" + header.encode()) as proxy:
        refused = httpx.get(f"{proxy.url}/docs.json", headers=server.headers)
    assert refused.status_code == 403


def statuses(url: str, target: str, *lines: str, version: str = "1.1") -> list[int]:
    """The statuses of the answers to a raw GET with these header lines."""
    host, port = url.removeprefix("http://").split(":")
    request = "\r\n".join([f"GET {target} HTTP/{version}", *lines, "Connection: close", "", ""])
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


HOST = "127.0.0.1:PORT"
TWO_HOSTS = {
    "twice": ("/livez", f"Host: {HOST}", f"Host: {HOST}"),
    "another second": ("/livez", f"Host: {HOST}", "Host: evil.example"),
    "another first": ("/livez", "Host: evil.example", f"Host: {HOST}"),
    "none": ("/livez",),
    "foreign target": ("http://evil.example/livez", f"Host: {HOST}"),
    "foreign target, https": ("https://evil.example/livez", f"Host: {HOST}"),
    "foreign target with a user": (f"http://{HOST}@evil.example/livez", f"Host: {HOST}"),
    "foreign host": (f"http://{HOST}/livez", "Host: evil.example"),
    "other port": ("http://127.0.0.1:1/livez", f"Host: {HOST}"),
}
ONE_HOST = {
    "path": ("/livez", f"Host: {HOST}"),
    "own target": (f"http://{HOST}/livez", f"Host: {HOST}"),
    "in capitals": (f"HTTP://{HOST}/livez", f"Host: {HOST}"),
}


@pytest.mark.parametrize("keys", [False, True])
@pytest.mark.parametrize("name", [*TWO_HOSTS, *ONE_HOST])
def test_a_request_names_one_host_with_or_without_keys(
    server: Server, guarded: Guarded, keys: bool, name: str
) -> None:
    url = guarded.url if keys else server.url
    headers = {"authorization": f"Bearer {guarded.keys['north/all']}"} if keys else server.headers
    port = url.rpartition(":")[2]
    target, *lines = [part.replace("PORT", port) for part in (TWO_HOSTS | ONE_HOST)[name]]
    lines.append(f"Authorization: {headers['authorization']}")
    expected = 200 if name in ONE_HOST else 400
    assert statuses(url, target, *lines) == [expected]
    closed = target.replace("/livez", "/docs.json")
    assert statuses(url, closed, *lines) == [expected]


def test_an_old_client_without_a_host_needs_a_key(server: Server, guarded: Guarded) -> None:
    """HTTP/1.0 has no Host. A service with keys does not need it."""
    key = f"Authorization: Bearer {guarded.keys['north/all']}"
    token = f"Authorization: {server.headers['authorization']}"
    assert statuses(guarded.url, "/docs.json", key, version="1.0") == [200]
    assert statuses(server.url, "/docs.json", token, version="1.0") == [403]
    assert statuses(server.url, "http://evil.example/livez", version="1.0") == [400]


def test_pipelined_requests_are_each_checked(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    good = f"GET /livez HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
    bad = good.replace(" /livez", " http://evil.example/livez")
    last = good.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall((good + bad + good + bad + last).encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 400, 200, 400, 200]
