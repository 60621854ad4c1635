"""Rows that were encrypted before: stored as the others are, or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from serving.audit_log.committer import Committer
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.audit_log.privacy.sealed_batch import SealedBatch, seal_batch
from serving.audit_log.verify import verify
from tests.support.each import each
from tests.support.records import NOW, append, new_entry, record, settings_in

__all__ = ["record"]

Items = list[list[NewEntry]]


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    return settings_in(tmp_path).checkpoints


@pytest.fixture
def committer(record: AuditLog, checkpoints: Path) -> Iterator[Committer]:
    opened = Committer(record.database, record.secrets, checkpoints, many_rows=True)
    with closing(opened) as committer:
        yield committer


def cut(entry_id: str, account: str, follows: int = 0) -> NewEntry:
    """A decision that is an event of its account."""
    entry = new_entry(entry_id, account)
    metadata = {"door": "decisions", "action": "reduce"}
    event = dataclasses.replace(entry, due=NOW.date(), in_force=b"null", metadata=metadata)
    return dataclasses.replace(event, follows=follows)


def items() -> Items:
    """A cut, one with a second row, and a decision that is no event."""
    with_review = dataclasses.replace(new_entry("r-2", "acct-2", "review:2"), kind="review")
    return [[cut("d-1", "acct-1")], [cut("d-2", "acct-2"), with_review], [new_entry("d-3", "c")]]


def seal(record: AuditLog, some: Items) -> SealedBatch | None:
    with record.database.reading() as connection:
        return seal_batch(connection, some, record.secrets)


def sealed(record: AuditLog, some: Items) -> SealedBatch:
    batch = seal(record, some)
    assert batch is not None
    return batch


def stored_rows(record: AuditLog) -> list[Entry]:
    return list(record.reader.of_kind(["decision", "review"]))


def without_person(rows: list[Entry]) -> list[Entry]:
    return [dataclasses.replace(row, data_subject=None) for row in rows]


def findings(record: AuditLog, checkpoints: Path) -> int:
    return verify(record.database.reading, record.secrets, checkpoints).count


def test_a_sealed_batch_is_stored_as_if_it_had_not_been_sealed(
    record: AuditLog, committer: Committer, checkpoints: Path
) -> None:
    """Twice over, so that the second batch finds the persons of the first."""
    for turn in each(range(2)):
        newest = {row.entry_id: row.seq for row in stored_rows(record)}
        some = [
            [cut(f"d-{turn}-{place}", f"acct-{place}", newest.get(f"d-0-{place}", 0))]
            for place in range(100)
        ]
        assert committer.commit_sealed(sealed(record, some))
    rows = stored_rows(record)
    assert [row.seq for row in rows] == list(range(1, 201))
    assert len({row.data_subject for row in rows}) == 100
    for row in each(rows):
        assert row.response_body == f"of {row.entry_id}".encode()
    memories = record.reader.memories("lender", [f"acct-{place}" for place in range(100)])
    assert {one.newest_event for one in memories.values()} == set(range(101, 201))
    assert findings(record, checkpoints) == 0


def test_all_columns_are_those_of_other_entries(record: AuditLog, committer: Committer) -> None:
    assert committer.commit_sealed(sealed(record, items()))
    by_batch = without_person(stored_rows(record))
    # The control: the general way knows them as stored.
    assert committer.commit(items()) == ["duplicate"] * 3
    assert [row.entry_id for row in by_batch] == ["d-1", "d-2", "r-2", "d-3"]
    for row, entry in each(zip(by_batch, [one for item in items() for one in item], strict=True)):
        shared = {one.name for one in dataclasses.fields(NewEntry)} & set(Entry.__slots__)
        shared -= {"data_subject"}
        assert {name: getattr(row, name) for name in shared} == {
            name: getattr(entry, name) for name in shared
        }


def keep(record: AuditLog) -> None:
    append(record, [new_entry("service", "acct-1")])


def cut_again(record: AuditLog) -> None:
    append(record, [cut("service", "acct-3")])


def erase(record: AuditLog) -> None:
    order = ErasureOrder("Li Na", "asked for", NOW)
    assert erase_account(record.database, record.secrets, "lender", "acct-3", order) is not None


def store_it(record: AuditLog) -> None:
    append(record, [new_entry("d-3", "another")])


@pytest.mark.parametrize(
    ("change", "refused"),
    [(keep, []), (cut_again, ["d-4"]), (erase, []), (store_it, ["d-3"])],
)
def test_a_batch_whose_accounts_have_changed_is_not_stored(
    record: AuditLog,
    committer: Committer,
    checkpoints: Path,
    change: Callable[[AuditLog], None],
    refused: list[str],
) -> None:
    """A new person, a new event, an erased person, an id that is taken."""
    append(record, [new_entry("before", "acct-3")])
    some = [*items(), [cut("d-4", "acct-3")]]
    batch = sealed(record, some)
    change(record)
    before = stored_rows(record)
    assert not committer.commit_sealed(batch)
    assert stored_rows(record) == before
    # The general way stores all others.
    results = committer.commit(some)
    assert [
        item[0].entry_id
        for item, got in zip(some, results, strict=True)
        if not isinstance(got, list)
    ] == refused
    assert findings(record, checkpoints) == 0
    # The control: without a change, a batch of these accounts is stored.
    assert committer.commit_sealed(sealed(record, [[new_entry("d-5", "acct-3")]]))


def test_what_does_not_follow_from_the_newest_event_is_not_sealed(record: AuditLog) -> None:
    append(record, [cut("first", "acct-1")])
    for some in each(
        [
            [[cut("d-1", "acct-1")]],
            [[cut("d-1", "acct-1", 2)]],
            [[cut("d-1", "acct-1", 1)], [cut("d-2", "acct-1", 1)]],
        ]
    ):
        assert seal(record, some) is None
    assert seal(record, [[cut("d-1", "acct-1", 1)]]) is not None


def test_an_entry_without_an_account_is_refused(record: AuditLog) -> None:
    with pytest.raises(ValueError, match="expected entries with an account, got d-1 without one"):
        seal(record, [[new_entry("d-1", None)]])
