"""Why something is not kept, or not known to be."""

from __future__ import annotations


class Unavailable(Exception):
    """Nothing was kept: the database did not take it, or there is no room to wait.

    Another try may succeed.
    """


class Unconfirmed(Exception):
    """Whether it was kept is not known: the answer to the commit was lost.

    The same key asked again tells.
    """


class Duplicate(Exception):
    """Another draft has the slot already; nothing of this one was kept."""
