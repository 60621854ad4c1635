"""A year of monthly decisions on a simulated book, each with the prior from a real record.

The simulator lives the months under the limits that the service set.  Every month the book, the
record and the export have to say the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.operations.export import ExportedDecision, export
from serving.storage.timestamps import encode_time
from tests.support.monthly_run import Answer, Book
from tests.support.records import settings_in
from tests.support.simulated_year import live_year
from tests.support.submissions import LENDER
from training.examine.truth.population import ExamineConfig, draw_population, simulation_of


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
    # A busy machine takes its time for a batch.
    audit_log = AuditLog(replace(settings_in(tmp_path), deadline=60.0))
    yield Book(population, bundle, audit_log), audit_log
    audit_log.close()


def test_book_record_and_export_agree_through_a_year(
    book: tuple[Book, AuditLog],
) -> None:
    own, audit_log = book
    for month in live_year(own, audit_log):
        check_export(audit_log, own, month.answers)


def check_export(audit_log: AuditLog, own: Book, answers: dict[str, Answer]) -> None:
    """The export of the month has one line an account, with the limit that the book has."""
    since = encode_time(own.decided_at)
    lines = list(export(audit_log.reader, since, None, LENDER.tenant, with_request=True))
    assert len(lines) == len(answers)
    limits = {_account(line): line.new_limit for line in lines}
    in_force = own.limits
    assert limits == {name: in_force[name] for name in answers}
    assert Counter(line.action for line in lines) == Counter(
        answer["action"] for answer in answers.values()
    )


def _account(line: ExportedDecision) -> str:
    assert line.asked is not None
    return line.asked.account_id
