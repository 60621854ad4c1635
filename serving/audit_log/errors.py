"""Why an entry was not stored, or may not have been."""

from __future__ import annotations


class Unavailable(Exception):
    """Nothing was stored: the database refused it, or the queue is full. A retry may work."""


class Unconfirmed(Exception):
    """It is unknown whether the entry was stored: the commit was not confirmed in time.

    Repeating the request with the same idempotency key shows it.
    """


class Duplicate(Exception):
    """Another entry has the unique key; nothing was stored."""


class Outdated(Exception):
    """The account has a newer event than the entry follows from; nothing was stored."""
