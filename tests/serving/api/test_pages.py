"""A page of a list is short only if it is the last, whatever is stored while it is read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.audit_log.reader import Reader
from serving.decision.bundle import Bundle
from serving.reviews import queries
from serving.reviews.queries import ReviewQueries
from serving.storage.bundles.held import HeldBundles
from tests.support.each import each
from tests.support.every_route import ASKER, EveryRoute
from tests.support.records import NOW

ORDER = ErasureOrder("operator", "asked for", NOW, hold_over="listed notices")
ACCOUNTS = 5
PAGE = 3


@pytest.fixture
def reads(
    record: AuditLog, golden: Bundle, monkeypatch: pytest.MonkeyPatch
) -> tuple[ReviewQueries, list[str]]:
    """The queries, with pages of three, over five cut decisions with a review each; their ids.

    The first account is erased after the first page was read, and before the rows about it are.
    """
    routes = EveryRoute(record, golden)
    decisions = [str(routes.decide(f"acct-{k}")["decision_id"]) for k in range(ACCOUNTS)]
    for decision_id in decisions:
        routes.open_review(decision_id)
    monkeypatch.setattr(queries, "PAGE_SIZE", PAGE)
    about_all = Reader.about_all

    def erase_first(reader: Reader, decision_ids: Any) -> Any:
        erase_account(record.database, record.secrets, "lender", "acct-0", ORDER)
        return about_all(reader, decision_ids)

    monkeypatch.setattr(Reader, "about_all", erase_first)
    return ReviewQueries(HeldBundles(golden), record), decisions


def test_a_page_of_notices_is_filled_up(reads: tuple[ReviewQueries, list[str]]) -> None:
    read, decisions = reads
    first = asyncio.run(read.notices(None, ASKER, None))
    assert [row.entry_id for row, _ in each(first)] == decisions[1 : PAGE + 1]
    second = asyncio.run(read.notices(None, ASKER, first[-1][0].entry_id))
    assert [row.entry_id for row, _ in each(second)] == decisions[PAGE + 1 :]


def test_a_page_of_reviews_is_filled_up(reads: tuple[ReviewQueries, list[str]]) -> None:
    read, decisions = reads
    first = asyncio.run(read.reviews(None, ASKER, None))
    assert [review.decision_id for review, _ in each(first)] == decisions[1 : PAGE + 1]
    second = asyncio.run(read.reviews(None, ASKER, first[-1][0].review_id))
    assert [review.decision_id for review, _ in each(second)] == decisions[PAGE + 1 :]
