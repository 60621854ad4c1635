from __future__ import annotations

import datetime

import pytest

from training.data.dataset import Source


@pytest.fixture(scope="session")
def when(source: Source) -> datetime.datetime:
    """The time of the decisions, soon after the last month of the data."""
    last = source.statements["month"].max()
    assert isinstance(last, datetime.date)
    return datetime.datetime(
        last.year,
        last.month,
        28,
        12,
        tzinfo=datetime.UTC,
    )
