"""Arithmetic on months.

A month is the date of its first day.  A month index counts the months since year 0.
"""

from __future__ import annotations

import datetime
from functools import lru_cache


def month_index(month: datetime.date) -> int:
    """The number of a day's month, counted from January of year 0.

    >>> month_index(datetime.date(2026, 11, 27)) - month_index(datetime.date(2026, 1, 1))
    10
    """
    return month.year * 12 + month.month - 1


def month_of(index: int) -> datetime.date:
    """The first day of the month with this index, the inverse of :func:`month_index`.

    >>> month_of(month_index(datetime.date(2026, 11, 27)))
    datetime.date(2026, 11, 1)
    """
    year, month = divmod(index, 12)
    return datetime.date(year, month + 1, 1)


def months_between(earlier: datetime.date, later: datetime.date) -> int:
    """The number of calendar months from ``earlier`` to ``later``; negative if that is before.

    >>> months_between(datetime.date(2026, 1, 31), datetime.date(2026, 3, 1))
    2
    """
    return month_index(later) - month_index(earlier)


@lru_cache(maxsize=4096)  # the decisions of a path are a few days, asked for very often
def add_months(day: datetime.date, months: int) -> datetime.date:
    """The same day that many months later, or the last day of that month if it is shorter.

    >>> add_months(datetime.date(2026, 1, 31), 1)
    datetime.date(2026, 2, 28)
    """
    month = month_of(month_index(day) + months)
    same_day = month + datetime.timedelta(days=day.day - 1)
    return min(same_day, last_day(month))


def last_day(month: datetime.date) -> datetime.date:
    """The last day of a day's month.

    >>> last_day(datetime.date(2026, 2, 3))
    datetime.date(2026, 2, 28)
    """
    return month_of(month_index(month) + 1) - datetime.timedelta(days=1)
