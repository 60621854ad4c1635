"""Query parameters and the ``Idempotency-Key`` header."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request

from features.limits import ACCOUNT_ID_FORM, is_account_id
from serving.web.errors import ApiError, Fault, api_error, parameter_path, single_fault

KEY_HEADER = "Idempotency-Key"
DETAIL = "detail"
# The values of switches that are not true or false; the first turns the switch on.
_VALUES: Mapping[str, tuple[str, ...]] = {DETAIL: ("full",)}
TRUE_OR_FALSE = ("true", "false")
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which page of a list is wanted.

    `status` filters the list (None = the list's default). `after` is the id of the last item of
    the page before (None = the first page). `until` is the last day (None = the list's default).
    `account_id` is the account that the list is of (None = it is of no single account).
    """

    status: str | None
    after: str | None
    until: datetime.date | None = None
    account_id: str | None = None


def read_switches(query: QueryParams, known: Collection[str]) -> frozenset[str]:
    """Return the names of the switches that are on: those that are ``true``, ``detail=full``.

    Raises :class:`serving.web.errors.ApiError` (422) for an unknown name, a repeated one, and a
    value other than those of :func:`switch_values`.

    >>> sorted(read_switches(QueryParams("advice=true&detail=full"), ["advice", "detail"]))
    ['advice', 'detail']
    >>> sorted(read_switches(QueryParams("advice=false"), ["advice"]))
    []
    """
    sent = query.multi_items()
    times = Counter(name for name, _ in sent)
    # Keyed by path: names that are not repeated in a message share the path "?".
    messages: dict[str, str] = {}
    for name, value in sent:
        path = parameter_path(name)
        if name not in known:
            messages[path] = "unknown parameter"
        elif times[name] > 1:
            messages[path] = "expected each parameter once"
        elif value not in switch_values(name):
            messages[path] = f"expected {' or '.join(switch_values(name))}"
    if messages:
        faults = [Fault(path=path, message=message) for path, message in messages.items()]
        raise api_error(HTTPStatus.UNPROCESSABLE_ENTITY, faults)
    return frozenset(name for name, value in sent if value == switch_values(name)[0])


def switch_values(name: str) -> tuple[str, ...]:
    """Return the values that a switch may have; the first turns it on.

    >>> switch_values("advice"), switch_values("detail")
    (('true', 'false'), ('full',))
    """
    return _VALUES.get(name, TRUE_OR_FALSE)


def refuse_query(request: Request) -> None:
    """Raise :class:`serving.web.errors.ApiError` (422) if the URL has a query."""
    if request.url.query:
        raise _unknown_parameters(name for name, _ in request.query_params.multi_items())


def read_page(
    query: QueryParams,
    statuses: Sequence[str],
    has_days: bool = False,
    of_account: bool = False,
) -> PageQuery:
    """Return the page that a list's query names; ``after`` is in lower case, as ids are stored.

    A list with days takes ``until``, and one with `statuses` takes ``status``. A list of one
    account needs ``account_id``.

    Raises :class:`serving.web.errors.ApiError` (422) for an unknown parameter, a repeated one,
    a status that is not among `statuses`, a text that is no day, and an account that is missing or
    that cannot be one.

    >>> read_page(QueryParams("status=open"), ["open", "resolved"])
    PageQuery(status='open', after=None, until=None, account_id=None)
    >>> read_page(QueryParams("until=2026-12-31"), [], has_days=True).until
    datetime.date(2026, 12, 31)
    """
    known = {
        "after": True,
        "status": bool(statuses),
        "until": has_days,
        "account_id": of_account,
    }
    unknown = [name for name, _ in query.multi_items() if not known.get(name, False)]
    if unknown:
        raise _unknown_parameters(unknown)
    for name in known:
        if len(query.getlist(name)) > 1:
            raise _unprocessable(parameter_path(name), "expected each parameter once")
    status, after, until = (query.get(name) for name in ("status", "after", "until"))
    if status is not None and status not in statuses:
        message = f"expected one of: {', '.join(statuses)}"
        raise _unprocessable(parameter_path("status"), message)
    return PageQuery(
        status=status,
        after=None if after is None else after.lower(),
        until=None if until is None else _day(until),
        account_id=_account(query) if of_account else None,
    )


def _account(query: QueryParams) -> str:
    name = query.get("account_id")
    if name is None or not is_account_id(name):
        raise _unprocessable(parameter_path("account_id"), f"expected {ACCOUNT_ID_FORM}")
    return name


def _day(text: str) -> datetime.date:
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        day = None
    # Other forms of ISO 8601 are read too, as 2026W05.
    if day is None or day.isoformat() != text:
        raise _unprocessable(parameter_path("until"), "expected a day such as 2026-11-26")
    return day


def idempotency_key(headers: Headers) -> str | None:
    """Return the request's idempotency key; None without the header.

    Raises :class:`serving.web.errors.ApiError` (422) for a malformed or repeated key.

    >>> idempotency_key(Headers({"idempotency-key": "order-1"}))
    'order-1'
    """
    sent = headers.getlist(KEY_HEADER)
    if not sent:
        return None
    if len(sent) > 1 or not _KEY.fullmatch(sent[0]):
        message = "expected one key of 1 to 128 visible ASCII characters"
        raise _unprocessable(KEY_HEADER, message)
    return sent[0]


def _unknown_parameters(names: Iterable[str]) -> ApiError:
    # A query may hold no name at all, as in "?&".
    paths = dict.fromkeys(map(parameter_path, names)) or {"?": None}
    faults = [Fault(path=path, message="unknown parameter") for path in paths]
    return api_error(HTTPStatus.UNPROCESSABLE_ENTITY, faults)


def _unprocessable(path: str, message: str) -> ApiError:
    return single_fault(HTTPStatus.UNPROCESSABLE_ENTITY, message, path=path)
