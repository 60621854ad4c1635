"""The gate: ASGI middleware in front of the service, its metrics and its documents.

    host -> route -> key -> rate -> scope -> room for its work -> type, size and encoding of the
    body -> service -> every error as a problem

The service never sees a request that is refused here. The gate is the outermost layer: middleware
that is added to BentoML runs inside its timeout, and after its metrics have counted the request.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.auth.caller import LOOPBACK, Caller
from serving.auth.direct_client import check_host, is_direct
from serving.auth.key_cache import KeyCache
from serving.auth.keys import Key
from serving.auth.local_token import LocalToken, token_file
from serving.auth.rate_limit import RateLimiter
from serving.auth.request_context import ARRIVED
from serving.auth.routes import Route, template_match
from serving.auth.work import cost_by_headers, takes_long
from serving.storage.errors import StorageError
from serving.storage.settings import read_settings
from serving.web.admission import HELD_REFUSALS, Admission, Slots, Ticket
from serving.web.body import ClientDisconnected, check_content_type, check_encoding, read_body
from serving.web.error_responses import ProblemSender, Refusal
from serving.web.errors import ApiError, internal_error, single_fault
from serving.web.shutdown import ClosingSender, has_begun
from serving.web.telemetry.logs import format_without_values

LOGGER = logging.getLogger("clearline.gate")
_SECONDS_BETWEEN_LINES = 60.0  # of the log about one address
_MAX_ADDRESSES = 1000
# Decisions at once: as many as one commit takes, and few enough for a probe between their turns.
# A key beside others has a quarter: measured, it then decides as much, and others wait a quarter.
# With two, all of one that sends more than its rate, it decides three quarters.
_SLOTS = Slots(all=16, beside_others=4, above_rate=2)
_ADMITTED = "admitted"  # in the state of a scope: what `Gate.admit` found
_NO_LIMIT = Slots(*[1_000_000] * 3)
_SECONDS_A_DECISION = 0.003  # until it is measured
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_OPEN_TO_LOOPBACK = (
    "there is no API key: only clients on this machine are answered, all others get 403; they send "
    "the token in %s; `python -m serving keys new --tenant NAME --scopes score` makes a key"
)
_REFUSED_CLIENT = (
    "refused a client at %s: there is no API key, so only clients on this machine are answered, "
    "without a proxy"
)
_NOT_DIRECT = (
    "expected a client on the service's own machine, without a proxy, and in Host the address that "
    "the service listens on: the service has no API keys"
)
_NO_TOKEN = (
    "expected the token of local callers, as `Authorization: Bearer local_...`: the service has no "
    "API keys, and its log names the token's file"
)


class Gate:
    """An ASGI app that passes complete requests of known callers on known routes to `app`.

    `keys` are read from the database unless given: None until the app starts. `token` is the one of
    local callers, by default in the file beside the database. The caller of a request is then
    ``scope["state"]["caller"]``: see :func:`serving.auth.caller.caller_of`.
    """

    def __init__(
        self, app: ASGIApp, keys: KeyCache | None = None, token: LocalToken | None = None
    ) -> None:
        self.app = app
        self.keys = keys
        self._token = token
        self._limiter = RateLimiter()
        deadline = read_settings().deadline
        self._short = Admission(_SLOTS, deadline / 2, _SECONDS_A_DECISION)
        # Made in turns on a thread, so all that are taken may run.
        self._long = Admission(_NO_LIMIT, deadline, _SECONDS_A_DECISION)
        self._refused_addresses = _RefusedAddresses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app answer; no exception of the app is raised."""
        if scope["type"] == "http":
            await self._http(scope, receive, ProblemSender(ClosingSender(send)))
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await _refuse_websocket(scope, send)

    def admit(self, scope: Scope) -> Refusal | None:
        """Take a decision by its headers, or return why it is refused: rate, or too much work.

        None = call the app, which goes on with what the state of the scope has of the request, and
        may refuse it too. What is refused takes no token of the key's rate.
        """
        route = template_match(scope["path"]).get(scope["method"])
        # A connection that is to end is closed by the app's answer.
        if route is None or not route.counted or self.keys is None or has_begun():
            return None
        headers = Headers(scope=scope)
        key = self.keys.find(_bearer_token(headers))
        if key is None or key.scopes.isdisjoint(route.scopes):
            return None
        seconds = self._limiter.wait(key.key_id, key.rate)
        if seconds:
            return self._above_rate(key, seconds)
        cost = cost_by_headers(scope, route, headers)
        taken = self._queue(scope, route).take(key.key_id, cost)
        if isinstance(taken, Refusal):
            return taken
        self._limiter.acquire(key.key_id, key.rate)
        scope["state"][_ADMITTED] = _Admitted(route, key.caller, taken, time.monotonic())
        return None

    async def _http(self, scope: Scope, receive: Receive, sender: ProblemSender) -> None:
        headers = Headers(scope=scope)
        admitted: _Admitted | None = scope.get("state", {}).pop(_ADMITTED, None)
        try:
            if admitted is None:
                admitted = await self._look_up(scope, headers)
            else:
                check_host(scope, headers)
            await self._pass_on(admitted, scope, headers, receive, sender)
        except ApiError as refusal:
            if refusal.problem.status in _BUSY:
                await HELD_REFUSALS.wait()
            await sender.send_problem(refusal.problem, refusal.headers)
        except ClientDisconnected:
            return
        finally:
            if admitted is not None and admitted.ticket is not None:
                admitted.ticket.leave()

    async def _look_up(self, scope: Scope, headers: Headers) -> _Admitted:
        """Return what is known of a request that :meth:`admit` has not taken; raises ApiError."""
        arrived = time.monotonic()
        route, caller = self._find(scope, headers, await self._open_keys())
        return _Admitted(route, caller, self._enter(scope, headers, route, caller), arrived)

    async def _pass_on(
        self,
        admitted: _Admitted,
        scope: Scope,
        headers: Headers,
        receive: Receive,
        sender: ProblemSender,
    ) -> None:
        """Let the app answer, as soon as the body is read and the request has a slot."""
        route = admitted.route
        has_body = route.method == "POST"
        if has_body:
            check_content_type(headers)
        body = await read_body(headers, receive, route.largest_body)
        if has_body:
            check_encoding(body)
        if admitted.ticket is not None:
            await admitted.ticket.start()
        # No endpoint reads the body of a GET.
        replay = _Replay(body if has_body else b"", receive)
        await self._call_app(_admitted_scope(scope, admitted), replay, sender)

    def _enter(
        self, scope: Scope, headers: Headers, route: Route, caller: Caller | None
    ) -> Ticket | None:
        """Return the place of a request in its queue; None if its work is not counted."""
        if caller is None or not route.counted:
            return None
        queue = self._queue(scope, route)
        return queue.enter(caller.key_id, cost_by_headers(scope, route, headers))

    def _queue(self, scope: Scope, route: Route) -> Admission:
        return self._long if takes_long(scope, route) else self._short

    def _find(self, scope: Scope, headers: Headers, keys: KeyCache) -> tuple[Route, Caller | None]:
        """Return the route and the caller (None on an open route); raises ApiError."""
        check_host(scope, headers)
        routes = template_match(scope["path"])
        route = routes.get("GET" if scope["method"] == "HEAD" else scope["method"])
        if route is not None and route.open:
            if route.template == "/readyz" and not keys.known:
                raise _keys_unread()
            return route, None
        # The key is checked before the path: without one, nobody learns which paths exist.
        caller = self._caller(scope, headers, keys)
        if not routes:
            message = "there is no page here; /docs.json describes the endpoints"
            raise single_fault(HTTPStatus.NOT_FOUND, message)
        if route is None:
            methods = [*routes, "HEAD"] if "GET" in routes else [*routes]
            allowed = ", ".join(sorted(methods))
            raise single_fault(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"expected the method {allowed}",
                headers={"allow": allowed},
            )
        if not caller.may(*route.scopes):
            scopes = " or ".join(sorted(route.scopes))
            raise single_fault(HTTPStatus.FORBIDDEN, f"expected a key with the scope {scopes}")
        return route, caller

    def _caller(self, scope: Scope, headers: Headers, keys: KeyCache) -> Caller:
        if not keys.known:
            raise _keys_unread()
        if not keys.needed:
            return self._local_caller(scope, headers)
        key = keys.find(_bearer_token(headers))
        if key is None:
            raise single_fault(
                HTTPStatus.UNAUTHORIZED,
                "expected a live API key, as `Authorization: Bearer clk_...`",
                headers={"www-authenticate": "Bearer"},
            )
        seconds = self._limiter.acquire(key.key_id, key.rate)
        if seconds:
            raise self._above_rate(key, seconds).error
        return key.caller

    def _above_rate(self, key: Key, seconds: float) -> Refusal:
        """Return why a request is refused, and note it of its key."""
        self._short.note_above_rate(key.key_id)
        message = f"expected at most {key.rate:g} requests a second with this key"
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, message, math.ceil(seconds))

    def _local_caller(self, scope: Scope, headers: Headers) -> Caller:
        """Return the caller for a direct client on this machine; raises ApiError for others."""
        client = scope.get("client")
        address = client[0] if client else "a socket without an address"
        if not is_direct(scope, headers):
            if self._refused_addresses.should_log(address):
                LOGGER.warning(_REFUSED_CLIENT, address)
            raise single_fault(HTTPStatus.FORBIDDEN, _NOT_DIRECT)
        if not self._token_matches(_bearer_token(headers)):
            raise single_fault(
                HTTPStatus.UNAUTHORIZED, _NO_TOKEN, headers={"www-authenticate": "Bearer"}
            )
        return LOOPBACK

    def _token_matches(self, sent: str) -> bool:
        try:
            return self._local_token().matches(sent)
        except StorageError as error:
            LOGGER.error("%s", error)
            return False

    def _local_token(self) -> LocalToken:
        if self._token is None:
            self._token = LocalToken(token_file(read_settings()))
        return self._token

    def _open_to_this_machine(self) -> None:
        """Write the token of local callers, and log where it is."""
        token = self._local_token()
        try:
            token.create()
        except StorageError as error:
            LOGGER.error("there is no API key, and %s: no client is answered", error)
        else:
            LOGGER.warning(_OPEN_TO_LOOPBACK, token.file.absolute())

    async def _call_app(self, scope: Scope, receive: Receive, sender: ProblemSender) -> None:
        try:
            await self.app(scope, receive, sender)
        except Exception as error:  # noqa: BLE001  # the server would log the message, with values
            LOGGER.error("internal error\n%s", format_without_values(error))
            if not sender.started:
                await sender.send_problem(internal_error())

    async def _open_keys(self) -> KeyCache:
        if self.keys is None:
            self.keys = KeyCache(when_empty=self._open_to_this_machine)
            await asyncio.to_thread(self.keys.wait)
        return self.keys

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = self.keys is not None
        keys = await self._open_keys()
        try:
            await self.app(scope, receive, send)
        finally:
            if not given:
                self.keys = None
                await asyncio.to_thread(keys.close)


@dataclass(frozen=True, slots=True)
class _Admitted:
    """What the headers of a request say: its route, and who sent it; None on an open route.

    `ticket` is its place in the queue of its route, None if its work is not counted. `arrived` is
    on the clock of ``time.monotonic``.
    """

    route: Route
    caller: Caller | None
    ticket: Ticket | None
    arrived: float


class RealPath:
    """ASGI middleware behind BentoML's metrics: gives the app the real path of the request.

    BentoML labels its metrics with the path. A path with an id would make a time series for every
    decision, so the gate replaces it by the template of the route.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its own path."""
        path = scope.get("state", {}).get("path") if scope["type"] == "http" else None
        await self.app(scope if path is None else {**scope, "path": path}, receive, send)


class _Replay:
    """An ASGI ``receive`` that returns the body in one message, and a disconnect afterwards."""

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


class _RefusedAddresses:
    """Limits the log to one line a minute and address, so that clients cannot fill the disk."""

    def __init__(self) -> None:
        self._logged_at: dict[str, float] = {}

    def should_log(self, address: str) -> bool:
        """Return whether a refusal of this address is to be logged now."""
        now = time.monotonic()
        if now - self._logged_at.get(address, -math.inf) < _SECONDS_BETWEEN_LINES:
            return False
        if len(self._logged_at) >= _MAX_ADDRESSES:
            self._logged_at = {
                known: at
                for known, at in self._logged_at.items()
                if now - at < _SECONDS_BETWEEN_LINES
            }
        if len(self._logged_at) >= _MAX_ADDRESSES:
            return False
        self._logged_at[address] = now
        return True


async def _refuse_websocket(scope: Scope, send: Send) -> None:
    """Answer 404 before any key is checked, or only close where the server cannot answer."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return

    async def send_as_websocket(message: Message) -> None:
        message_type = message["type"].replace("http.", "websocket.http.")
        await send({**message, "type": message_type})

    refusal = single_fault(HTTPStatus.NOT_FOUND, "there are no WebSockets here")
    await ProblemSender(send_as_websocket).send_problem(refusal.problem)


def _admitted_scope(scope: Scope, admitted: _Admitted) -> Scope:
    own = {"caller": admitted.caller, "path": scope["path"], ARRIVED: admitted.arrived}
    state = {**scope.get("state", {}), **own}
    return {**scope, "path": admitted.route.template, "state": state}


def _bearer_token(headers: Headers) -> str:
    """Return the key of the request; empty without an ``Authorization`` header, or with two."""
    sent = headers.getlist("authorization")
    if len(sent) != 1:
        return ""
    scheme, _, token = sent[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _keys_unread() -> ApiError:
    return single_fault(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the API keys cannot be read yet",
        headers={"retry-after": "1"},
    )
