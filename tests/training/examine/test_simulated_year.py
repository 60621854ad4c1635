"""A year of monthly decisions on a simulated book, each with the prior from a real record.

The simulator lives the months under the limits that the service set.  Every month the book, the
record and the export have to say the same.
"""

from __future__ import annotations

import datetime
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.audit_log.entry import Entry
from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.operations.export import ExportedDecision, export
from serving.storage.timestamps import encode_time
from tests.support.each import each
from tests.support.monthly_run import Answer, Book
from tests.support.records import settings_in
from tests.support.submissions import LENDER
from training.examine.truth.population import ExamineConfig, draw_population, simulation_of

MONTHS = 12
CHANGES = ("reduce", "suspend", "restore")
ACCOUNTS_A_QUERY = 1000
DUE_A_PAGE = 50  # several pages, also of a small book


@pytest.fixture(
    params=[
        pytest.param(300, id="300", marks=pytest.mark.slow),
        pytest.param(20_000, id="20000", marks=pytest.mark.torture),
    ]
)
def book(
    request: pytest.FixtureRequest, simulated: Path, bundle: Bundle, tmp_path: Path
) -> Iterator[tuple[Book, AuditLog]]:
    config = ExamineConfig(accounts=request.param, seed=23)
    population = draw_population(simulation_of(simulated), config)
    audit_log = AuditLog(settings_in(tmp_path))
    yield Book(population, bundle, audit_log), audit_log
    audit_log.close()


def test_book_record_and_export_agree_through_a_year(
    book: tuple[Book, AuditLog],
) -> None:
    own, audit_log = book
    actions: Counter[str] = Counter()
    for _ in range(MONTHS):
        own.live_month()
        before, due = own.limits, expected_due(own)
        assert sorted(list_due(audit_log, own.today)) == due, f"due in {own.as_of}"
        answers = own.decide()
        check_changes(own, answers, before)
        check_notices(audit_log, own, answers)
        check_record(audit_log, own)
        check_export(audit_log, own, answers)
        # Whoever was due and has a statement was decided on, and is due no more.
        left = set(list_due(audit_log, own.today))
        assert left == set(due) - answers.keys()
        actions += Counter(answer["action"] for answer in answers.values())
    for action in each(("keep", *CHANGES)):
        assert actions[action] > 0, actions


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
    this_month = {one: due for one, due in listed.items() if one in carried}
    assert this_month == carried
    for answer in each(answers.values()):
        has_changed = answer["action"] in CHANGES or answer["action"] == "review"
        assert not has_changed or answer["notice"] is not None, answer["account_id"]


def check_record(audit_log: AuditLog, own: Book) -> None:
    """The record remembers of each account what the answers left."""
    for start in range(0, len(own.names), ACCOUNTS_A_QUERY):
        names = own.names[start : start + ACCOUNTS_A_QUERY]
        found = audit_log.reader.priors(LENDER.tenant, names)
        expected = {name: own.remembered[name] for name in names if name in own.remembered}
        assert found == expected
        for name, prior in found.items():
            if prior.cuts:
                assert prior.limit_in_force == own.limits[name], name


def check_export(audit_log: AuditLog, own: Book, answers: dict[str, Answer]) -> None:
    """The export of the month has one line an account, with the limit that the book has."""
    since = encode_time(own.decided_at)
    lines = list(export(audit_log.reader, since, None, LENDER.tenant, with_request=True))
    assert len(lines) == len(answers)
    limits = {_account(line): line.new_limit for line in lines}
    assert limits == {name: own.limits[name] for name in answers}
    assert Counter(line.action for line in lines) == Counter(
        answer["action"] for answer in answers.values()
    )


def _account(line: ExportedDecision) -> str:
    assert line.asked is not None
    return line.asked.account_id
