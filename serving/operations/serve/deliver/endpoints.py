"""Who is told of what: the endpoints of a TOML file."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from serving.decision.config.strict_toml import ConfigError, Interval, Section, read_toml
from serving.storage.triggers.events import KEPT, KINDS, Kind

BY_DEFAULT = tuple(kind for kind in KINDS if kind != KEPT)
SECRET_PREFIX = "whsec_"  # what a secret of Standard Webhooks begins with
# Bytes, as Standard Webhooks has it.
_SHORTEST_SECRET, _LONGEST_SECRET = 24, 64
_MOST_SECRETS = 2
IN_FLIGHT, SECONDS = 8, 10.0  # of an endpoint that does not say
_MOST_IN_FLIGHT = Interval(1, 64)
_SECONDS = Interval(0, 60, excludes_low=True)
# On one line, as errors are.
EXAMPLE = (
    'endpoints.app = {tenant = "bank", url = "https://app.bank.example/clearline", '
    'secrets = ["whsec_..."]}'
)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An app of a lender that takes events.

    Attributes:
        name: In lower case; what is delivered to it is recorded under this name.
        tenant: The lender whose events it takes.
        url: Where they are posted.
        secrets: One or two, of 24 to 64 bytes; each event is signed with all of them.
        kinds: That it takes.
        in_flight: The most requests at a time.
        timeout: Seconds for a request, from the connection to the end of the answer.
    """

    name: str
    tenant: str
    url: str
    secrets: tuple[bytes, ...]
    kinds: tuple[Kind, ...] = BY_DEFAULT
    in_flight: int = IN_FLIGHT
    timeout: float = SECONDS


def read_endpoints(file: Path) -> list[Endpoint]:
    """The endpoints of a file, in its order.

    Raises:
        ConfigError: There is no such file, others than the owner may read it, it names no endpoint,
            or one of them is not as described in ``docs/service/events.md``.
        OSError: It cannot be read.
    """
    if not file.exists():
        raise ConfigError(
            f"{file}: there is no such file, and it says which apps get the events; write it with "
            f"mode 600 and one line for each app: {EXAMPLE}; `python -m serving deliver "
            "--new-secret` prints a secret, and docs/service/events.md describes the other keys"
        )
    if not file.is_file():
        raise ConfigError(f"{file}: expected a TOML file of the apps that get the events")
    if file.stat().st_mode & 0o077:
        raise ConfigError(f"{file}: expected a file that only its owner can read (chmod 600)")
    with read_toml(file.read_text("utf-8"), str(file)) as top:
        below = top.section("endpoints", optional=True).sections()
        found = [_read_endpoint(name, section) for name, section in below.items()]
    if not found:
        raise ConfigError(f"{file}: expected a table [endpoints.NAME], got none")
    return found


def _read_endpoint(name: str, section: Section) -> Endpoint:
    if not _NAME.fullmatch(name):
        raise section.error("", "a name of a-z 0-9 _ -, at most 63 characters", name)
    may_be_plain = section.flag("allow_http") if "allow_http" in section else False
    url = section.text("url")
    expected = _url_fault(url, may_be_plain)
    if expected is not None:
        raise section.error("url", expected, url)
    return Endpoint(
        name=name,
        tenant=section.text("tenant"),
        url=url,
        secrets=_read_secrets(section),
        kinds=_read_kinds(section),
        in_flight=section.whole("in_flight", _MOST_IN_FLIGHT, IN_FLIGHT),
        timeout=section.number("timeout", _SECONDS, SECONDS),
    )


def _url_fault(url: str, may_be_plain: bool) -> str | None:
    """What was expected of the URL; None = it is as expected."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "a URL"
    if parts.scheme not in ("https", "http") or not host:
        return "a URL that begins with https:// and a host"
    if parts.username is not None or parts.fragment:
        return "a URL without a user and without a fragment"
    if parts.scheme == "http" and not (may_be_plain or _is_loopback(parts)):
        return "https, as anybody on the way could read it otherwise (allow_http = true allows it)"
    return None


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_secrets(section: Section) -> tuple[bytes, ...]:
    try:
        texts = section.texts("secrets")
    except ConfigError:
        raise section.error("secrets", "a list of texts", "another value") from None
    if not 1 <= len(texts) <= _MOST_SECRETS:
        # Never the secrets themselves: the message may be printed.
        raise section.error("secrets", "one secret, or two while they change", len(texts))
    return tuple(_read_secret(section, text) for text in texts)


def _read_secret(section: Section, text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    is_long_enough = _SHORTEST_SECRET <= len(secret) <= _LONGEST_SECRET
    if not text.startswith(SECRET_PREFIX) or not is_long_enough:
        expected = (
            f"secrets that begin with {SECRET_PREFIX}, followed by {_SHORTEST_SECRET} to "
            f"{_LONGEST_SECRET} random bytes as base64"
        )
        raise section.error("secrets", expected, "another text")
    return secret


def _read_kinds(section: Section) -> tuple[Kind, ...]:
    wanted = section.texts("kinds", BY_DEFAULT)
    unknown = set(wanted) - set(KINDS)
    if unknown or not wanted:
        raise section.error("kinds", f"some of {', '.join(KINDS)}", sorted(unknown))
    return tuple(kind for kind in KINDS if kind in wanted)
