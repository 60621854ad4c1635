"""A challenger's decision is a row and no decision, in both databases."""

from __future__ import annotations

import datetime
import json

import pytest

from serving.api.shadow.shadow import Reply, make_row
from serving.audit_log.entry import Entry
from serving.audit_log.errors import Outdated
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.audit_log.verify import verify
from serving.decision.bundle import Bundle
from serving.storage.tables import due_accounts, open_notices, review_states
from tests.support.entries import decision_entry, example_request
from tests.support.records import NOW, append

ORDER = ErasureOrder("Li Na", "asked for", NOW, hold_over="the decisions are of a test")


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request: pytest.FixtureRequest) -> AuditLog:
    """An empty audit log in each database."""
    opened: AuditLog = request.getfixturevalue(
        "record" if request.param == "sqlite" else "postgres"
    )
    return opened


def reply(name: str, decision: Entry) -> Reply:
    """What a challenger says that decides the same."""
    content = decision.response_body or b""
    return Reply(name.encode(), b"A-1", content, json.dumps(decision.metadata).encode())


def listed(log: AuditLog) -> list[int]:
    """The number of rows of each list, and of people."""
    tables = open_notices.name, review_states.name, due_accounts.name, "people"
    with log.database.reading() as connection:
        return [
            int(connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one())
            for name in tables
        ]


def remembered(log: AuditLog) -> tuple[object, str]:
    """What is in force for the account, and the id of the latest decision on it."""
    memories, latest = log.reader.memories_and_latest("lender", ["A-1"])
    return memories, latest["A-1"].entry_id


def test_a_shadow_row_is_no_decision_and_goes_with_its_person(
    log: AuditLog, golden: Bundle
) -> None:
    request = example_request("A-1", days_past_due=60)
    [decision] = append(log, [decision_entry(request, golden)])
    content = decision.response_body or b""
    assert decision.metadata["action"] == "suspend"
    lists, memory = listed(log), remembered(log)
    shadow = make_row(decision, reply("s-1", decision))
    [stored] = append(log, [shadow])
    assert stored.data_subject == decision.data_subject
    assert listed(log) == lists
    assert remembered(log) == memory
    assert [row.kind for row in log.reader.about(decision.entry_id)] == ["decision"]
    found = log.reader.by_id("s-1")
    assert found is not None
    assert found.response_body == content
    erase_account(log.database, log.secrets, "lender", "A-1", ORDER)
    erased = log.reader.by_id("s-1")
    assert erased is not None
    assert erased.response_body is None
    lists = listed(log)
    # The account was erased between its decision and the challenger's: it does not come back.
    with pytest.raises(Outdated):
        append(log, [make_row(decision, reply("s-2", decision))])
    assert listed(log) == lists
    # The control: a row that names no person makes a new one.
    append(log, [decision_entry(request, golden, at=NOW + datetime.timedelta(days=1))])
    assert listed(log)[-1] == lists[-1] + 1
    checkpoints = log.writer.committer._file
    assert verify(log.database.reading, log.secrets, checkpoints).count == 0
