"""Where HTTP ends: bodies are read up to a size, refusals and faults of ours become problem
details, logs keep no values.

BentoML alone would answer a refused request with a shape of its own and log it with a traceback and
the values sent.  So nothing is raised into BentoML: a request model hands a refusal on as a value
(see payload.py), and :func:`answers_errors` answers.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import attrs
import bentoml
from _bentoml_impl.server.allocator import ResourceAllocator  # type: ignore[import-untyped]
from bentoml._internal.service.openapi.specification import OpenAPISpecification
from starlette.responses import Response
from starlette.types import ASGIApp

from serving.api.openapi import document
from serving.auth.gate import Gate, RealPath
from serving.web.errors import ApiError, Problem, internal_error, problem_response
from serving.web.logs import format_without_values

LOGGER = logging.getLogger("bentoml.limit_reduction")
_Service = TypeVar("_Service")
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


def answers_errors(
    method: Callable[[_Service, _Request], Coroutine[Any, Any, _Answer]],
) -> Callable[[_Service, _Request], Coroutine[Any, Any, _Answer | Response]]:
    """The same method of a service, which answers a refusal with its problem and a fault of ours
    with a masked one.
    """

    @functools.wraps(method)
    async def answering(service: _Service, request: _Request, /) -> _Answer | Response:
        if isinstance(request, Problem):
            return problem_response(request)
        try:
            return await method(service, request)
        except ApiError as refused:
            return problem_response(refused.problem, refused.headers)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets a problem and the log gets its place
            LOGGER.error("internal error\n%s", format_without_values(error))
            return problem_response(internal_error())

    return answering


@attrs.define
class DescribedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML hides its types
    """A BentoML service that keeps to the models of its Bento and whose OpenAPI says all that it
    answers.
    """

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The app with the gate in front, as BentoML's worker serves it."""
        if all(middleware is not RealPath for middleware, _ in self.middlewares):
            self.add_asgi_middleware(RealPath)
        return Gate(super().to_asgi(is_main))

    def on_load_bento(self, bento: bentoml.Bento) -> None:
        """Serve the model that the Bento was built with; BentoML alone takes the newest in the
        store of the day.
        """
        super().on_load_bento(bento)
        built_with = {
            model.tag.name: model.tag for service in bento.info.services for model in service.models
        }
        for name, model in list(vars(self.inner).items()):
            if isinstance(model, bentoml.models.BentoModel):
                setattr(self.inner, name, bentoml.models.BentoModel(built_with[model.tag.name]))

    @property
    def worker_count(self) -> int:
        """How many processes BentoML will start to answer, by its configuration."""
        count: int = ResourceAllocator().get_worker_env(self)[0]
        return count

    @property
    def openapi_spec(self) -> OpenAPISpecification:
        """What `/docs.json` shows: see :mod:`serving.api.openapi`."""
        return document(self)
