"""UTC timestamps as text: in the database, in answers and in exports."""

from __future__ import annotations

import datetime

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def encode_time(at: datetime.datetime) -> str:
    """Format a time as UTC with microseconds; such texts sort by time.

    >>> encode_time(datetime.datetime(2026, 11, 25, 8, 0, tzinfo=datetime.UTC))
    '2026-11-25T08:00:00.000000Z'
    """
    return at.astimezone(datetime.UTC).strftime(_FORMAT)


def decode_time(text: str) -> datetime.datetime:
    """Parse a text of :func:`encode_time`; returns an aware UTC time."""
    # Ten times as fast as strptime, and for every row that is read.
    return datetime.datetime.fromisoformat(text)
