"""Erasure: what becomes unreadable, what stays as it was, and what the files still hold."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.audit_log.entry import NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy import erasure
from serving.audit_log.privacy.erasure import (
    Erased,
    ErasureOrder,
    check_retention,
    count_unmarked_erasures,
    erase_account,
    erase_expired,
    erased_at,
    find_expired,
    newest_record,
    truncate_wal,
    years_before,
)
from serving.audit_log.rows import insert_entries
from serving.audit_log.verify import verify
from serving.storage import database
from serving.storage.errors import StorageError
from serving.storage.tables import people
from tests.support.each import each
from tests.support.records import (
    ACCOUNTS,
    NOW,
    Fill,
    append,
    new_entry,
    numbered_entries,
    numbered_entry,
    settings_in,
)

ORDER = ErasureOrder("Li Na", "asked for", NOW)
OVER = dataclasses.replace(ORDER, hold_over="many have a review")
MARK = "Geheimnis7319"  # in the account's name and in the request


@pytest.fixture(params=["rollback journal", "write-ahead log"])
def journalled(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[AuditLog]:
    """An audit log in each journal mode, whatever version of SQLite is installed."""
    wal = request.param == "write-ahead log"
    monkeypatch.setattr(database, "is_free_of_wal_reset_bug", lambda version: wal)
    with contextlib.closing(AuditLog(settings_in(tmp_path))) as opened:
        yield opened


def old_entry(name: str, account: str, years: int) -> NewEntry:
    """A decision about an account, so many years ago."""
    return dataclasses.replace(new_entry(name, account), at=years_before(NOW, years))


def marked(name: str) -> NewEntry:
    content = f'{{"account_id":"{MARK}-account","income":7319}}'.encode()
    return NewEntry(
        name,
        "decision",
        name,
        "lender",
        "key-1",
        NOW,
        f"{MARK}-account",
        {},
        content,
        content,
    )


def on_disk(folder: Path) -> bytes:
    """The bytes of the database file, its journal and its write-ahead log."""
    return b"".join(file.read_bytes() for file in sorted(folder.glob("record.db*")))


def test_request_and_answer_become_unreadable_and_nothing_else(
    record: AuditLog,
    fill: Fill,
    tmp_path: Path,
) -> None:
    drafts = fill(100)
    before = list(record.reader.of_kind(("decision", "review")))
    stored = list(record.reader.rows())
    erased = erase_account(record.database, record.secrets, "lender", "acct-5", ORDER)
    assert erased is not None
    after = list(record.reader.of_kind(("decision", "review")))
    assert erased.rows == sum(draft.account == "acct-5" for draft in drafts) > 1
    for draft, was, row in each(zip(drafts, before, after, strict=True)):
        if draft.account == "acct-5":
            assert (row.erased, row.request_body, row.response_body) == (True, None, None)
            assert row.metadata == draft.metadata
        else:
            assert row == was
    assert list(record.reader.rows())[:-1] == stored
    assert (
        verify(record.database.reading, record.secrets, tmp_path / "checkpoints.jsonl").count == 0
    )


def test_the_erasure_is_an_entry_with_who_and_why(record: AuditLog, fill: Fill) -> None:
    fill(50)
    erased = erase_account(record.database, record.secrets, "lender", "acct-5", ORDER)
    assert erased is not None
    [row] = record.reader.of_kind(("erasure",))
    assert (row.subject, row.tenant, row.data_subject, row.at) == (
        erased.data_subject,
        "lender",
        None,
        NOW,
    )
    mark = row.metadata["account_mark"]
    assert row.metadata == {
        "person": erased.data_subject,
        "rows": erased.rows,
        "by": "Li Na",
        "why": "asked for",
        "account_mark": mark,
    }
    # Keyed, and not the hash that led to the person.
    assert mark not in record.secrets.account_hashes("lender", "acct-5").values()


def test_an_erased_account_is_told_from_one_that_never_was(record: AuditLog, fill: Fill) -> None:
    fill(50)
    erase_account(record.database, record.secrets, "lender", "acct-5", ORDER)
    known = record.database, record.secrets
    assert erased_at(*known, "lender", "acct-5") == NOW
    assert erased_at(*known, "lender", "acct-6") is None
    assert erased_at(*known, "other", "acct-5") is None
    # Another secret says nothing of it.
    other = dataclasses.replace(record.secrets, account_keys={"a1": bytes(32)}, account_key="a1")
    assert erased_at(record.database, other, "lender", "acct-5") is None
    assert count_unmarked_erasures(record.database, "lender") == 0


def test_an_expired_account_can_be_told_later_too(record: AuditLog) -> None:
    append(record, [old_entry("d-1", "acct-1", 4), numbered_entry(2)])
    [_] = erase_expired(record.database, record.secrets, 3, ORDER)
    known = record.database, record.secrets
    assert erased_at(*known, "lender", "acct-1") == NOW
    assert erased_at(*known, "lender", "acct-2") is None


def test_an_account_under_two_account_keys_is_erased_under_both(record: AuditLog) -> None:
    """The first key was taken away, the account came again, and the key was put back."""
    both = {"a1": record.secrets.account_keys["a1"], "a2": bytes(range(32))}
    append(record, [numbered_entry(1)])
    of_a2 = dataclasses.replace(record.secrets, account_keys={"a2": both["a2"]}, account_key="a2")
    with record.database.writing() as connection:
        insert_entries(connection, [numbered_entry(1 + ACCOUNTS)], of_a2)
    secrets = dataclasses.replace(record.secrets, account_keys=both)
    erased = [erase_account(record.database, secrets, "lender", "acct-1", ORDER) for _ in range(3)]
    assert [one and one.rows for one in erased] == [1, 1, None]
    assert len({one.data_subject for one in erased if one}) == 2


def test_what_would_expire_is_what_expires(record: AuditLog, fill: Fill) -> None:
    fill(20)
    years_ago = {"long": 5, "longer": 6, "x": 4, "lately": 0}
    for number, (account, years) in enumerate(years_ago.items()):
        append(record, [old_entry(f"o-{number}", account, years)])
    append(record, [old_entry("o-9", "x", 0), old_entry("o-10", "long", 4)])
    expired = find_expired(record.database, 3, NOW)
    erased = list(erase_expired(record.database, record.secrets, 3, ORDER))
    assert (expired.subjects, expired.rows) == (2, 3)
    assert (len(erased), sum(one.rows for one in erased)) == (2, 3)
    assert (expired.oldest, expired.newest) == (years_before(NOW, 6), years_before(NOW, 4))
    assert expired.share == 2 / expired.all_subjects
    rest = find_expired(record.database, 3, NOW)
    assert (rest.subjects, rest.rows, rest.oldest) == (0, 0, None)
    assert rest.all_subjects == expired.all_subjects - 2


def test_the_newest_record_is_no_erasure(record: AuditLog) -> None:
    assert newest_record(record.database) is None
    append(record, [numbered_entry(1), numbered_entry(2)])
    later = dataclasses.replace(ORDER, at=NOW.replace(year=NOW.year + 4))
    erase_account(record.database, record.secrets, "lender", "acct-1", later)
    assert newest_record(record.database) == numbered_entry(2).at


def test_no_file_leads_to_the_person_any_more(journalled: AuditLog, tmp_path: Path) -> None:
    append(
        journalled,
        [marked("d-0"), *(numbered_entry(number) for number in range(1, 200)), marked("d-200")],
    )
    entry = journalled.reader.by_id("d-0")
    assert entry is not None
    with journalled.database.reading() as connection:
        row = connection.execute(
            sa.select(people).where(people.c.person == entry.data_subject)
        ).one()
    hashes = [
        one.encode()
        for one in journalled.secrets.account_hashes("lender", f"{MARK}-account").values()
    ]
    assert row.account.encode() in hashes
    leads = [bytes(row.sealed_key), *hashes]
    assert all(lead in on_disk(tmp_path) for lead in leads)  # the control for the assert below
    assert MARK.encode() not in on_disk(tmp_path)
    erased = erase_account(
        journalled.database, journalled.secrets, "lender", f"{MARK}-account", ORDER
    )
    assert erased == Erased(row.person, 2)
    assert truncate_wal(journalled.database)
    assert not any(lead in on_disk(tmp_path) for lead in leads)
    assert MARK.encode() not in on_disk(tmp_path)
    assert row.person.encode() in on_disk(tmp_path)  # the random id stays


def test_an_erased_account_returns_as_another_data_subject(record: AuditLog) -> None:
    [first] = append(record, [numbered_entry(1)])
    assert erase_account(record.database, record.secrets, "lender", "acct-1", ORDER) == Erased(
        str(first.data_subject), 1
    )
    [again] = append(record, [numbered_entry(1 + ACCOUNTS)])
    assert again.data_subject not in (first.data_subject, None)
    assert erase_account(record.database, record.secrets, "lender", "acct-1", ORDER) == Erased(
        str(again.data_subject), 1
    )
    assert erase_account(record.database, record.secrets, "lender", "acct-1", ORDER) is None


def test_a_tenant_erases_its_own_accounts_only(record: AuditLog, fill: Fill) -> None:
    fill(10)
    assert erase_account(record.database, record.secrets, "other", "acct-1", ORDER) is None
    assert not list(record.reader.of_kind(("erasure",)))


def test_entries_are_appended_while_persons_are_erased(record: AuditLog, tmp_path: Path) -> None:
    append(record, numbered_entries(0, 80))
    appended: list[int] = []

    def add() -> None:
        for start in range(80, 380, 10):
            appended.extend(row.seq for row in append(record, numbered_entries(start, start + 10)))

    adding = threading.Thread(target=add)
    adding.start()
    # Connections of its own, as the command has.
    beside = database.Database(settings_in(tmp_path).address)
    erased = [
        erase_account(beside, record.secrets, "lender", f"acct-{number}", OVER)
        for number in range(40)
    ]
    beside.close()
    adding.join()
    assert len(appended) == 300
    assert sum(one is not None for one in erased) > 30
    report = verify(record.database.reading, record.secrets, tmp_path / "checkpoints.jsonl")
    assert (report.rows, report.count) == (380 + sum(one is not None for one in erased), 0)


def test_only_accounts_without_newer_entries_expire(
    record: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "SUBJECTS_PER_TRANSACTION", 2)
    day = datetime.timedelta(days=1)
    old = NOW.replace(year=NOW.year - 3)
    ages = {
        "long": old - 9 * day,
        "just": old - day / 86400,
        "on the day": old,
        "lately": NOW,
        "long too": old - day,
        "x": old - day,
    }
    for number, (account, at) in enumerate(ages.items()):
        append(
            record,
            [
                NewEntry(
                    f"d-{number}",
                    "decision",
                    f"d-{number}",
                    "lender",
                    "key-1",
                    at,
                    account,
                    {},
                    b"asked",
                )
            ],
        )
    append(record, [NewEntry("d-9", "decision", "d-9", "lender", "key-1", NOW, "x", {}, b"asked")])
    erased = list(erase_expired(record.database, record.secrets, 3, ORDER))
    assert [one.rows for one in erased] == [1, 1, 1]
    rows = {row.entry_id: row.erased for row in record.reader.of_kind(("decision",))}
    assert rows == {
        "d-0": True,
        "d-1": True,
        "d-2": False,
        "d-3": False,
        "d-4": True,
        "d-5": False,
        "d-9": False,
    }
    assert not list(erase_expired(record.database, record.secrets, 3, ORDER))


@pytest.mark.parametrize(
    ("years", "force", "why"),
    [
        (2, False, None),
        (2, True, None),
        (2, False, "a rule"),
        (0, True, "a rule"),
        (3000, False, None),
    ],
)
def test_a_retention_period_below_the_legal_minimum_is_refused(
    years: int,
    force: bool,
    why: str | None,
) -> None:
    with pytest.raises(StorageError, match="expected to keep records for"):
        check_retention(years, force, why)


def test_a_shorter_retention_period_can_be_forced() -> None:
    check_retention(2, True, "another country's rule")
    check_retention(3, False, None)
