"""A year of monthly runs over a simulated book that lives under the limits they set.

At every month's end the book, the files of decisions, the manifest, the audit log, its notices and
its due accounts say the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from features.months import add_months
from serving.audit_log.log import AuditLog
from serving.audit_log.verify import verify
from serving.decision.bundle import Bundle
from serving.operations.export import export
from serving.portfolio.recorded.proof import check_run
from serving.storage.settings import StorageSettings
from serving.storage.timestamps import encode_time
from tests.support.book_checks import (
    CHANGES,
    check_changes,
    check_notices,
    check_record,
    expected_due,
    list_due,
)
from tests.support.each import each
from tests.support.monthly_portfolio import PortfolioBook
from tests.support.monthly_run import Answer, Book
from tests.support.records import settings_in
from tests.support.submissions import LENDER
from training.examine.truth.population import (
    ExamineConfig,
    Population,
    draw_population,
    simulation_of,
)

MONTHS = 12
SIZES = [
    pytest.param(300, id="300", marks=pytest.mark.slow),
    pytest.param(1500, id="1500", marks=pytest.mark.torture),
    pytest.param(20_000, id="20000", marks=pytest.mark.torture),
]


@pytest.fixture
def population(request: pytest.FixtureRequest, simulated: Path) -> Population:
    simulation = simulation_of(simulated)
    # Decisions that are put in force are of a time that has come, so the year is over.
    earlier = add_months(simulation.first_month, -MONTHS)
    config = ExamineConfig(accounts=request.param, seed=23)
    return draw_population(replace(simulation, first_month=earlier), config)


@pytest.fixture
def settings(at_hand: StorageSettings) -> StorageSettings:
    # A busy machine takes its time for a batch.
    return replace(at_hand, deadline=60.0)


@pytest.fixture
def audit_log(settings: StorageSettings) -> Iterator[AuditLog]:
    with closing(AuditLog(settings)) as opened:
        yield opened


@pytest.fixture
def book(
    population: Population, bundle: Bundle, bundle_folder: Path, audit_log: AuditLog, tmp_path: Path
) -> PortfolioBook:
    return PortfolioBook(population, bundle, audit_log, (bundle_folder, tmp_path / "months"))


@pytest.mark.parametrize("population", SIZES, indirect=True)
def test_book_decisions_record_and_notices_agree_through_a_year(
    book: PortfolioBook, audit_log: AuditLog, settings: StorageSettings
) -> None:
    actions: Counter[str] = Counter()
    for _ in range(MONTHS):
        book.live_month()
        before, due = book.limits, expected_due(book)
        assert sorted(list_due(audit_log, book.today)) == due, f"due in {book.as_of}"
        answers = book.decide()
        check_changes(book, answers, before)
        check_notices(audit_log, book, answers)
        check_record(audit_log, book)
        check_files(book, answers, before)
        check_entries(audit_log, book, answers)
        check_still_due(audit_log, book, answers)
        assert list(check_run(book.decisions, settings)) == []
        actions += Counter(answer["action"] for answer in answers.values())
    for action in each(("keep", *CHANGES)):
        assert actions[action] > 0, actions
    assert verify(audit_log.database.reading, audit_log.secrets, settings.checkpoints).count == 0
    check_that_faults_are_found(audit_log, book, answers, before)


@pytest.mark.torture
@pytest.mark.parametrize("population", [pytest.param(1500, id="1500")], indirect=True)
def test_the_year_of_the_portfolio_is_that_of_the_endpoint(
    book: PortfolioBook, population: Population, bundle: Bundle, tmp_path: Path
) -> None:
    """The same book, asked in batches of the endpoint from a record of its own."""
    served = replace(settings_in(tmp_path / "served"), deadline=60.0)
    with closing(AuditLog(served)) as other:
        online = Book(population, bundle, other)
        for _ in range(MONTHS):
            for one in (book, online):
                one.live_month()
                one.decide()
            assert book.limits == online.limits, book.as_of
            assert book.remembered.keys() == online.remembered.keys(), book.as_of


def check_files(book: PortfolioBook, answers: dict[str, Answer], before: dict[str, float]) -> None:
    """The rows, the sums of the manifest and the printed report are those of the book."""
    limits = dict(book.table.select("account_id", "new_limit").iter_rows())
    assert limits == {name: book.limits[name] for name in answers}
    assert set(limits) == {book.names[row] for row in book.is_open.nonzero()[0].tolist()}
    totals = book.manifest["totals"]
    for name, by_account in each([("limit_before", before), ("limit_after", book.limits)]):
        expected = math.fsum(by_account[account] for account in answers)
        assert math.fsum(one[name] for one in totals) == pytest.approx(expected, abs=0.005)
    counts = Counter(answer["action"] for answer in answers.values())
    told: Counter[str] = Counter()
    for one in totals:
        told[one["action"]] += one["accounts"]
    assert told == counts
    assert (book.manifest["accounts"], book.manifest["overtaken"]) == (len(answers), 0)
    assert f"recorded   {book.manifest['recorded']:,} decisions" in book.report


def check_entries(audit_log: AuditLog, book: PortfolioBook, answers: dict[str, Answer]) -> None:
    """The audit log has the decisions of this run that are not plain keeps, and no others."""
    since = encode_time(book.decided_at)
    stored = {one.decision_id: one for one in export(audit_log.reader, since, None, LENDER.tenant)}
    expected = {
        answer["decision_id"]: answer
        for answer in answers.values()
        if answer["decision_id"] is not None
    }
    assert stored.keys() == expected.keys()
    assert len(stored) == book.manifest["recorded"]
    for name, line in each(stored.items()):
        answer = expected[name]
        assert (line.action, line.new_limit) == (answer["action"], answer["new_limit"])
    plain = book.table.filter(pl.col("decision_id").is_null())
    assert set(plain["action"]) <= {"keep"}


def check_still_due(audit_log: AuditLog, book: PortfolioBook, answers: dict[str, Answer]) -> None:
    """Whoever was due and has a statement was decided on; the report counts the others."""
    left = list_due(audit_log, book.today)
    assert sorted(left) == expected_due(book), f"still due in {book.as_of}"
    for name in set(left) & answers.keys():
        assert answers[name]["action"] == "review", name
    assert book.manifest["still_due"] == len(left)
    assert ("still due" in book.report) == bool(left)


def check_that_faults_are_found(
    audit_log: AuditLog, book: PortfolioBook, answers: dict[str, Answer], before: dict[str, float]
) -> None:
    """The control: one limit of the book that differs, and one notice that is not listed."""
    check_files(book, answers, before)
    with_notice = [answer for answer in answers.values() if answer["notice"] is not None]
    told = with_notice[0]
    without = answers | {told["account_id"]: told | {"notice": None}}
    with pytest.raises(AssertionError):
        check_notices(audit_log, book, without)
    row = book.names.index(told["account_id"])
    book.in_force.limit[row] += 1.0
    with pytest.raises(AssertionError):
        check_files(book, answers, before)
    with pytest.raises(AssertionError):
        check_changes(book, answers, before)
