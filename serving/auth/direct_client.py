"""Where a request comes from: a client on this machine, or somebody behind a proxy or a web page.

Two rules. :func:`check_host` holds for every request; :func:`is_direct` says whether a request may
be answered without an API key.
"""

from __future__ import annotations

import ipaddress
import re
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import Scope

from serving.web.errors import single_fault
from serving.web.server.protocol import request_target

# What proxies add: RFC 7239, RFC 9110, and the names that came before them.
_PROXY_HEADERS = frozenset(
    {
        "cdn-loop",
        "cf-connecting-ip",
        "forwarded",
        "proxy-connection",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-host",
        "x-real-ip",
    }
)
_PROXY_PREFIX = "x-forwarded"
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#]*)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def check_host(scope: Scope, headers: Headers) -> None:
    """Raise :class:`serving.web.errors.ApiError` (400) unless the request names one host.

    RFC 9112, section 3.2: one ``Host``, and an absolute target has the same host. A proxy and the
    service could otherwise take one request for requests to two hosts.
    """
    hosts = headers.getlist("host")
    if len(hosts) > 1 or (not hosts and scope.get("http_version") == "1.1"):
        raise single_fault(HTTPStatus.BAD_REQUEST, "expected one Host header")
    absolute = _ABSOLUTE.match(request_target(scope))
    if absolute is None:
        return
    if not hosts or absolute[1].lower() != hosts[0].strip().lower():
        message = "expected a path as the request's target, or a URL of the host in Host"
        raise single_fault(HTTPStatus.BAD_REQUEST, message)


def is_direct(scope: Scope, headers: Headers) -> bool:
    """Return whether a client on this machine sent the request straight to this service.

    The client's and the service's addresses are loopback addresses, ``Host`` is the address that
    the service listens on, and no header is one that proxies add. A proxy that adds no header and
    keeps ``Host`` passes: only the token excludes it.
    """
    client = scope.get("client")
    server = scope.get("server")
    if not client or not server:
        return False
    if _is_forwarded(headers):
        return False
    for address, _ in (client, server):
        if not is_loopback(address):
            return False
    # A web page can make its own name resolve to this machine (DNS rebinding); the browser still
    # sends that name.
    host = headers.get("host", "")
    scheme = scope.get("scheme", "http")
    return _names(host, server, scheme)


def is_loopback(address: str) -> bool:
    """Return whether this is an address of this machine.

    >>> [is_loopback(name) for name in ("127.8.9.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "")]
    [True, True, True, False, False]
    """
    parsed = _address(address)
    return parsed is not None and parsed.is_loopback


def _is_forwarded(headers: Headers) -> bool:
    names = set(headers)
    if names & _PROXY_HEADERS:
        return True
    return any(name.startswith(_PROXY_PREFIX) for name in names)


def _names(host: str, server: tuple[str, int | None], scheme: str) -> bool:
    """Return whether the value of a ``Host`` header is this address."""
    if host.startswith("["):  # an IPv6 address
        name, _, rest = host.removeprefix("[").partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = host.partition(":")
    default_port = _DEFAULT_PORTS.get(scheme, "")
    named_port = port or str(default_port)
    address, own_port = server
    if named_port != str(own_port):
        return False
    if name.lower() == "localhost":
        return True
    return _address(name) == _address(address)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
