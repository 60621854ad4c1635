"""The query of a URL: switches, each ``true`` or ``false``, at most once, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.datastructures import Headers

from serving.web.errors import Fault, api_error, parameter_path


def read_switches(query: bytes, known: Collection[str]) -> frozenset[str]:
    """The switches that are ``true``; raises :class:`serving.web.errors.ApiError` with the path of
    each fault.

    >>> switched_on(b"advice=true", ["advice"]), switched_on(b"advice=false", ["advice"]), switched_on(b"", [])
    (frozenset({'advice'}), frozenset(), frozenset())
    """
    if not query:
        return frozenset()
    sent = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    times = Counter(name for name, _ in sent)
    # By path: names that are no field's share one, because they are not repeated.
    faults: dict[str, str] = {}
    for name, value in sent:
        if name not in known:
            faults[parameter_path(name)] = "unknown parameter"
        elif times[name] > 1:
            faults[parameter_path(name)] = "expected each parameter once"
        elif value not in ("true", "false"):
            faults[parameter_path(name)] = "expected true or false"
    if faults:
        raise api_error(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            [Fault(path=path, message=said) for path, said in faults.items()],
        )
    return frozenset(name for name, value in sent if value == "true")


KEY_HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


def idempotency_key(headers: Headers) -> str | None:
    """The key that a request brings, None where it brings none; raises
    :class:`serving.web.errors.ApiError` for what is no key.

    >>> key_of(Headers({"idempotency-key": "order-1"})), key_of(Headers({}))
    ('order-1', None)
    """
    sent = headers.getlist(KEY_HEADER)
    if not sent:
        return None
    if len(sent) > 1 or not _KEY.fullmatch(sent[0]):
        fault = Fault(
            path=KEY_HEADER, message="expected one key of 1 to 128 visible ASCII characters"
        )
        raise api_error(HTTPStatus.UNPROCESSABLE_ENTITY, [fault])
    return sent[0]
