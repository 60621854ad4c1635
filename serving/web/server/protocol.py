"""uvicorn's HTTP protocol, which keeps the whole target of a request and refuses at once.

The target is ``/v1/decisions``, or a whole URL: uvicorn drops the scheme and the host of a URL
before it calls an app.

Measured: a refusal by the ASGI app takes a tenth of the time of a decision, most of it for the task
and the layers on the way to the gate. With four times the requests that can be answered, refusals
then take a third of the processor. Here a refusal is one function call and one write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, cast

import uvicorn.config
from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.web.admission import HELD_REFUSALS

# Returns the bytes of a response; its argument is whether the connection stays open after it.
MakeResponse = Callable[[bool], bytes]
# Returns the response to a request that is refused by its headers; None = call the app.
Refuse = Callable[[Scope], MakeResponse | None]
_TARGET, _REFUSE = "request_target", "refuse"  # in the `state` of a scope


class WholeTargetProtocol(HttpToolsProtocol):
    """Puts the whole target into the scope's ``state``, and asks :func:`refuse_early`'s function.

    If uvicorn should call the methods otherwise one day, the app refuses, which is slower.
    """

    def on_headers_complete(self) -> None:
        """Start the app, as soon as the headers are read."""
        self.scope["state"][_TARGET] = self.url.decode("latin-1")
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Answer in place of the app if the request is refused; called for one at a time."""
        # uvicorn has an app of its own for more connections than it may have.
        refuse: Refuse | None = self.app_state.get(_REFUSE) if app is self.app else None
        response = None if refuse is None else refuse(cast(Scope, cycle.scope))
        if response is None:
            super()._start_asgi_task(cycle, app)
            return
        self.loop.call_later(HELD_REFUSALS.begin(), _respond, cycle, response)


def _respond(cycle: RequestResponseCycle, response: MakeResponse) -> None:
    """Send a whole response, and go on as uvicorn does after the response of an app."""
    HELD_REFUSALS.end()
    if cycle.disconnected or cycle.transport.is_closing():
        return
    cycle.response_started = True
    cycle.transport.write(response(cycle.keep_alive))
    # What comes of the body from now on is read and dropped.
    cycle.response_complete = True
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


def refuse_early(state: MutableMapping[str, Any], refuse: Refuse) -> None:
    """Let the protocol call this function before an app; `state` is that of the lifespan's scope.

    Servers with another protocol, and without a state, call the app for each request.
    """
    state[_REFUSE] = refuse


def keep_whole_targets() -> None:
    """Let the uvicorn servers that start after this in this process use the protocol.

    BentoML's worker passes no HTTP protocol to uvicorn, so uvicorn's default is changed.
    """
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{WholeTargetProtocol.__name__}"


def request_target(scope: Mapping[str, Any]) -> str:
    """Return the target of a request; its path if the server keeps nothing else."""
    whole: str | None = scope.get("state", {}).get(_TARGET)
    if whole is not None:
        return whole
    raw_path: bytes = scope.get("raw_path") or b""
    return raw_path.decode("latin-1")
