"""Requests in general: a JSON body to a validated model, and a model to the bytes of an answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import ClassVar, TypeVar

from pydantic import PrivateAttr, ValidationError
from starlette.requests import Request as HttpRequest

from serving.auth.caller import Caller, caller_of
from serving.web.body import read_body
from serving.web.errors import ApiError, Fault, api_error, json_path, validation_error
from serving.web.models import STRICT, IODescriptor
from serving.web.params import idempotency_key, read_switches

_ApiRequest = TypeVar("_ApiRequest", bound="ApiRequest")


class ApiRequest(IODescriptor):
    """A request as it comes in: parsed, or handed on as the problem that it has."""

    model_config = STRICT
    largest_body: ClassVar[int] = 256 * 1024
    # what may be true or false in the URL's query, and what it means
    switches: ClassVar[Mapping[str, str]] = {}

    _on: frozenset[str] = PrivateAttr(default=frozenset())
    _key: str | None = PrivateAttr(default=None)
    _caller: Caller = PrivateAttr()
    _arrived: float = PrivateAttr(default_factory=time.monotonic)

    @classmethod
    async def from_http_request(cls, request: HttpRequest, serde: object) -> IODescriptor:
        """The request, or the :class:`Problem` to answer with: BentoML logs what is raised here
        with the values sent.
        """
        arrived = time.monotonic()
        try:
            on = read_switches(request.scope["query_string"], cls.switches)
            key = idempotency_key(request.headers)
            submitted = parse(cls, await read_body(request, cls.largest_body))
        except ApiError as refused:
            return refused.problem
        submitted._on, submitted._key, submitted._arrived = on, key, arrived
        submitted._caller = caller_of(request.scope)
        return submitted

    @property
    def key(self) -> str | None:
        """What makes asking again the same request; None = nothing does."""
        return self._key

    @property
    def caller(self) -> Caller:
        """Who asks, as the gate found."""
        return self._caller

    @property
    def arrived(self) -> float:
        """When the request came, on time.monotonic's clock."""
        return self._arrived

    @property
    def with_advice(self) -> bool:
        """Whether the URL asks for advice beside the decision."""
        return "advice" in self._on

    def faults(self) -> list[Fault]:
        """What is wrong beyond single fields."""
        return []


def parse(model: type[_ApiRequest], body: bytes) -> _ApiRequest:
    """The request in a body of UTF-8 JSON; raises :class:`serving.web.errors.ApiError` with a path
    to each fault.

    >>> import json
    >>> from serving.schemas import examples
    >>> from serving.schemas.decision import Request
    >>> parse(Request, json.dumps(examples.REQUEST).encode()).statements[-1].month
    '2026-10'
    """
    try:
        request = model.model_validate_json(body)
    except ValidationError as error:
        # Without its cause: the error holds what was sent.
        raise validation_error(error) from None
    faults = [
        Fault(path=path, message="expected each field once") for path in _repeated_fields(body)
    ] or request.faults()
    if faults:
        raise api_error(HTTPStatus.UNPROCESSABLE_ENTITY, faults)
    return request


def encode(answered: IODescriptor) -> bytes:
    """The bytes that the endpoint sends; an answer has the same ones alone and in a batch."""
    return answered.model_dump_json().encode()


class _Repeating(dict[str, object]):
    """A JSON object in which a name stood twice."""

    repeated: str


def _repeated_fields(body: bytes) -> list[str]:
    """The paths of fields that stand twice in their object: RFC 8259 leaves open which of them
    counts.

    pydantic takes the last and does not tell.  The body has the right shape already, so what is
    walked has known names only.
    """
    found = False

    def read(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal found
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        found = True
        names = [name for name, _ in pairs]
        repeating = _Repeating(made)
        repeating.repeated = next(name for name in names if names.count(name) > 1)
        return repeating

    document = json.loads(body, object_pairs_hook=read)
    return list(_walk(document, ())) if found else []


def _walk(value: object, location: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(value, _Repeating):
        yield json_path((*location, value.repeated))
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _walk(inner, (*location, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _walk(inner, (*location, place))
