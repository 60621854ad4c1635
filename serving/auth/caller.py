"""The authenticated caller, as the gate puts it into the scope of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCOPES = ("score", "review", "audit", "admin")  # what an API key may be for


@dataclass(frozen=True, slots=True)
class Caller:
    """The id of the API key of a request, the tenant (lender) it belongs to, and its scopes.

    `owner` is who holds the key; None = unknown, as for keys of earlier versions.
    """

    key_id: str
    tenant: str
    scopes: frozenset[str]
    owner: str | None = None

    def may(self, *scopes: str) -> bool:
        """Return whether the key has at least one of these scopes.

        >>> LOOPBACK.may("audit")
        True
        >>> Caller("k", "lender", frozenset({"score"})).may("review", "audit")
        False
        """
        return not self.scopes.isdisjoint(scopes)

    @property
    def actor(self) -> str | None:
        """Who acts, for the audit log: the key's owner, or the key itself if it has none.

        None without a key, because nobody is authenticated.

        >>> Caller("0123", "lender", frozenset({"review"}), "Li Na").actor
        'Li Na'
        >>> Caller("0123", "lender", frozenset({"score"})).actor, LOOPBACK.actor
        ('key 0123', None)
        """
        if self.key_id == LOOPBACK.key_id:
            return None
        return f"key {self.key_id}" if self.owner is None else self.owner


# A client on this machine, while the service has no API key.
LOOPBACK = Caller("loopback", "local", frozenset(SCOPES))


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """Return the caller of the request with this ASGI scope.

    Raises :class:`LookupError` if the request did not pass through the gate.

    >>> caller_of({"type": "http", "state": {"caller": LOOPBACK}}).tenant
    'local'
    """
    caller = scope.get("state", {}).get("caller")
    if not isinstance(caller, Caller):
        # A default would make an app that is served without its gate open to everybody.
        raise LookupError(
            "expected the caller that serving.auth.gate puts into a request's scope, found none"
        )
    return caller
