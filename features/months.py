"""Arithmetic on months: a month is the date of its first day, and a month index counts months since
year 0.
"""

from __future__ import annotations

import datetime


def month_index(month: datetime.date) -> int:
    """The number of a day's month, counted from January of year 0.

    >>> month_index(datetime.date(2026, 11, 27)) - month_index(datetime.date(2026, 1, 1))
    10
    """
    return month.year * 12 + month.month - 1


def month_of(index: int) -> datetime.date:
    """The first day of the month with this index: the inverse of :func:`month_index`.

    >>> month_of(month_index(datetime.date(2026, 11, 27)))
    datetime.date(2026, 11, 1)
    """
    return datetime.date(index // 12, index % 12 + 1, 1)


def months_between(earlier: datetime.date, later: datetime.date) -> int:
    """How many months ``later`` lies after ``earlier``, by calendar month; negative where it lies
    before.

    >>> months_between(datetime.date(2026, 1, 31), datetime.date(2026, 3, 1))
    2
    """
    return month_index(later) - month_index(earlier)


def add_months(day: datetime.date, months: int) -> datetime.date:
    """The same day that many months later, or the last day of that month where it is shorter.

    >>> add_months(datetime.date(2026, 1, 31), 1)
    datetime.date(2026, 2, 28)
    """
    first = month_of(month_index(day) + months)
    following = month_of(month_index(day) + months + 1)
    return min(first + datetime.timedelta(days=day.day - 1), following - datetime.timedelta(days=1))
