"""Which last statements say what cannot be: :func:`serving.decision.policy.rules.find_implausible`.

Hazard: numba's cache identifies this file by its time and size and ignores everything that the file
imports.  So the constants of the loop are defined here.
"""

from __future__ import annotations

from typing import Any

from features.program.numba_cache import compiled

# A payment gets 31 days later in a month at most; a delay in steps of 30 days may be rounded up.
_MOST_DAYS_MORE = 62.0
# So long a delay is of a bill that the statement before still showed.
_DAYS_OF_OLDER_BILL = 60.0
_TOLERANCE = 0.005  # CNY: half of the smallest amount


@compiled
def mark_implausible(
    stored: Any,
    days_place: int,
    balance_place: int,
    due_place: int,
    out: Any,
) -> None:
    """Mark the accounts whose last statement is implausible.

    Args:
        stored: float64 (stored columns, months, accounts), the latest month first; NaN = unknown.
        days_place: The place of ``days_past_due`` among the columns.
        balance_place: Likewise.
        due_place: That of ``minimum_due``.
        out: bool (accounts,), all False.
    """
    _, months, accounts = stored.shape
    balance = stored[balance_place]
    days_past_due = stored[days_place]
    minimum_due = stored[due_place]
    for account in range(accounts):
        days = days_past_due[0, account]
        owed = balance[0, account]
        if owed < 0.0:
            owed = 0.0
        # Comparisons with an unknown value (NaN) are false.
        more_due = minimum_due[0, account] > owed + _TOLERANCE
        grew = False
        without_debt = False
        if months > 1:
            grew = days > days_past_due[1, account] + _MOST_DAYS_MORE
            owed_nothing = owed == 0.0 and balance[1, account] <= 0.0
            without_debt = days >= _DAYS_OF_OLDER_BILL and owed_nothing
        out[account] = grew or without_debt or more_due
