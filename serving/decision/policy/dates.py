"""Dates on the lender's clock."""

from __future__ import annotations

import datetime

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
    offset = datetime.timedelta(hours=policy.dates.utc_offset_hours)
    return (decided_at.astimezone(datetime.UTC) + offset).date()


def review_due_date(today: datetime.date, policy: Policy) -> datetime.date:
    """The last day on which a person may decide about an account referred today."""
    return today + datetime.timedelta(days=policy.dates.decide_within_days)
