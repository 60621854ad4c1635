"""Dates on the lender's clock."""

from __future__ import annotations

import datetime

from serving.decision.config.policy import Policy


def local_date(decided_at: datetime.datetime, policy: Policy) -> datetime.date:
    """The day on the lender's clock.  ValueError for a time without a zone."""
    if decided_at.tzinfo is None:
        raise ValueError(
            f"decided_at: expected a time with a zone, got {decided_at.isoformat()} without one"
        )
    shifted = decided_at.astimezone(datetime.UTC) + datetime.timedelta(
        hours=policy.dates.utc_offset_hours
    )
    return shifted.date()


def review_due_date(today: datetime.date, policy: Policy) -> datetime.date:
    """The last day for a person to decide."""
    return today + datetime.timedelta(days=policy.dates.decide_within_days)
