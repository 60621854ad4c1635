"""The command that erases: what it refuses, what it shows first, and what it says of nobody."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

import pytest

from features.months import add_months
from serving.__main__ import main
from serving.audit_log import checkpoints
from serving.audit_log.entry import NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account, years_before
from serving.operations import erase as module
from serving.storage.settings import StorageSettings
from tests.support.records import Fill, append, new_entry

BY = ["--by", "Li Na"]
EXPIRED = ["erase", "--expired", *BY]
TODAY = datetime.datetime.now(datetime.UTC)


def fill_book(record: AuditLog, old: int, new: int) -> None:
    """Accounts whose newest entry is four years old, and accounts of today."""
    for begin, count, years in ((0, old, 4), (old, new, 0)):
        at = years_before(TODAY, years)
        append(
            record,
            [
                dataclasses.replace(new_entry(f"d-{number}", f"acct-{number}"), at=at)
                for number in range(begin, begin + count)
            ],
        )


def erased_rows(record: AuditLog) -> int:
    return sum(entry.erased for entry in record.reader.of_kind(("decision",)))


def run(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> tuple[int, str, str]:
    status = main(list(arguments))
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_the_command_erases_and_signs_a_checkpoint(
    record: AuditLog,
    fill: Fill,
    at_hand: StorageSettings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(20)
    assert main(["erase", "--tenant", "lender", "--account", "acct-5", "--by", "Li Na"]) == 0
    assert "rows 1" in capsys.readouterr().out
    sealed = checkpoints.read_newest(at_hand.checkpoints, record.secrets.verifier)
    assert sealed is not None
    assert sealed.seq == 21
    assert main(["erase", "--tenant", "lender", "--account", "acct-5", "--by", "Li Na"]) == 1
    assert "was erased before, on 20" in capsys.readouterr().err
    assert main(["verify"]) == 0
    said = capsys.readouterr().out
    assert "the newest of row 21" in said
    assert "findings     none" in said


def test_the_command_refuses_incomplete_options(
    at_hand: StorageSettings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["erase", "--tenant", "lender", "--by", "Li Na"]) == 2
    assert main(["erase", "--account", "acct-5", "--by", "Li Na"]) == 2
    assert main(["erase", "--expired", "--account", "a", "--tenant", "t", "--by", "Li Na"]) == 2
    assert capsys.readouterr().err.count("expected --tenant with --account, or --expired") == 3
    assert main(["erase", "--expired", "--by", "Li Na"]) == 2
    assert "there is no audit log at" in capsys.readouterr().err
    monkeypatch.setenv("CLEARLINE_RETENTION_YEARS", "three")
    assert main(["erase", "--expired", "--by", "Li Na"]) == 2
    message = "CLEARLINE_RETENTION_YEARS: expected a whole number of years, got 'three'\n"
    assert capsys.readouterr().err.endswith(message)
    monkeypatch.setenv("CLEARLINE_RETENTION_YEARS", "1")
    assert main(["erase", "--expired", "--by", "Li Na"]) == 2
    assert "--force and --why" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [("--years", "5"), ("--force",), ("--max-share", "0.5"), ("--trust-clock",), ("--yes",)],
)
def test_an_option_of_the_expired_is_refused_with_an_account(
    record: AuditLog,
    fill: Fill,
    at_hand: StorageSettings,
    capsys: pytest.CaptureFixture[str],
    option: tuple[str, ...],
) -> None:
    fill(6)
    asked = ["erase", "--tenant", "lender", "--account", "acct-5", *BY]
    status, _, err = run(capsys, [*asked, *option])
    assert status == 2
    assert err.startswith(f"{option[0]}: expected --expired too; an account is erased alone")
    assert erased_rows(record) == 0
    assert run(capsys, asked)[0] == 0


def test_expired_customers_are_shown_first_and_erased_with_yes(
    record: AuditLog, at_hand: StorageSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    fill_book(record, old=2, new=38)
    day = f"{years_before(TODAY, 4):%Y-%m-%d}"
    shown = (
        "expired  2 of 40 data subjects (5.0 %), 2 rows\n"
        f"newest row of each  from {day} to {day}, more than 3 years ago\n"
    )
    status, out, err = run(capsys, EXPIRED)
    assert (status, out) == (1, shown)
    assert err == "nothing was erased: add --yes to erase what is listed\n"
    assert erased_rows(record) == 0
    status, out, _ = run(capsys, [*EXPIRED, "--yes"])
    assert status == 0
    assert out.startswith(shown)
    assert out.count("erased  ") == 2
    assert erased_rows(record) == 2
    status, out, _ = run(capsys, EXPIRED)
    assert status == 0, "nobody is left out: nobody has expired"
    assert "no records are past their retention period" in out


def test_a_large_share_of_the_book_is_not_erased_unless_it_is_allowed(
    record: AuditLog, at_hand: StorageSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    fill_book(record, old=5, new=35)
    status, _, err = run(capsys, [*EXPIRED, "--yes"])
    assert status == 1
    assert "expected at most 10.0% of the data subjects, got 12.5%" in err
    assert erased_rows(record) == 0
    status, _, err = run(capsys, [*EXPIRED, "--yes", "--max-share", "0.125"])
    assert (status, err) == (0, "")
    assert erased_rows(record) == 5


@pytest.mark.parametrize("share", ["0", "-1", "1.1", "nan"])
def test_an_impossible_share_is_refused(
    record: AuditLog,
    at_hand: StorageSettings,
    share: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, _, err = run(capsys, [*EXPIRED, "--max-share", share])
    assert status == 2
    assert "--max-share: expected above 0, at most 1" in err


def test_a_clock_that_is_ahead_of_the_rows_erases_nobody(
    record: AuditLog, at_hand: StorageSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the command, a clock that is four years ahead and rows of four years ago are the same."""
    fill_book(record, old=40, new=0)
    everybody = [*EXPIRED, "--yes", "--max-share", "1"]
    status, out, err = run(capsys, everybody)
    assert (status, out) == (1, "")
    assert f"clock says {TODAY:%Y-%m-%d} " in err
    assert f"the newest row of the service is of {years_before(TODAY, 4):%Y-%m-%d}" in err
    assert erased_rows(record) == 0
    # An erasure with that clock does not vouch for it.
    order = ErasureOrder("Li Na", "asked for", TODAY)
    assert erase_account(record.database, record.secrets, "lender", "acct-7", order) is not None
    assert run(capsys, everybody)[0] == 1
    # The control: without the check everybody is gone.
    assert run(capsys, [*everybody, "--trust-clock"])[0] == 0
    assert erased_rows(record) == 40


def test_a_name_that_is_near_is_named_and_nobody_is_erased(
    record: AuditLog, at_hand: StorageSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    append(
        record, [new_entry("d-1", "0000599"), new_entry("d-2", "Ａ-1027"), new_entry("d-3", "77")]
    )
    near = {
        "599": "; near: --tenant lender --account 0000599",
        "0599.0": "; near: --tenant lender --account 0000599",
        " 77": "; near: --tenant lender --account 77",
        "598": "",
    }
    for account, said in near.items():
        asked = ["erase", "--tenant", "lender", "--account", account, *BY]
        status, out, err = run(capsys, asked)
        assert (status, out) == (1, "")
        expected = f"nothing was erased: 'lender' never had an account {account!r}{said}"
        assert err.split() == expected.split()
    status, _, err = run(capsys, ["erase", "--tenant", "lendr", "--account", "77", *BY])
    assert status == 1
    assert "near: --tenant lender --account 77" in err
    assert erased_rows(record) == 0
    # The control.
    assert run(capsys, ["erase", "--tenant", "lender", "--account", "0000599", *BY])[0] == 0
    assert erased_rows(record) == 1


def test_an_account_that_was_erased_is_no_unknown_one(
    record: AuditLog, fill: Fill, at_hand: StorageSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(50)
    asked = ["erase", "--tenant", "lender", "--account", "acct-5", *BY]
    _, first, _ = run(capsys, asked)
    person = first.split()[1]
    status, out, err = run(capsys, asked)
    assert (status, out) == (1, "")
    assert "was erased before, on " in err
    assert person not in err
    assert "Li Na" not in err
    status, _, err = run(capsys, ["erase", "--tenant", "lender", "--account", "acct-99", *BY])
    assert status == 1
    assert "never had an account 'acct-99'" in err


def cut_of(account: str, years: int = 0) -> NewEntry:
    """A reduction whose notice nobody has sent, so many years ago."""
    return dataclasses.replace(
        new_entry(f"cut-{account}", account),
        at=years_before(TODAY, years),
        metadata={"door": "decisions", "action": "reduce"},
        due=years_before(TODAY, years).date() + datetime.timedelta(days=2),
    )


def test_a_customer_with_a_cut_is_not_erased_the_day_after(
    record: AuditLog, at_hand: StorageSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = cut_of("acct-1")
    append(record, [cut])
    asked = ["erase", "--tenant", "lender", "--account", "acct-1", *BY]
    status, out, err = run(capsys, asked)
    assert (status, out) == (1, "")
    kept_until = add_months(TODAY.date(), 36)
    assert err == (
        "'acct-1' of 'lender' was not erased: the notice of cut-acct-1 is not sent yet, it is due "
        f"by {cut.due}; the records of cut-acct-1 are kept until {kept_until} (PIPL articles 55 "
        'and 56); to erase all the same, say why with --hold-over "..."\n'
    )
    assert erased_rows(record) == 0
    status, out, err = run(capsys, [*asked, "--hold-over", "a court ordered it"])
    assert (status, err) == (0, "")
    assert "rows 1" in out
    [entry] = record.reader.of_kind(("erasure",))
    assert entry.metadata["hold_over"] == "a court ordered it"
    assert len(entry.metadata["holds"]) == 2
    assert run(capsys, ["verify"])[0] == 0


def test_a_hold_counts_under_the_laws_of_the_lender(
    record: AuditLog,
    at_hand: StorageSettings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    append(record, [dataclasses.replace(cut_of("acct-1"), due=None)])
    asked = ["erase", "--tenant", "lender", "--account", "acct-1", *BY]
    assert "PIPL" in run(capsys, asked)[2]
    monkeypatch.setenv("CLEARLINE_LEGAL_HOLDS", "gdpr")
    status, _, err = run(capsys, asked)
    assert status == 2
    assert "expected 'none', or names among regulation_b, pipl, separated by commas; got" in err
    assert erased_rows(record) == 0
    monkeypatch.setenv("CLEARLINE_LEGAL_HOLDS", "regulation_b")
    assert run(capsys, asked)[0] == 0, "nobody was notified, so its months have not begun"
    assert erased_rows(record) == 1


def test_expired_customers_with_a_hold_are_named_and_left_out(
    record: AuditLog, at_hand: StorageSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    fill_book(record, old=2, new=37)
    [held] = append(record, [cut_of("held", 4)])
    # The newest row is of today, so that the clock is trusted.
    append(record, [dataclasses.replace(new_entry("last", "acct-2"), at=TODAY)])
    status, out, err = run(capsys, [*EXPIRED, "--yes"])
    assert status == 1
    assert "held  1 of them, not erased\n" in out
    assert f"{held.data_subject}  the notice of cut-held is not sent yet" in out
    assert err.startswith("not erased: what is held; to erase all the same, say why")
    assert erased_rows(record) == 2
    status, _, err = run(capsys, [*EXPIRED, "--yes", "--hold-over", "sent by the branch"])
    assert (status, err) == (0, "")
    assert erased_rows(record) == 3


@pytest.mark.parametrize("why", ["", "  "])
def test_a_hold_is_not_passed_over_without_a_reason(
    record: AuditLog, at_hand: StorageSettings, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    append(record, [cut_of("acct-1")])
    asked = ["erase", "--tenant", "lender", "--account", "acct-1", *BY, "--hold-over"]
    status, _, err = run(capsys, [*asked, why])
    assert status == 1
    assert "--hold-over: expected why a hold does not count, got a blank text" in err
    status, _, err = run(capsys, [*asked, "acct-1 asked for it"])
    assert status == 2
    assert "--hold-over: expected a reason without the account's name" in err
    assert erased_rows(record) == 0


@pytest.mark.parametrize("by", ["", "  "])
def test_nobody_erases_without_a_name(
    record: AuditLog,
    fill: Fill,
    at_hand: StorageSettings,
    by: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(50)
    asked = ["erase", "--tenant", "lender", "--account", "acct-5", "--by", by]
    status, _, err = run(capsys, asked)
    assert status == 1
    assert "--by: expected the name of who erases" in err
    assert erased_rows(record) == 0


def test_a_reason_that_names_the_account_is_refused(
    record: AuditLog, fill: Fill, at_hand: StorageSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(50)
    asked = ["erase", "--tenant", "lender", "--account", "acct-5", *BY]
    status, _, err = run(capsys, [*asked, "--why", "asked for by acct-5."])
    assert status == 2
    assert "it stays readable for ever" in err
    assert erased_rows(record) == 0
    assert run(capsys, [*asked, "--why", "ticket acct-51"])[0] == 0


@pytest.mark.slow
def test_a_reader_that_holds_up_the_log_is_reported_and_the_next_run_overwrites(
    record: AuditLog,
    fill: Fill,
    at_hand: StorageSettings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(50)
    assert at_hand.file is not None
    monkeypatch.setattr(module, "SECONDS_FOR_READERS", 0.2)
    wal = at_hand.file.with_name("record.db-wal")
    asked = ["erase", "--tenant", "lender", "--account", "acct-5", *BY]
    with record.database.reading() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM entries").scalar()
        status, _, err = run(capsys, asked)
        assert status == 1
        assert "may still contain deleted keys: run this again" in err
        assert wal.stat().st_size > 0
    assert run(capsys, asked)[0] == 1  # erased before, and the log is overwritten all the same
    assert wal.stat().st_size == 0
