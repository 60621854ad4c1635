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
from tests.support.book_checks import check_changes, check_notices
from tests.support.each import each
from tests.support.monthly_portfolio import PortfolioBook
from tests.support.monthly_run import Answer, Book
from tests.support.records import settings_in
from tests.support.simulated_year import MONTHS, Month, live_year
from tests.support.submissions import LENDER
from tests.support.told_events import App
from training.examine.truth.population import (
    ExamineConfig,
    Population,
    draw_population,
    simulation_of,
)

MONTHS_A_QUARTER = 3  # in the first month of each, the app is down
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
def test_book_decisions_record_notices_and_events_agree_through_a_year(
    book: PortfolioBook, audit_log: AuditLog, settings: StorageSettings
) -> None:
    app = App(settings)
    for number, month in enumerate(live_year(book, audit_log)):
        check_files(book, month)
        check_entries(audit_log, book, month.answers)
        check_report(book, month)
        assert list(check_run(book.decisions, settings)) == []
        assert app.expect(audit_log, book, month.answers) > 0, book.as_of
        if number % MONTHS_A_QUARTER == 0:
            app.fail_to_deliver()
        else:
            app.deliver()
            app.check(app.received)
    assert verify(audit_log.database.reading, audit_log.secrets, settings.checkpoints).count == 0
    check_that_faults_are_found(audit_log, book, month)
    check_that_faults_of_events_are_found(app)


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


def check_files(book: PortfolioBook, month: Month) -> None:
    """The rows and the sums of the manifest are those of the book."""
    answers = month.answers
    limits = dict(book.table.select("account_id", "new_limit").iter_rows())
    in_force = book.limits
    assert limits == {name: in_force[name] for name in answers}
    assert set(limits) == {book.names[row] for row in book.is_open.nonzero()[0].tolist()}
    totals = book.manifest["totals"]
    for name, by_account in each(
        [("limit_before", month.limits_before), ("limit_after", in_force)]
    ):
        expected = math.fsum(by_account[account] for account in answers)
        assert math.fsum(one[name] for one in totals) == pytest.approx(expected, abs=0.005)
    counts = Counter(answer["action"] for answer in answers.values())
    told: Counter[str] = Counter()
    for one in totals:
        told[one["action"]] += one["accounts"]
    assert told == counts
    assert (book.manifest["accounts"], book.manifest["overtaken"]) == (len(answers), 0)


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


def check_report(book: PortfolioBook, month: Month) -> None:
    """The command printed what it stored, and whom it left due."""
    assert f"recorded   {book.manifest['recorded']:,} decisions" in book.report
    assert book.manifest["still_due"] == len(month.still_due)
    assert ("still due" in book.report) == bool(month.still_due)


def check_that_faults_are_found(audit_log: AuditLog, book: PortfolioBook, month: Month) -> None:
    """The control: one limit of the book that differs, and one notice that is not listed."""
    answers = month.answers
    check_files(book, month)
    told = next(answer for answer in answers.values() if answer["notice"] is not None)
    without = answers | {told["account_id"]: told | {"notice": None}}
    with pytest.raises(AssertionError):
        check_notices(audit_log, book, without)
    row = book.names.index(told["account_id"])
    book.in_force.limit[row] += 1.0
    with pytest.raises(AssertionError):
        check_files(book, month)
    with pytest.raises(AssertionError):
        check_changes(book, answers, month.limits_before)


def check_that_faults_of_events_are_found(app: App) -> None:
    """The control: an event lost, one with the id of another, two exchanged, and a plain keep's."""
    received = app.received
    app.check(received)
    last = received[-1]
    decision_id = last.content["data"]["decision_id"]
    of_decision = [decision_id in one.body for one in received]
    first = received[of_decision.index(True)]
    exchanged = {first: last, last: first}
    kept = replace(first, event_id="kept", body=first.body.replace(decision_id, "kept"))
    other = replace(last, body=last.body.replace(decision_id, "another"))
    for faulty in each(
        [
            received[:-1],
            [*received, other],
            [exchanged.get(one, one) for one in received],
            [*received, kept],
        ]
    ):
        with pytest.raises(AssertionError):
            app.check(faulty)
