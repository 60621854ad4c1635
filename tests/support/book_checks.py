"""Whether a book and the record that decided on it say the same at the end of a month."""

from __future__ import annotations

import datetime
import json
import math

import pytest

from serving.audit_log.entry import Entry
from serving.audit_log.log import AuditLog
from tests.support.each import each
from tests.support.monthly_run import Answer, Book
from tests.support.submissions import LENDER

CHANGES = ("reduce", "suspend", "restore")
ACCOUNTS_A_QUERY = 1000
DUE_A_PAGE = 50  # several pages, also of a small book


def list_due(audit_log: AuditLog, today: datetime.date) -> list[str]:
    """The accounts that the record lists as due, page by page; each once."""
    names: list[str] = []
    after = None
    while page := audit_log.reader.due_accounts(LENDER.tenant, today, DUE_A_PAGE, after):
        names += [name_in(entry) for _, entry in page]
        after = page[-1][0]
    assert len(names) == len(set(names)), "listed twice"
    return names


def name_in(entry: Entry) -> str:
    """The account of a decision."""
    assert entry.request_body is not None
    return str(json.loads(entry.request_body)["account_id"])


def expected_due(own: Book) -> list[str]:
    """The accounts whose next look has come, by what the answers said."""
    return sorted(
        name
        for name, prior in own.remembered.items()
        if prior.review_on is not None and prior.review_on <= own.today
    )


def check_changes(own: Book, answers: dict[str, Answer], before: dict[str, float]) -> None:
    """The limits of before, the cuts and the steps back add up to the limits of after."""
    cut: list[float] = []
    back: list[float] = []
    for name, answer in answers.items():
        change = answer["new_limit"] - answer["credit_limit"]
        assert answer["credit_limit"] == before[name], (name, answer["action"])
        assert change == 0 or answer["action"] in CHANGES, (name, answer["action"])
        assert change <= 0 or answer["action"] == "restore", name
        (back if change > 0 else cut).append(change)
        prior = answer["prior"]
        if answer["action"] == "restore":
            assert answer["new_limit"] <= prior["limit_before"], name
    total = math.fsum([*before.values(), *cut, *back])
    assert total == pytest.approx(math.fsum(own.limits.values()), abs=0.005)


def check_notices(audit_log: AuditLog, own: Book, answers: dict[str, Answer]) -> None:
    """The notices to be sent of this month's answers are those that the answers carry."""
    carried = {
        answer["decision_id"]: answer["notice"]["send_by"]
        for answer in answers.values()
        if answer["notice"] is not None
    }
    listed = {}
    after = ("", 0)
    while True:
        page = audit_log.reader.due_notices(
            LENDER.tenant, datetime.date(2000, 1, 1), datetime.date(2100, 1, 1), 500, after
        )
        for entry in page:
            assert entry.entry_id not in listed, "listed twice"
            assert entry.due is not None
            listed[entry.entry_id] = entry.due.isoformat()
            after = (entry.due.isoformat(), entry.seq)
        if not page:
            break
    sent = {answer["decision_id"] for answer in answers.values()}
    this_month = {one: due for one, due in listed.items() if one in sent}
    assert this_month == carried
    for answer in each(answers.values()):
        has_changed = answer["action"] in CHANGES or answer["action"] == "review"
        assert not has_changed or answer["notice"] is not None, answer["account_id"]


def check_record(audit_log: AuditLog, own: Book) -> None:
    """The record remembers of each account what the answers left."""
    limits = own.limits
    for start in range(0, len(own.names), ACCOUNTS_A_QUERY):
        names = own.names[start : start + ACCOUNTS_A_QUERY]
        priors = audit_log.reader.priors(LENDER.tenant, names)
        # A limit that came back wholly is remembered until a statement shows it.
        found = {name: prior for name, prior in priors.items() if prior.cuts or prior.referred_on}
        expected = {
            name: prior
            for name in names
            if (prior := own.remembered.get(name)) and (prior.cuts or prior.referred_on)
        }
        assert found == expected
        for name, prior in found.items():
            if prior.cuts:
                assert prior.limit_in_force == limits[name], name
