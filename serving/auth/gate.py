"""What stands before the service, its metrics and its documents: nothing that is refused here is
seen by anything behind.

    route -> key -> rate -> scope -> kind, size and shape of the body -> the service -> every error
    as a problem

Pure ASGI, outermost: BentoML's own middleware runs inside its timeout and after its metrics.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import time
from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.auth.caller import LOOPBACK, Caller
from serving.auth.key_cache import KeyCache
from serving.auth.rate_limit import RateLimiter
from serving.auth.routes import Route, template_match
from serving.web.body import (
    ClientDisconnected,
    check_content_type,
    check_encoding_and_depth,
    receive_body,
)
from serving.web.error_responses import ProblemSender
from serving.web.errors import ApiError, Fault, api_error, internal_error
from serving.web.logs import format_without_values

LOGGER = logging.getLogger("clearline.gate")
_ASK_FOR_KEY = {"www-authenticate": "Bearer"}
_SAID_BY_PROXIES = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_SECONDS_BETWEEN_LINES = 60.0  # of the log about one address
_MOST_ADDRESSES = 1000


class Gate:
    """An ASGI app in front of another one, which gets whole bodies from known callers on known
    routes, and nothing else.

    ``keys`` are the record's unless given, opened when the app starts; the caller is then
    ``scope["state"]["caller"]`` (see :func:`serving.auth.caller.caller_of`).
    """

    def __init__(self, app: ASGIApp, keys: KeyCache | None = None) -> None:
        self.app = app
        self._keys = keys
        self._rates = RateLimiter()
        self._strangers = _Strangers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app answer; raises nothing of the app's."""
        if scope["type"] == "http":
            await self._http(scope, receive, ProblemSender(send))
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await _no_websocket(scope, send)

    async def _http(self, scope: Scope, receive: Receive, outgoing: ProblemSender) -> None:
        headers = Headers(scope=scope)
        try:
            route, caller = self._admitted(scope, headers, await self._opened())
            if route.method == "POST":
                check_content_type(headers)
            body = await receive_body(headers, receive, route.largest_body)
            if route.method == "POST":
                check_encoding_and_depth(body)
        except ApiError as refused:
            await outgoing.problem(refused.problem, refused.headers)
        except ClientDisconnected:
            return
        else:
            # Nothing that is answered here has a use for a body with GET.
            passed = body if route.method == "POST" else b""
            await self._behind(
                _as_admitted(scope, route, caller), _Replay(passed, receive), outgoing
            )

    def _admitted(
        self, scope: Scope, headers: Headers, keys: KeyCache
    ) -> tuple[Route, Caller | None]:
        """The route and who asks; raises :class:`serving.web.errors.ApiError`."""
        routes = template_match(scope["path"])
        route = routes.get("GET" if scope["method"] == "HEAD" else scope["method"])
        if route is not None and route.open:
            if route.template == "/readyz" and not keys.known:
                raise _refused(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "the API keys cannot be read yet",
                    {"retry-after": "1"},
                )
            return route, None
        caller = self._caller(scope, headers, keys)
        if not routes:
            raise _refused(
                HTTPStatus.NOT_FOUND, "there is no page here; /docs.json describes the endpoints"
            )
        if route is None:
            methods = [*routes, "HEAD"] if "GET" in routes else [*routes]
            allowed = ", ".join(sorted(methods))
            raise _refused(
                HTTPStatus.METHOD_NOT_ALLOWED, f"expected the method {allowed}", {"allow": allowed}
            )
        if not caller.may(*route.scopes):
            raise _refused(
                HTTPStatus.FORBIDDEN,
                f"expected a key with the scope {' or '.join(sorted(route.scopes))}",
            )
        return route, caller

    def _caller(self, scope: Scope, headers: Headers, keys: KeyCache) -> Caller:
        if not keys.known:
            raise _refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the API keys cannot be read yet",
                {"retry-after": "1"},
            )
        if not keys.needed:
            return self._neighbour(scope, headers)
        key = keys.find(_shown(headers))
        if key is None:
            message = "expected a live API key, as `Authorization: Bearer clk_...`"
            raise _refused(HTTPStatus.UNAUTHORIZED, message, _ASK_FOR_KEY)
        wait = self._rates.wait(key.key_id, key.rate)
        if wait:
            message = f"expected at most {key.rate:g} requests a second with this key"
            raise _refused(
                HTTPStatus.TOO_MANY_REQUESTS, message, {"retry-after": str(math.ceil(wait))}
            )
        return key.caller

    def _neighbour(self, scope: Scope, headers: Headers) -> Caller:
        """Whoever asks from this machine, straight and by its name; raises Refused for everybody
        else.
        """
        client = scope.get("client")
        address = client[0] if client else "a socket without an address"
        if _is_loopback(address) and _is_direct(headers):
            return LOOPBACK
        if self._strangers.is_news(address):
            LOGGER.warning(
                "refused a client at %s: there is no API key, so only clients on this machine are answered",
                address,
            )
        message = "expected a client on the service's own machine: the service has no API keys yet"
        raise _refused(HTTPStatus.FORBIDDEN, message)

    async def _behind(self, scope: Scope, receive: Receive, outgoing: ProblemSender) -> None:
        try:
            await self.app(scope, receive, outgoing)
        except Exception as error:  # noqa: BLE001  # the server would log its message, and that names values
            LOGGER.error("internal error\n%s", format_without_values(error))
            if not outgoing.started:
                await outgoing.problem(internal_error())

    async def _opened(self) -> KeyCache:
        if self._keys is None:
            self._keys = KeyCache()
            await asyncio.to_thread(self._keys.wait)
        return self._keys

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = self._keys is not None
        keys = await self._opened()
        try:
            await self.app(scope, receive, send)
        finally:
            if not given:
                self._keys = None
                await asyncio.to_thread(keys.close)


class RealPath:
    """ASGI middleware, behind BentoML's metrics: gives the app the path that was asked for.

    BentoML labels its metrics with the path that it sees.  With names in it there would be a series
    for every decision, so the gate lets it see the route's template.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its own path."""
        path = scope.get("state", {}).get("path") if scope["type"] == "http" else None
        await self.app(scope if path is None else {**scope, "path": path}, receive, send)


class _Replay:
    """An ASGI ``receive``: the whole body in one message, then whatever the server still says (that
    the client hung up).
    """

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            message = await self._receive()
            while message["type"] != "http.disconnect":
                message = await self._receive()
            return message
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Strangers:
    """Which addresses are worth a line in the log: one that had none for a minute, so that nobody
    can fill the disk.
    """

    def __init__(self) -> None:
        self._logged: dict[str, float] = {}

    def is_news(self, address: str) -> bool:
        now = time.monotonic()
        if now - self._logged.get(address, -math.inf) < _SECONDS_BETWEEN_LINES:
            return False
        if len(self._logged) >= _MOST_ADDRESSES:
            self._logged = {
                known: at for known, at in self._logged.items() if now - at < _SECONDS_BETWEEN_LINES
            }
        if len(self._logged) >= _MOST_ADDRESSES:
            return False
        self._logged[address] = now
        return True


async def _no_websocket(scope: Scope, send: Send) -> None:
    """There are none; whoever asks for one is told so where the server can, before any key is
    looked at.
    """
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return

    async def in_its_words(message: Message) -> None:
        await send({**message, "type": message["type"].replace("http.", "websocket.http.")})

    await ProblemSender(in_its_words).problem(
        _refused(HTTPStatus.NOT_FOUND, "there are no WebSockets here").problem
    )


def _as_admitted(scope: Scope, route: Route, caller: Caller | None) -> Scope:
    state = {**scope.get("state", {}), "caller": caller, "path": scope["path"]}
    return {**scope, "path": route.template, "state": state}


def _shown(headers: Headers) -> str:
    """The text of the key in the header; empty where there is none, or more than one."""
    shown = headers.getlist("authorization")
    scheme, _, text = shown[0].partition(" ") if len(shown) == 1 else ("", "", "")
    return text.strip() if scheme.lower() == "bearer" else ""


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.is_loopback


def _is_direct(headers: Headers) -> bool:
    """Whether nobody stands between: no proxy, behind which the client may be anywhere, and no web
    page of another name.

    A page can make its own name lead to this machine (DNS rebinding); the browser then still says
    the page's name.
    """
    if any(name in headers for name in _SAID_BY_PROXIES):
        return False
    host = headers.get("host", "localhost")
    name = (
        host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    )
    return name.lower() == "localhost" or _is_loopback(name)


def _refused(
    status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None
) -> ApiError:
    return api_error(status, [Fault(path="$", message=message)], headers)
