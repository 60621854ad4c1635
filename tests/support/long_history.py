"""Long audit logs, written fast: encrypted, chained and listed as the service does, many rows in a
transaction, without a decision for each.

The content of a row is copied from a real answer of its kind. What differs is what the queries
look at: ids, accounts, unique keys, times, due days.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.rows import insert_entries
from serving.decision.bundle import Bundle
from tests.support.every_route import EveryRoute
from tests.support.records import settings_in

ROWS_OF_BLOCK = 12
_BLOCKS_PER_TRANSACTION = 400
_ACCOUNTS = 100_000
_BEGIN = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)

Templates = Mapping[str, NewEntry]


def write_history(audit_log: AuditLog, golden: Bundle, rows: int) -> None:
    """Append so many rows: nothing in them is left to do.

    Of twelve rows, six are decisions that keep the limit, one is a decision that cuts it, three are
    its review and the steps to its answer, two are notifications. Each list but that of resolved
    reviews has to pass all of them by. ``rows`` is rounded down to whole blocks.
    """
    templates = _make_templates(golden)
    blocks = (_block(templates, number) for number in range(rows // ROWS_OF_BLOCK))
    while some := list(itertools.islice(blocks, _BLOCKS_PER_TRANSACTION)):
        with audit_log.database.writing() as connection:
            insert_entries(connection, list(itertools.chain(*some)), audit_log.secrets)


def _make_templates(golden: Bundle) -> Templates:
    """An entry of each kind, as the service wrote it into a log of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(AuditLog(settings_in(Path(folder)))) as scratch,
    ):
        routes = EveryRoute(scratch, golden)
        decision_id = str(routes.decide("template")["decision_id"])
        review_id = routes.open_review(decision_id)
        routes.resolve(review_id)
        routes.notify(decision_id)
        routes.notify(decision_id, review_id)
        kept = routes.decide_kept("kept")
        return {
            **{entry.kind: _as_new(entry) for entry in scratch.reader.about(decision_id)},
            "kept": _as_new(scratch.reader.about(str(kept["decision_id"]))[0]),
        }


def _as_new(entry: Entry) -> NewEntry:
    return NewEntry(
        entry_id=entry.entry_id,
        kind=entry.kind,
        subject=entry.subject,
        tenant=entry.tenant,
        caller=entry.caller,
        at=entry.at,
        account=None,
        metadata=entry.metadata,
        request_body=entry.request_body,
        response_body=entry.response_body,
        digest=entry.digest,
        due=entry.due,
    )


def _block(templates: Templates, number: int) -> Iterator[NewEntry]:
    at = _BEGIN + datetime.timedelta(seconds=number)
    account = f"history-{number % _ACCOUNTS}"
    due = at.date() + datetime.timedelta(days=30)
    for place in range(6):
        decision_id = f"history-{number}-kept-{place}"
        yield replace(
            templates["kept"],
            entry_id=decision_id,
            subject=decision_id,
            at=at,
            account=account,
            unique_key=f"{decision_id}-key:0",
        )
    cut, review, answer = (f"history-{number}-{name}" for name in ("cut", "review", "answer"))
    names = {"review": review}
    outcome = {**templates["resolution"].metadata, **names}
    told = templates["notification"]
    about = [
        replace(templates["decision"], entry_id=cut, due=due),
        replace(templates["review"], entry_id=review),
        replace(templates["started"], entry_id=f"{review}-started", metadata=names),
        replace(templates["resolution"], entry_id=answer, due=due, metadata=outcome),
        replace(told, entry_id=f"{cut}-told", unique_key=f"told:{cut}"),
        replace(
            told,
            entry_id=f"{answer}-told",
            unique_key=f"told:{answer}",
            metadata={**told.metadata, "review_id": review},
        ),
    ]
    for entry in about:
        yield replace(entry, subject=cut, at=at, account=account)
