"""The list of the decisions on an account, over its route."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from starlette.datastructures import QueryParams

from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.auth.caller import Caller
from serving.decision.bundle import Bundle
from serving.web.errors import ApiError
from serving.web.params import read_page
from tests.support.each import each
from tests.support.entries import decision_entry, example_request
from tests.support.every_route import ASKER, EveryRoute
from tests.support.records import NOW, append

Json = dict[str, Any]
PAGE_SIZE = 100
ERASURE = ErasureOrder("Li Na", "asked for", NOW, hold_over="its notice is of a test")
NOT_OF_PAGE = "last one of the page before"


def of(account: str) -> str:
    return f"/v1/decisions?account_id={account}"


@pytest.fixture(params=["record", "postgres"])
def audit_log(request: pytest.FixtureRequest) -> AuditLog:
    """An empty audit log in each kind of database."""
    opened: AuditLog = request.getfixturevalue(request.param)
    return opened


def test_the_decisions_on_an_account_are_listed_newest_first(
    audit_log: AuditLog, golden: Bundle
) -> None:
    routes = EveryRoute(audit_log, golden)
    answers = [routes.decide("acct-1"), routes.decide_kept("acct-1")]
    other = routes.decide("acct-2")
    routes.open_review(answers[0]["decision_id"])
    listed = routes.call("GET", of("acct-1"))["decisions"]
    for answer, one in each(zip(reversed(answers), listed, strict=True)):
        notice = answer["notice"]
        expected = {name: answer[name] for name in one.keys() - {"product", "send_by"}}
        expected |= {"product": "pay_later", "send_by": notice and notice["send_by"]}
        assert one == expected
    [only] = routes.call("GET", of("acct-2"))["decisions"]
    assert only["decision_id"] == other["decision_id"]
    assert routes.call("GET", of("acct")) == {"decisions": []}
    # A name is compared whole: case matters, and nothing in it stands for anything else.
    assert routes.call("GET", of("ACCT-1")) == {"decisions": []}


def test_tenants_and_erased_accounts_are_apart(audit_log: AuditLog, golden: Bundle) -> None:
    routes = EveryRoute(audit_log, golden)
    cut, other = routes.decide("acct-1"), routes.decide("acct-2")
    routes.caller = Caller("key-2", "another lender", ASKER.scopes)
    assert routes.call("GET", of("acct-1")) == {"decisions": []}
    with pytest.raises(AssertionError, match=NOT_OF_PAGE):
        routes.call("GET", f"{of('acct-1')}&after={cut['decision_id']}")
    own = routes.decide("acct-1")
    [listed] = routes.call("GET", of("acct-1"))["decisions"]
    assert listed["decision_id"] == own["decision_id"]
    routes.caller = ASKER
    [listed] = routes.call("GET", of("acct-1"))["decisions"]
    assert listed["decision_id"] == cut["decision_id"]
    # A place in another account's list is no place in this one.
    with pytest.raises(AssertionError, match=NOT_OF_PAGE):
        routes.call("GET", f"{of('acct-1')}&after={other['decision_id']}")
    database, secrets = audit_log.database, audit_log.secrets
    assert erase_account(database, secrets, "lender", "acct-1", ERASURE) is not None
    assert routes.call("GET", of("acct-1")) == {"decisions": []}


def test_pages_together_are_the_whole_list(record: AuditLog, golden: Bundle) -> None:
    entry = decision_entry(example_request("acct-1"), golden)
    ids = [f"{number:08d}-0000-8000-8000-000000000000" for number in range(2 * PAGE_SIZE + 1)]
    rows = [replace(entry, entry_id=one, subject=one) for one in ids]
    append(record, rows)
    routes = EveryRoute(record, golden)
    lengths: list[int] = []
    found: list[str] = []
    after = ""
    while not lengths or lengths[-1]:
        page = record.reader.decisions_on("lender", "acct-1", PAGE_SIZE, after or None)
        assert page is not None
        lengths.append(len(page))
        found += [row.entry_id for row in page]
        after = found[-1]
    assert lengths == [PAGE_SIZE, PAGE_SIZE, 1, 0]
    assert found == ids[::-1]
    assert all(newer > older for newer, older in pairwise(found))
    assert len(routes.call("GET", of("acct-1"))["decisions"]) == PAGE_SIZE


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("", "?account_id"),
        ("account_id=", "?account_id"),
        ("account_id=a%2F1", "?account_id"),
        ("account_id=" + "a" * 65, "?account_id"),
        ("account_id=a&account_id=b", "?account_id"),
        ("account_id=a&status=open", "?status"),
        ("account=a", "?account"),
    ],
)
def test_a_wrong_query_is_refused_with_its_path(query: str, path: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_page(QueryParams(query), [], of_account=True)
    assert [fault.path for fault in refused.value.problem.errors] == [path]
    assert "a/1" not in refused.value.problem.model_dump_json()
