"""Who asks: the key that came with a request, as the gate found it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCOPES = ("score", "review", "audit", "admin")  # what a key may be for


@dataclass(frozen=True, slots=True)
class Caller:
    """The key that was shown, the lender it belongs to and what it is for; of the key there is its
    public name only.
    """

    key_id: str
    tenant: str
    scopes: frozenset[str]

    def may(self, *scopes: str) -> bool:
        """Whether the key is for at least one of these.

        >>> LOOPBACK.may("audit"), Caller("k", "lender", frozenset({"score"})).may("review", "audit")
        (True, False)
        """
        return not self.scopes.isdisjoint(scopes)


# Where no key was ever made, whoever asks from this machine.
LOOPBACK = Caller("loopback", "local", frozenset(SCOPES))


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """Who sent the request of an ASGI scope; raises :class:`LookupError` where it did not come
    through the gate.

    >>> caller_of({"type": "http", "state": {"caller": LOOPBACK}}).tenant
    'local'
    """
    caller = scope.get("state", {}).get("caller")
    if not isinstance(caller, Caller):
        # Without this an app that is served without its gate would answer everybody.
        raise LookupError(
            "expected the caller that serving.auth.gate puts into a request's scope, found none"
        )
    return caller
