"""The deliverer and the app are killed at random places: no event is lost, each account's in order.

A duplicate has the id and the body of the first.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from serving.audit_log.log import AuditLog
from serving.operations.serve.deliver.endpoints import Endpoint
from serving.operations.serve.deliver.outbox import Outbox, register
from tests.support.each import each
from tests.support.events import decision
from tests.support.records import append, settings_in
from tests.support.webhook_processes import CONTEXT, run_app, run_deliverer
from tests.support.webhooks import SECRET, Received, free_port, read_received

ACCOUNTS = "abcde"
_SECONDS_TO_CATCH_UP = 120.0


class Flow:
    """An audit log with an endpoint, and the two processes.

    ``expected`` has the ids of the events of each account, in order.
    """

    def __init__(self, folder: Path, log: AuditLog, acknowledge_first: bool = False) -> None:
        self._log, self._port, self._file = log, free_port(), folder / "received.jsonl"
        url = f"http://127.0.0.1:{self._port}"
        self._endpoint = Endpoint("app", "lender", url, (SECRET,), timeout=1.0)
        register(log.database, [self._endpoint])
        address = log.database.url.render_as_string(hide_password=False)
        self._trying = CONTEXT.Event()
        arguments = address, self._endpoint, acknowledge_first, self._trying
        self._deliverer = lambda: CONTEXT.Process(target=run_deliverer, args=arguments, daemon=True)
        self._app = lambda: CONTEXT.Process(
            target=run_app, args=(self._port, self._file), daemon=True
        )
        self.expected: dict[str, list[str]] = {}
        self.newest = ""  # the decision that was made last

    @property
    def received(self) -> list[Received]:
        return read_received(self._file)

    def decide(self, accounts: Sequence[str]) -> None:
        """Append a cut of each of these accounts."""
        entries = [decision(one, "reduce", (2.0, 1.0)) for one in accounts]
        append(self._log, entries)
        self.newest = entries[-1].entry_id
        for entry in entries:
            kinds = "decision_made", "notice_due"
            own = self.expected.setdefault(str(entry.account), [])
            own += [f"{kind}_{entry.entry_id}" for kind in kinds]

    def run(self, kills: int, draw: random.Random) -> None:
        """Decide and deliver over so many kills; the first is of a deliverer without an app."""
        self.decide(ACCOUNTS)
        victims: list[Callable[[], BaseProcess]] = [self._deliverer, self._app]
        running = {place: _started(make) for place, make in enumerate(victims[:1])}
        for number in range(kills):
            if number:
                self.decide(draw.sample(ACCOUNTS, 2))
            else:
                assert self._trying.wait(60)
                time.sleep(0.5)  # more than it takes to note what has become of the first events
            time.sleep(draw.uniform(0.0, 0.15))
            place = draw.randrange(2) if number else 0
            _kill(running.get(place))
            running[place] = _started(victims[place])
            if 1 not in running:
                running[1] = _started(self._app)
        self._catch_up(list(running.values()))
        for process in running.values():
            _kill(process)

    def lost(self) -> set[str]:
        all_ids = {event for own in self.expected.values() for event in own}
        return all_ids - {one.event_id for one in self.received}

    def _catch_up(self, running: Sequence[BaseProcess]) -> None:
        """Wait until every event has an outcome."""
        until = time.monotonic() + _SECONDS_TO_CATCH_UP
        outbox = Outbox(self._log.database, self._endpoint)
        last = self._log.reader.by_id(self.newest)
        while last is None or outbox.done() < last.seq:
            assert all(process.is_alive() for process in running)
            assert time.monotonic() < until, f"expected more than {outbox.done()} rows done"
            time.sleep(0.05)


def _started(make: Callable[[], BaseProcess]) -> BaseProcess:
    process = make()
    process.start()
    return process


def _kill(process: BaseProcess | None) -> None:
    if process is not None:
        process.kill()
        process.join()


def check(flow: Flow) -> int:
    """Check what the app received; returns the number of duplicates."""
    assert flow.lost() == set()
    received = flow.received
    first: dict[str, Received] = {}
    for one in each(received):
        assert one.valid == 1
        assert first.setdefault(one.event_id, one) == one
    order = list(first)
    for own in each(flow.expected.values()):
        assert [event for event in order if event in set(own)] == own
    return len(received) - len(first)


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(2, marks=pytest.mark.integration),
        pytest.param(200, marks=pytest.mark.torture),
    ],
)
def test_nothing_is_lost_over_kills(kills: int, record: AuditLog, tmp_path: Path) -> None:
    flow = Flow(tmp_path, record)
    flow.run(kills, random.Random(kills))
    duplicates = check(flow)
    # Of so many kills some fall between an answer and its note.
    assert duplicates > 0 or kills < 100


@pytest.mark.torture
def test_nothing_is_lost_over_kills_with_postgresql(postgres: AuditLog, tmp_path: Path) -> None:
    flow = Flow(tmp_path, postgres)
    flow.run(40, random.Random(40))
    check(flow)


@pytest.mark.slow
def test_what_is_noted_before_the_answer_is_lost(tmp_path: Path) -> None:
    """The control."""
    with closing(AuditLog(settings_in(tmp_path))) as log:
        flow = Flow(tmp_path, log, acknowledge_first=True)
        flow.run(2, random.Random(2))
        assert flow.lost()
