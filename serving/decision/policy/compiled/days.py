"""Days as numbers: 32 times the month index (:mod:`features.months`), plus the day of the month."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.program.numba_cache import compiled


@compiled
def last_day(month: int) -> int:
    """The number of days of the month with that index."""
    of_year = month % 12 + 1
    year = month // 12
    if of_year == 2:
        is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return 29 if is_leap else 28
    return 30 if of_year in (4, 6, 9, 11) else 31


@compiled
def add_months(
    day: float,
    months: int,
) -> Any:
    """As :func:`features.months.add_months`; unknown of an unknown day."""
    if np.isnan(day):
        return np.nan
    month = int(day) // 32 + months
    return month * 32.0 + min(int(day) % 32, last_day(month))


@compiled
def add_days(
    day: float,
    days: int,
) -> float:
    """The day that many days later."""
    month, of_month = int(day) // 32, int(day) % 32 + days
    while of_month > last_day(month):
        of_month -= last_day(month)
        month += 1
    return month * 32.0 + of_month
