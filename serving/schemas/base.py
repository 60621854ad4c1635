"""The base of all requests: a JSON body to a validated model, and a model to JSON."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from http import HTTPStatus
from types import UnionType
from typing import Annotated, ClassVar, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from serving.web.errors import Fault, api_error, json_path, validation_error
from serving.web.models import Strict

DETAIL_TEXT = (
    "`full` = each decision comes with every feature of the model. The key needs the scope "
    "`review` or `audit` too: the features show the statements."
)
_PLAIN = frozenset({str, int, float, bool, type(None)})
_ApiRequest = TypeVar("_ApiRequest", bound="ApiRequest")


class ApiRequest(Strict):
    """The body of a request.

    `switches` are the query parameters of its endpoint that turn something on, each with its
    description.
    """

    switches: ClassVar[Mapping[str, str]] = {}

    def faults(self) -> list[Fault]:
        """Return what is wrong beyond single fields."""
        return []


def parse(model: type[_ApiRequest], body: bytes) -> _ApiRequest:
    """Return the request in a body of UTF-8 JSON.

    Raises :class:`serving.web.errors.ApiError` with a path to each fault: 400 if the body is not
    JSON, or nested too deep for pydantic's parser; 422 for wrong and repeated fields.

    >>> import json
    >>> from serving.schemas import examples
    >>> from serving.schemas.decision import Request
    >>> parse(Request, json.dumps(examples.REQUEST).encode()).statements[-1].month
    '2026-10'
    """
    try:
        request = model.model_validate_json(body)
    except ValidationError as error:
        # "from None": the validation error holds the input, and a log would show it.
        raise validation_error(error) from None
    faults = []
    # A field that is repeated adds a colon.  Texts may have colons too: then each name is compared.
    if body.count(b":") != _count_fields(request):
        faults = [
            Fault(path=path, message="expected each field once") for path in _repeated_fields(body)
        ]
    faults = faults or request.faults()
    if faults:
        raise api_error(HTTPStatus.UNPROCESSABLE_ENTITY, faults)
    return request


def encode(answer: BaseModel) -> bytes:
    """Return the JSON of an answer; it has the same bytes alone and in a batch."""
    return answer.model_dump_json().encode()


def _count_fields(value: object) -> int:
    """Return how many fields of JSON objects a validated value was read from."""
    if isinstance(value, list):
        plain = _count_plain_fields(cast(Hashable, type(value[0]))) if value else 0
        return len(value) * plain if plain else sum(map(_count_fields, value))
    if not isinstance(value, BaseModel):
        return 0
    return len(value.model_fields_set) + sum(map(_count_fields, value.__dict__.values()))


@lru_cache(maxsize=256)
def _count_plain_fields(kind: object) -> int:
    """Return how many fields each object of a kind has; 0 = not known, or some have fields."""
    if not isinstance(kind, type) or not issubclass(kind, BaseModel):
        return 0
    fields = kind.model_fields.values()
    is_plain = all(field.is_required() and _is_plain(field.annotation) for field in fields)
    return len(fields) if is_plain else 0


def _is_plain(annotation: object) -> bool:
    """Return whether no value of a type has fields."""
    if get_origin(annotation) is Annotated:
        return _is_plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return all(map(_is_plain, get_args(annotation)))
    return annotation in _PLAIN


class _RepeatingObject(dict[str, object]):
    """A JSON object with a repeated field."""

    repeated: str


def _repeated_fields(body: bytes) -> list[str]:
    """Return the paths of fields that are repeated in their object.

    RFC 8259 leaves open which of two equal fields counts; pydantic takes the last without an
    error. `body` must be valid: ``json.loads`` recurses, and only the fixed depth of the models
    bounds it. All names in it are then names of fields.
    """
    any_repeated = False

    def to_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal any_repeated
        plain = dict(pairs)
        if len(plain) == len(pairs):
            return plain
        any_repeated = True
        names = [name for name, _ in pairs]
        repeating = _RepeatingObject(plain)
        repeating.repeated = next(name for name in names if names.count(name) > 1)
        return repeating

    document = json.loads(body, object_pairs_hook=to_object)
    return list(_paths_of_repeated(document, ())) if any_repeated else []


def _paths_of_repeated(value: object, location: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(value, _RepeatingObject):
        yield json_path((*location, value.repeated))
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths_of_repeated(inner, (*location, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _paths_of_repeated(inner, (*location, place))
