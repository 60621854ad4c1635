"""Dates on the lender's clock."""

from __future__ import annotations

import datetime
from functools import lru_cache

from serving.decision.config.policy import Policy


def local_date(decided_at: datetime.datetime, policy: Policy) -> datetime.date:
    """The date on the lender's clock.

    Raises:
        ValueError: ``decided_at`` has no time zone.
    """
    if decided_at.tzinfo is None:
        raise ValueError(
            f"decided_at: expected a time with a zone, got {decided_at.isoformat()} without one"
        )
    return _date_at(decided_at, policy.dates.utc_offset_hours)


@lru_cache(maxsize=64)  # a decision asks three times, a portfolio for each account
def _date_at(time: datetime.datetime, utc_offset_hours: float) -> datetime.date:
    offset = datetime.timedelta(hours=utc_offset_hours)
    return (time.astimezone(datetime.UTC) + offset).date()


def review_due_date(today: datetime.date, policy: Policy) -> datetime.date:
    """The last day on which a person may decide about an account referred today."""
    return today + datetime.timedelta(days=policy.dates.decide_within_days)


def effective_date(today: datetime.date, policy: Policy) -> datetime.date:
    """The day on which a cut that is decided today takes effect."""
    return today + datetime.timedelta(days=policy.dates.effective_after_days)


def notice_due_date(today: datetime.date, policy: Policy) -> datetime.date:
    """The last day to notify of something decided today that takes nothing from the customer."""
    return today + datetime.timedelta(days=policy.dates.notice_within_days)


def cut_notice_due_date(today: datetime.date, policy: Policy) -> datetime.date:
    """The last day to notify of a cut that is decided today.

    It is before the day on which the cut takes effect; today if that is today.
    """
    return notice_due_date_before(effective_date(today, policy), today, policy)


def notice_due_date_before(
    effective_on: datetime.date, today: datetime.date, policy: Policy
) -> datetime.date:
    """The last day to notify of a limit that is lower from ``effective_on`` on; not before today.

    It is before that day, unless that day is today.
    """
    day_before = effective_on - datetime.timedelta(days=1)
    return max(today, min(day_before, notice_due_date(today, policy)))


def hearing_notice_due_date(today: datetime.date, policy: Policy) -> datetime.date:
    """The last day to notify of a decision that is referred to a person today.

    It is before :func:`review_due_date`, so that the customer can be heard.
    """
    return today + datetime.timedelta(days=policy.dates.hearing_notice_within_days)
