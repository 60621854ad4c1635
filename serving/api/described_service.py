"""The BentoML service with its gate, its own model, and its own OpenAPI document."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import attrs
import bentoml
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.bento import (
    DirectEndpoints,
    OpenAPISpecification,
    count_workers,
    with_own_layers,
)
from serving.api.openapi.document import document
from serving.auth.gate import Gate, RealPath
from serving.auth.routes import route_template
from serving.storage.settings import BATCH_DEADLINES, read_settings
from serving.web.server.event_loop import accept_eagerly
from serving.web.server.protocol import keep_whole_targets
from serving.web.telemetry.start import start_telemetry
from serving.web.telemetry.watch import Watch

_SECONDS_AFTER_DEADLINE = 1.0


class _StatingBundle:
    """An ASGI app that states the bundle that decides in a header of ``/readyz``."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; ``/readyz`` is answered with the header if the service is ready."""
        if scope["type"] != "http" or scope["path"] != "/readyz":
            await self.app(scope, receive, send)
            return

        async def send_with_bundle(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == HTTPStatus.OK:
                digest = bentoml.get_current_service().bundles.active.digest
                header = (b"clearline-bundle", digest.encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        await self.app(scope, receive, send_with_bundle)


@attrs.define
class DescribedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML hides its types
    """A BentoML service behind the gate, with the OpenAPI document of all that it answers."""

    def inject_config(self) -> None:
        """Give BentoML its configuration; its own time limit is longer than the longest deadline.

        BentoML answers in its place and cancels the request, so it must not be first.
        """
        self.config["traffic"] = {"timeout": _longest_wait()}
        super().inject_config()

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Return the app that BentoML's worker serves, with the gate and the watch in front."""
        if all(middleware is not RealPath for middleware, _ in self.middlewares):
            self.add_asgi_middleware(RealPath)
        keep_whole_targets()
        start_telemetry()  # before the gate logs
        app = with_own_layers(super().to_asgi(is_main))
        accept_eagerly(self.worker_count)
        gate = Gate(_StatingBundle(DirectEndpoints(app, self, _longest_wait())))
        return Watch(gate, route_template, gate.admit)

    def on_load_bento(self, bento: bentoml.Bento) -> None:
        """Serve the model that the Bento was built with.

        BentoML alone would resolve ``latest`` again and take the newest model of the store.
        """
        super().on_load_bento(bento)
        built_with = {
            model.tag.name: model.tag for service in bento.info.services for model in service.models
        }
        for name, model in list(vars(self.inner).items()):
            if isinstance(model, bentoml.models.BentoModel):
                tag = built_with[model.tag.name]
                setattr(self.inner, name, bentoml.models.BentoModel(tag))

    @property
    def worker_count(self) -> int:
        """How many worker processes BentoML will start, by its configuration."""
        return count_workers(self)

    @property
    def openapi_spec(self) -> OpenAPISpecification:
        """What ``/docs.json`` returns: see :mod:`serving.api.openapi.document`."""
        return document(self)


def _longest_wait() -> float:
    """Return after how many seconds an endpoint is cancelled, later than by its own deadline."""
    return BATCH_DEADLINES * read_settings().deadline + _SECONDS_AFTER_DEADLINE
