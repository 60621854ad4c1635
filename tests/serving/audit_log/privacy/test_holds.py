"""Who is not erased yet: an unsent notice, a review without an answer, a law's period."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.months import add_months
from serving.audit_log.entry import Entry, Kind, NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import (
    ErasureOrder,
    Held,
    erase_account,
    erase_expired,
    find_held,
    years_before,
)
from serving.audit_log.privacy.holds import LAWS, PIPL, REGULATION_B, Hold, find_holds, parse_laws
from serving.audit_log.verify import verify
from serving.storage.errors import StorageError
from tests.support.each import each
from tests.support.records import NOW, append, new_entry

DUE = datetime.date(2026, 12, 1)
SENT = "2026-12-05T09:00:00Z"
TODAY = NOW.date()
ORDER = ErasureOrder("Li Na", "asked for", NOW)
OVER = dataclasses.replace(ORDER, hold_over="a court ordered it")


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request: pytest.FixtureRequest) -> AuditLog:
    """An empty audit log in each database."""
    name = "record" if request.param == "sqlite" else "postgres"
    opened: AuditLog = request.getfixturevalue(name)
    return opened


def decision(
    name: str, action: str, account: str = "acct-1", at: datetime.datetime = NOW
) -> NewEntry:
    return dataclasses.replace(
        new_entry(name, account),
        at=at,
        metadata={"door": "decisions", "action": action},
        due=None if action == "keep" else DUE,
    )


def about(
    kind: Kind, name: str, subject: NewEntry, metadata: Mapping[str, Any], key: str | None = None
) -> NewEntry:
    """A row about a decision: a review, a step of it, a notification."""
    return dataclasses.replace(
        subject,
        entry_id=name,
        kind=kind,
        metadata=metadata,
        unique_key=key,
        digest=None,
        due=None,
    )


def told(name: str, of: NewEntry, sent_at: str = SENT, review: str | None = None) -> NewEntry:
    metadata = {"sent_at": sent_at, "review_id": review}
    subject = of if of.kind == "decision" else dataclasses.replace(of, entry_id=of.subject)
    return about("notification", name, subject, metadata, f"told:{of.entry_id}")


def review(name: str, subject: NewEntry) -> NewEntry:
    return about("review", name, subject, {"decide_by": "2026-12-25", "asked_by": "customer"})


def step(kind: Kind, name: str, opened: NewEntry, notice: str | None = None) -> NewEntry:
    metadata = {"review": opened.entry_id, "outcome": "amend"}
    taken = about(kind, name, opened, metadata)
    if notice is None:
        return taken
    content = json.dumps({"kind": notice}).encode()
    return dataclasses.replace(taken, response_body=content, due=DUE)


def holds_of(log: AuditLog, row: Entry, today: datetime.date = TODAY) -> list[tuple[str, str, str]]:
    """The rule, the entry and the last day of each hold of a row's data subject."""
    subject = str(row.data_subject)
    with log.database.reading() as connection:
        found = find_holds(connection, log.secrets, [subject], LAWS, today)
    return [(hold.rule, hold.entry_id, str(hold.until)) for hold in found.get(subject, [])]


def erased_rows(log: AuditLog) -> set[str]:
    return {row.entry_id for row in log.reader.of_kind(("decision",)) if row.erased}


def test_a_limit_that_was_kept_holds_nobody(log: AuditLog) -> None:
    """The control."""
    [row] = append(log, [decision("d-1", "keep")])
    assert holds_of(log, row) == []
    assert erase_account(log.database, log.secrets, "lender", "acct-1", ORDER) is not None
    assert erased_rows(log) == {"d-1"}
    [entry] = log.reader.of_kind(("erasure",))
    assert not {"holds", "hold_over"} & set(entry.metadata)


@pytest.mark.parametrize("action", ["reduce", "suspend"])
def test_an_adverse_action_holds_from_the_first_day_to_the_last(log: AuditLog, action: str) -> None:
    cut = decision("d-1", action)
    [row] = append(log, [cut])
    unsent = ("unsent_notice", "d-1", "2026-12-01")
    by_pipl = ("legal_hold", "d-1", "2029-11-25")
    assert holds_of(log, row) == [unsent, by_pipl]
    append(log, [told("n-1", cut)])
    by_regulation_b = ("legal_hold", "d-1", "2029-01-05")
    assert holds_of(log, row) == [by_regulation_b, by_pipl]
    ends = datetime.date(2029, 1, 5), datetime.date(2029, 11, 25)
    day = datetime.timedelta(days=1)
    assert holds_of(log, row, ends[0]) == [by_regulation_b, by_pipl]
    assert holds_of(log, row, ends[0] + day) == [by_pipl]
    assert holds_of(log, row, ends[1]) == [by_pipl]
    assert holds_of(log, row, ends[1] + day) == []


def test_a_notice_that_was_sent_again_counts_from_the_last_time(log: AuditLog) -> None:
    cut = decision("d-1", "reduce")
    again = dataclasses.replace(told("n-2", cut, "2027-02-01T00:00:00Z"), unique_key="told:d-1:1")
    [row, *_] = append(log, [cut, told("n-1", cut), again])
    assert ("legal_hold", "d-1", "2029-03-01") in holds_of(log, row)


def test_a_review_holds_until_it_has_an_answer(log: AuditLog) -> None:
    kept = decision("d-1", "keep")
    opened = review("r-1", kept)
    [row, _] = append(log, [kept, opened])
    open_one = [("open_review", "r-1", "2026-12-25")]
    assert holds_of(log, row) == open_one
    append(log, [step("started", "s-1", opened)])
    assert holds_of(log, row) == open_one
    append(log, [step("withdrawal", "w-1", opened)])
    assert holds_of(log, row) == []


def test_an_outcome_that_lowers_the_limit_is_an_adverse_action(log: AuditLog) -> None:
    referred = decision("d-1", "review")
    opened = review("r-1", referred)
    outcome = step("resolution", "o-1", opened, "adverse_action")
    [row, *_] = append(log, [referred, opened, told("n-1", referred), outcome])
    assert [rule for rule, *_ in holds_of(log, row)] == ["unsent_notice", "legal_hold"]
    append(log, [told("n-2", outcome, review="r-1")])
    assert holds_of(log, row) == [
        ("legal_hold", "o-1", "2029-01-05"),
        ("legal_hold", "o-1", "2029-11-25"),
    ]


def test_an_outcome_that_takes_nothing_is_held_until_it_is_told(log: AuditLog) -> None:
    referred = decision("d-1", "review")
    opened = review("r-1", referred)
    outcome = step("resolution", "o-1", opened, "review_outcome")
    [row, *_] = append(log, [referred, opened, told("n-1", referred), outcome])
    assert holds_of(log, row) == [("unsent_notice", "o-1", "2026-12-01")]
    append(log, [told("n-2", outcome, review="r-1")])
    assert holds_of(log, row) == []


def test_nobody_with_a_hold_is_erased_and_nothing_is_left_behind(log: AuditLog) -> None:
    append(log, [decision("d-1", "reduce"), decision("d-2", "keep", "acct-2")])
    stored = list(log.reader.rows())
    with pytest.raises(Held, match="the notice of d-1 is not sent yet, it is due by 2026-12-01"):
        erase_account(log.database, log.secrets, "lender", "acct-1", ORDER)
    assert list(log.reader.rows()) == stored
    assert erased_rows(log) == set()
    # Another account of the same lender is not held by it.
    assert erase_account(log.database, log.secrets, "lender", "acct-2", ORDER) is not None


def test_an_order_that_says_why_erases_and_the_log_has_it(log: AuditLog, tmp_path: Path) -> None:
    append(log, [decision("d-1", "reduce")])
    assert erase_account(log.database, log.secrets, "lender", "acct-1", OVER) is not None
    assert erased_rows(log) == {"d-1"}
    [entry] = log.reader.of_kind(("erasure",))
    assert entry.metadata["hold_over"] == "a court ordered it"
    assert entry.metadata["holds"] == [
        "the notice of d-1 is not sent yet, it is due by 2026-12-01",
        "the records of d-1 are kept until 2029-11-25 (PIPL articles 55 and 56)",
    ]
    assert verify(log.database.reading, log.secrets, tmp_path / "checkpoints.jsonl").count == 0


def test_what_has_expired_is_erased_without_what_is_held(log: AuditLog) -> None:
    old = years_before(NOW, 4)
    cut, told_cut = decision("d-1", "reduce", "a", old), decision("d-2", "reduce", "b", old)
    sent = dataclasses.replace(told("n-2", told_cut, "2022-11-27T00:00:00Z"), at=old)
    append(log, [cut, told_cut, sent, decision("d-3", "keep", "c", old)])
    held = find_held(log.database, log.secrets, 3, ORDER)
    assert [[str(hold.entry_id) for hold in holds] for holds in held.values()] == [["d-1"]]
    assert len(list(erase_expired(log.database, log.secrets, 3, ORDER))) == 2
    assert erased_rows(log) == {"d-2", "d-3"}
    assert len(list(erase_expired(log.database, log.secrets, 3, OVER))) == 1
    assert erased_rows(log) == {"d-1", "d-2", "d-3"}
    last = list(log.reader.of_kind(("erasure",)))[-1]
    assert last.metadata["hold_over"] == "a court ordered it"


def test_a_shorter_retention_period_does_not_reach_a_legal_hold(log: AuditLog) -> None:
    """`--years 2 --force`: three years of PIPL have not passed."""
    cut = decision("d-1", "reduce", "a", years_before(NOW, 2) - datetime.timedelta(days=40))
    sent = dataclasses.replace(told("n-1", cut, "2024-10-17T00:00:00Z"), at=cut.at)
    append(log, [cut, sent])
    assert list(erase_expired(log.database, log.secrets, 2, ORDER)) == []
    without_pipl = dataclasses.replace(ORDER, laws=(REGULATION_B,))
    # 25 months after 17 October 2024 is 17 November 2026.
    assert len(list(erase_expired(log.database, log.secrets, 2, without_pipl))) == 1


@given(st.dates(datetime.date(2020, 1, 1), datetime.date(2040, 12, 31)), st.sampled_from(LAWS))
def test_a_law_holds_for_its_months(begin: datetime.date, law: Any) -> None:
    until = add_months(begin, law.months)
    months = (until.year - begin.year) * 12 + until.month - begin.month
    assert months == law.months
    assert until.day <= begin.day


def test_the_laws_are_read_by_name() -> None:
    assert parse_laws("") == parse_laws(None) == LAWS
    assert parse_laws("pipl") == (PIPL,)
    assert parse_laws(" regulation_b , pipl") == LAWS
    assert parse_laws("none") == ()
    for wrong in each(("PIPL", "pipl,", "none,pipl", "gdpr")):
        with pytest.raises(StorageError, match="CLEARLINE_LEGAL_HOLDS: expected 'none', or names"):
            parse_laws(wrong)


def test_a_hold_says_what_and_until_when() -> None:
    day = datetime.date(2026, 12, 1)
    assert str(Hold("open_review", "r-1", day)) == (
        "the review r-1 has no answer yet, it is due by 2026-12-01"
    )
    assert str(Hold("legal_hold", "d-1", day, "12 CFR 1002.12(b)(2)")) == (
        "the records of d-1 are kept until 2026-12-01 (12 CFR 1002.12(b)(2))"
    )
