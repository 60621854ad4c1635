"""The months of a simulated year, and what holds at the end of each, however it was decided."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from serving.audit_log.log import AuditLog
from tests.support.book_checks import (
    CHANGES,
    check_changes,
    check_notices,
    check_record,
    expected_due,
    list_due,
)
from tests.support.each import each
from tests.support.monthly_run import Answer, Book

LOGGER = logging.getLogger("clearline.tests.year")
MONTHS = 12


@dataclass(frozen=True)
class Month:
    """The answers of a month by account, those due before and after it, and the limits before it.

    Limits are in CNY.
    """

    answers: dict[str, Answer]
    was_due: list[str]
    still_due: list[str]
    limits_before: dict[str, float]


def live_year(book: Book, audit_log: AuditLog) -> Iterator[Month]:
    """Live the months under the answers, each checked against the book; every action occurs."""
    actions: Counter[str] = Counter()
    for _ in range(MONTHS):
        book.live_month()
        month = _decide(book, audit_log)
        of_month = Counter(answer["action"] for answer in month.answers.values())
        yield month
        actions += of_month
        _tell(book, month, of_month)
    for action in each(("keep", *CHANGES)):
        assert actions[action] > 0, actions


def _decide(book: Book, audit_log: AuditLog) -> Month:
    limits, was_due = book.limits, list_due(audit_log, book.today)
    assert sorted(was_due) == expected_due(book), f"due in {book.as_of}"
    answers = book.decide()
    check_changes(book, answers, limits)
    check_notices(audit_log, book, answers)
    check_record(audit_log, book)
    still_due = list_due(audit_log, book.today)
    assert sorted(still_due) == expected_due(book), f"still due in {book.as_of}"
    # Whoever was due and has a statement was decided on; a person has the referred ones.
    for name in set(still_due) & answers.keys():
        assert answers[name]["action"] == "review", name
    return Month(answers, was_due, still_due, limits)


def _tell(book: Book, month: Month, actions: Counter[str]) -> None:
    """Log what agreed: a long year shows how far it has come."""
    notices = sum(answer["notice"] is not None for answer in month.answers.values())
    due = f"{len(month.was_due):,} due, {len(month.still_due):,} still due"
    total = sum(book.limits.values())
    counts = ", ".join(f"{count:,} {action}" for action, count in sorted(actions.items()))
    told = f"{len(month.answers):,} accounts agree: {counts}; {notices:,} notices; {due}"
    LOGGER.info("%s: %s; limits of %.2f", book.as_of, told, total)
