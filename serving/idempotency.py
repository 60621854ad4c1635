"""The header ``Idempotency-Key``: who asks again with the same key gets the first answer."""

from __future__ import annotations

import re
from http import HTTPStatus

from starlette.datastructures import Headers

from serving.refusals import Fault, refusal

KEY_HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


def key_of(headers: Headers) -> str | None:
    """The key that a request brings, None where it brings none; raises :class:`serving.refusals.Refused` for what is no key.

    >>> key_of(Headers({"idempotency-key": "order-1"})), key_of(Headers({}))
    ('order-1', None)
    """
    sent = headers.getlist(KEY_HEADER)
    if not sent:
        return None
    if len(sent) > 1 or not _KEY.fullmatch(sent[0]):
        fault = Fault(path=KEY_HEADER, message="expected one key of 1 to 128 visible ASCII characters")
        raise refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [fault])
    return sent[0]
