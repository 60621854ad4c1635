"""A log of a million rows answers every route as fast as one of a thousand.

The rows are real: encrypted with their customers' keys, chained, listed by the triggers, with the
content of real answers. They are written in transactions of thousands of rows, not decided.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from tests.support.each import each
from tests.support.every_route import EveryRoute
from tests.support.long_history import write_history
from tests.support.records import settings_in

# 1,200, because then a page of resolved reviews is full in both.
SHORT, LONG = 1_200, 1_000_000
ROUNDS = 60
MOST = 1.5  # times as long as on the short log


class TimedRoutes(EveryRoute):
    """Takes the time of each call, in seconds, by method and template."""

    def __init__(self, audit_log: AuditLog, golden: Bundle) -> None:
        super().__init__(audit_log, golden)
        self.seconds: dict[str, list[float]] = {}

    def call(self, method: str, template: str, *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        answer = super().call(method, template, *arguments, **options)
        seconds = time.perf_counter() - began
        name = f"{method} {re.sub('after=.*', 'after', template)}"
        self.seconds.setdefault(name, []).append(seconds)
        return answer


@pytest.fixture
def logs(tmp_path: Path, golden: Bundle) -> Iterator[tuple[TimedRoutes, TimedRoutes]]:
    """The routes over a short and a long log."""
    with contextlib.ExitStack() as opened:
        both = []
        for rows in (SHORT, LONG):
            (tmp_path / str(rows)).mkdir()
            audit_log = AuditLog(settings_in(tmp_path / str(rows)))
            opened.enter_context(contextlib.closing(audit_log))
            # Waiting for the disk is no work, but a busy machine makes it long.
            audit_log.deadline = 30.0
            write_history(audit_log, golden, rows)
            both.append(TimedRoutes(audit_log, golden))
        short, long = both
        yield short, long


@pytest.mark.torture
def test_a_million_rows_answer_as_fast_as_a_thousand(
    logs: tuple[TimedRoutes, TimedRoutes],
) -> None:
    for number in range(ROUNDS):
        # In turn, so that whatever else the machine does falls on both.
        for log in logs if number % 2 else reversed(logs):
            log.all(f"account-{number}")
    # The fastest tenth is what the route itself takes: the others waited for the disk or for other
    # processes.
    short, long = (
        {name: statistics.quantiles(seconds, n=10)[0] for name, seconds in log.seconds.items()}
        for log in logs
    )
    factors = {name: round(long[name] / seconds, 2) for name, seconds in each(short.items())}
    slower = {name: factor for name, factor in factors.items() if factor > MOST}
    assert slower == {}, factors
