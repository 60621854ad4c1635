"""A log of a million rows answers every route as fast as one of a thousand.

The rows are real: encrypted with their customers' keys, chained, listed by the triggers, with the
content of real answers. They are written in transactions of thousands of rows, not decided.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
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
    """Takes the CPU time of each call, in seconds, by method, template and place in the round.

    Of all threads, so the writer's work is in it. Not the time of a clock: it would be that of the
    disk and of other processes.
    """

    def __init__(self, audit_log: AuditLog, golden: Bundle) -> None:
        super().__init__(audit_log, golden)
        self.seconds: dict[str, list[float]] = {}
        self._calls: Counter[str] = Counter()

    def all(self, prefix: str) -> str:
        self._calls.clear()
        return super().all(prefix)

    def call(self, method: str, template: str, *arguments: Any, **options: Any) -> Any:
        began = time.process_time()
        answer = super().call(method, template, *arguments, **options)
        seconds = time.process_time() - began
        name = f"{method} {re.sub('after=.*', 'after', template)}"
        self._calls[name] += 1
        # A decision and its replay have one name.
        self.seconds.setdefault(f"{name} {self._calls[name]}", []).append(seconds)
        return answer


def fastest(seconds: Sequence[float]) -> list[float]:
    """The fastest of each five: the others include what the processor's caches lost."""
    return [min(seconds[begin : begin + 5]) for begin in range(0, len(seconds), 5)]


def factor(short: Sequence[float], long: Sequence[float]) -> float:
    """How many times as long the calls on the long log took, whose lists were as long."""
    pairs = zip(fastest(short), fastest(long), strict=True)
    return round(statistics.median(on_long / on_short for on_short, on_long in pairs), 2)


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
    short, long = (log.seconds for log in logs)
    factors = {name: factor(seconds, long[name]) for name, seconds in each(short.items())}
    slower = {name: times for name, times in factors.items() if times > MOST}
    assert slower == {}, factors
