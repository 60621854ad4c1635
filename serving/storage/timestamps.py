"""UTC timestamps as the text that the database stores."""

from __future__ import annotations

import datetime


def encode_time(at: datetime.datetime) -> str:
    """UTC to the microsecond, as text that sorts by time.

    >>> encode_time(datetime.datetime(2026, 11, 25, 8, 0, tzinfo=datetime.UTC))
    '2026-11-25T08:00:00.000000Z'
    """
    return at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def decode_time(text: str) -> datetime.datetime:
    """The time that :func:`encode_time` wrote."""
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.UTC)
