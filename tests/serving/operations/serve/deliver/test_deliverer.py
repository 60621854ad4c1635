"""Events reach a real app over HTTP, from a real audit log: in order, signed, none lost."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from serving.__main__ import main
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.operations.serve.deliver.command import only_deliverer
from serving.operations.serve.deliver.deliverer import Deliverer, deliver
from serving.operations.serve.deliver.endpoints import Endpoint
from serving.operations.serve.deliver.outbox import Outbox, forget, prune, register
from serving.operations.serve.deliver.sender import Sender
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings
from serving.storage.tables import deliveries, event_endpoints, outbox
from tests.support.each import each
from tests.support.events import decision
from tests.support.records import NOW, append
from tests.support.webhooks import (
    NEW_SECRET,
    SECRET,
    Received,
    free_port,
    read_received,
    running_app,
    write_endpoints,
)

LATER = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)
ERASURE = ErasureOrder("Li Na", "asked for", NOW, hold_over="its notice is of a test")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The file in which the app stores what it receives."""
    return tmp_path / "received.jsonl"


def endpoint_at(port: int, **changes: Any) -> Endpoint:
    fields: dict[str, Any] = {"name": "app", "tenant": "lender", "secrets": (SECRET,)}
    fields |= {"timeout": 2.0}
    return Endpoint(url=f"http://127.0.0.1:{port}/hooks", **fields | changes)


def cut(log: AuditLog, accounts: Sequence[str], tenant: str = "lender") -> list[str]:
    """Append a cut of each account; returns the ids of the decisions."""
    entries = [decision(one, "reduce", (2.0, 1.0), tenant=tenant) for one in accounts]
    append(log, entries)
    return [entry.entry_id for entry in entries]


def events_of(decisions: Sequence[str]) -> list[str]:
    """The ids of the events of cuts, each with a notice."""
    kinds = "decision_made", "notice_due"
    return [f"{kind}_{one}" for one in decisions for kind in kinds]


async def run_once(log: AuditLog, endpoints: Sequence[Endpoint]) -> list[Deliverer]:
    """Deliver what can be delivered without waiting."""
    async with contextlib.AsyncExitStack() as stack:
        deliverers = []
        for endpoint in endpoints:
            sender = Sender(endpoint)
            stack.push_async_callback(sender.close)
            deliverers.append(Deliverer(Outbox(log.database, endpoint), endpoint, sender.send))
        await deliver(deliverers, asyncio.Event(), once=True)
        return deliverers


def deliver_once(log: AuditLog, *endpoints: Endpoint) -> list[Deliverer]:
    return asyncio.run(run_once(log, endpoints))


@pytest.mark.parametrize("database", ["record", "postgres"])
def test_every_event_is_delivered_once_and_in_order(
    database: str, request: pytest.FixtureRequest, stored: Path
) -> None:
    log: AuditLog = request.getfixturevalue(database)
    cut(log, ["before"])
    with running_app(stored) as port:
        endpoint = endpoint_at(port)
        assert register(log.database, [endpoint]) == ["app"]
        decided = [one for _ in range(3) for one in cut(log, ["a", "b", "c"])]
        cut(log, ["a"], tenant="another lender")
        append(log, [decision("a", "keep", (1.0, 1.0))])
        deliver_once(log, endpoint)
        assert register(log.database, [endpoint]) == []
        deliver_once(log, endpoint)
    received = read_received(stored)
    assert sorted(one.event_id for one in received) == sorted(events_of(decided))
    for place in range(3):
        own = decided[place::3]  # of one account
        of_account = [one for one in received if one.content["data"]["decision_id"] in own]
        assert [one.event_id for one in of_account] == events_of(own)
    assert {one.valid for one in received} == {1}
    with log.database.reading() as connection:
        done = connection.scalar(sa.select(event_endpoints.c.done))
    # The rows after it are no events.
    assert done == 10


def test_while_secrets_change_both_verify(record: AuditLog, stored: Path) -> None:
    secrets = [(SECRET,), (SECRET, NEW_SECRET), (NEW_SECRET,)]
    with running_app(stored) as port:
        register(record.database, [endpoint_at(port)])
        for some in secrets:
            cut(record, ["a"])
            deliver_once(record, endpoint_at(port, secrets=some))
    assert [one.valid for one in read_received(stored)] == [1, 1, 2, 2, 1, 1]


def test_an_app_that_is_down_holds_up_no_other_and_gets_all_later(
    record: AuditLog, stored: Path, tmp_path: Path
) -> None:
    port, other = free_port(), tmp_path / "other.jsonl"
    down = endpoint_at(port, name="down")
    with running_app(other) as other_port:
        endpoints = [down, endpoint_at(other_port)]
        register(record.database, endpoints)
        decided = cut(record, [f"person {number}" for number in range(30)])
        waiting, served = deliver_once(record, *endpoints)
    assert {one.event_id for one in read_received(other)} == set(events_of(decided))
    assert (waiting.delivered, waiting.waiting, served.waiting) == (0, 60, 0)
    with running_app(stored, port=port):
        [caught_up] = deliver_once(record, down)
    assert (caught_up.delivered, caught_up.waiting) == (60, 0)
    assert sorted(one.event_id for one in read_received(stored)) == sorted(events_of(decided))


def test_a_refused_event_is_set_aside_and_can_be_sent_again(
    record: AuditLog, stored: Path, at_hand: StorageSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    refuses = {"status": 422}

    def answer(received: Received) -> int:
        return refuses["status"] if "d-refused" in received.event_id else 204

    with running_app(stored, answer) as port:
        file = write_endpoints(at_hand, port, "lender")
        assert main(["deliver", "--once"]) == 0
        refused = decision("a", "restore", (1.0, 2.0), due=None)
        append(record, [replace(refused, entry_id="d-refused", subject="d-refused")])
        [later] = cut(record, ["a"])
        assert main(["deliver", "--once"]) == 0
        assert [one.event_id for one in read_received(stored)][2:] == events_of([later])
        capsys.readouterr()
        assert main(["deliver", "--refused"]) == 0
        listed = capsys.readouterr()
        assert "2 event(s)" in listed.err
        for line, kind in each(
            zip(listed.out.splitlines(), ("decision_made", "limit_restored"), strict=True)
        ):
            assert line.endswith(f"  app  422  {kind}_d-refused")
        refuses["status"] = 204
        assert main(["deliver", "--again"]) == 0
        assert main(["deliver", "--once"]) == 0
        assert main(["deliver", "--refused", "--endpoints", str(file)]) == 0
    assert "0 event(s)" in capsys.readouterr().err
    assert [one.event_id for one in read_received(stored)][4:] == [
        "decision_made_d-refused",
        "limit_restored_d-refused",
    ]


def test_an_app_that_is_slow_with_one_account_gets_the_others(
    record: AuditLog, stored: Path
) -> None:
    def answer(received: Received) -> int:
        if "decision_made_" + slow[0] == received.event_id:
            time.sleep(1.0)
        return 204

    slow = [""]
    with running_app(stored, answer) as port:
        endpoint = endpoint_at(port, timeout=0.3, in_flight=2)
        register(record.database, [endpoint])
        decided = cut(record, ["slow", "b", "c", "d", "slow"])
        slow[0] = decided[0]
        [one] = deliver_once(record, endpoint)
    # Of the slow account the first event, and all after it, wait.
    assert (one.delivered, one.waiting) == (6, 4)
    arrived = {received.event_id for received in read_received(stored)}
    assert arrived == {f"decision_made_{slow[0]}", *events_of(decided[1:4])}


def test_what_waits_of_an_erased_person_is_not_sent(record: AuditLog, stored: Path) -> None:
    with running_app(stored) as port:
        endpoint = endpoint_at(port)
        register(record.database, [endpoint])
        _, kept = cut(record, ["a", "b"])
        erase_account(record.database, record.secrets, "lender", "a", ERASURE)
        deliver_once(record, endpoint)
    assert [one.event_id for one in read_received(stored)] == events_of([kept])


def test_what_was_delivered_is_deleted_in_time(record: AuditLog, stored: Path) -> None:
    def counts() -> list[int]:
        with record.database.reading() as connection:
            tables = (outbox, deliveries)
            counted = [sa.select(sa.func.count()).select_from(one) for one in tables]
            return [connection.scalar(one) or 0 for one in counted]

    with running_app(stored) as port:
        endpoints = [endpoint_at(port), endpoint_at(free_port(), name="down")]
        register(record.database, endpoints)
        cut(record, ["a", "b"])
        deliver_once(record, endpoints[0])
        assert prune(record.database, NOW) == 0
        assert counts() == [4, 4]
        assert prune(record.database, LATER) == 4
        # The other one still waits for them.
        assert counts() == [4, 0]
        forget(record.database, "down")
        prune(record.database, LATER)
    assert counts() == [0, 0]


def test_an_endpoint_that_is_left_out_is_not_forgotten_by_accident(record: AuditLog) -> None:
    one, other = endpoint_at(1), endpoint_at(1, name="other")
    register(record.database, [one, other])
    with pytest.raises(StorageError, match="--forget other"):
        register(record.database, [one])
    with pytest.raises(StorageError, match="another name"):
        register(record.database, [one, endpoint_at(1, name="other", tenant="bank")])
    forget(record.database, "other")
    assert register(record.database, [one]) == []
    with pytest.raises(StorageError, match=r"\(app\), got 'other'"):
        forget(record.database, "other")


def test_a_new_endpoint_of_a_tenant_without_rows_is_refused(
    record: AuditLog, stored: Path, at_hand: StorageSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_app(stored) as port:
        write_endpoints(at_hand, port, "lendr")
        cut(record, ["a"])
        cut(record, ["a"], tenant="bank")
        assert main(["deliver", "--once"]) == 2
        expected = "one of ['bank', 'lender'], got 'lendr'"
        assert expected in capsys.readouterr().err
        # Nothing was registered, so that the mended file is no other tenant's.
        write_endpoints(at_hand, port, "lender")
        assert main(["deliver", "--once"]) == 0
        assert "new     app" in capsys.readouterr().err


@pytest.mark.parametrize("database", ["record", "postgres"])
def test_one_process_delivers_at_a_time(database: str, request: pytest.FixtureRequest) -> None:
    log: AuditLog = request.getfixturevalue(database)
    with only_deliverer(log.database) as lock:
        lock.check()
        other = only_deliverer(log.database)
        with pytest.raises(StorageError, match="another process delivers"):
            other.__enter__()
    with only_deliverer(log.database):
        pass
