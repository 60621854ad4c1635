"""The list of accounts to decide on again, over its route and by its command."""

from __future__ import annotations

import datetime
import json
from http import HTTPStatus
from typing import Any

import pytest
from starlette.datastructures import QueryParams

from serving.__main__ import main
from serving.audit_log.log import AuditLog
from serving.auth.caller import Caller
from serving.decision.bundle import Bundle
from serving.storage.settings import StorageSettings
from serving.web.errors import ApiError
from serving.web.params import read_page
from tests.support.each import each
from tests.support.every_route import ASKER, EveryRoute

Json = dict[str, Any]
LATER = "/v1/due?until=2999-12-31"


def test_an_account_is_listed_with_what_is_in_force(record: AuditLog, golden: Bundle) -> None:
    routes = EveryRoute(record, golden)
    cut = routes.decide("acct-1")
    routes.decide_kept("acct-2")
    [due] = routes.call("GET", LATER)["accounts"]
    assert due == {
        "due_id": cut["decision_id"],
        "account_id": "acct-1",
        "decision_id": cut["decision_id"],
        "review_on": cut["review_on"],
        "limit_before": cut["credit_limit"],
        "limit_in_force": cut["new_limit"],
        "suspended": cut["suspended"],
        "under_review": False,
    }
    assert routes.call("GET", f"{LATER}&after={due['due_id']}") == {"accounts": []}
    day = datetime.date.fromisoformat(cut["review_on"])
    before = day - datetime.timedelta(days=1)
    assert routes.call("GET", f"/v1/due?until={before}") == {"accounts": []}
    assert routes.call("GET", f"/v1/due?until={day}")["accounts"] == [due]
    # Today is before the day.
    assert routes.call("GET", "/v1/due") == {"accounts": []}


def test_an_overturned_cut_is_not_listed_and_an_amended_one_is(
    record: AuditLog, golden: Bundle
) -> None:
    routes = EveryRoute(record, golden)
    overturned, amended = routes.decide("acct-1"), routes.decide("acct-2")
    routes.resolve(routes.open_review(overturned["decision_id"]))
    review = routes.open_review(amended["decision_id"])
    routes.start(review)
    limit = amended["new_limit"] + 100
    body = {"reviewer": "Li Na", "outcome": "amend", "reasons": "So.", "new_limit": limit}
    with routes.as_reviewer():
        routes.call("POST", "/v1/reviews/{id}/resolution", review, body)
    [due] = routes.call("GET", LATER)["accounts"]
    assert (due["account_id"], due["limit_in_force"]) == ("acct-2", limit)
    assert due["decision_id"] == amended["decision_id"] != due["due_id"]


def test_another_tenant_sees_nothing_of_it(record: AuditLog, golden: Bundle) -> None:
    routes = EveryRoute(record, golden)
    cut = routes.decide("acct-1")
    routes.caller = Caller("other", "another lender", ASKER.scopes)
    assert routes.call("GET", LATER) == {"accounts": []}
    with pytest.raises(AssertionError, match="last one of the page before"):
        routes.call("GET", f"/v1/due?after={cut['decision_id']}")


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("until=soon", "?until"),
        ("until=2026-02-30", "?until"),
        ("until=20260228", "?until"),
        ("until=2026-01-01&until=2026-01-01", "?until"),
        ("status=due", "?status"),
        ("x=1", "?x"),
    ],
)
def test_a_wrong_query_is_refused_with_its_path(query: str, path: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_page(QueryParams(query), [], has_days=True)
    assert refused.value.problem.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert [fault.path for fault in refused.value.problem.errors] == [path]


def test_a_list_without_days_takes_none() -> None:
    with pytest.raises(ApiError):
        read_page(QueryParams("until=2026-01-01"), ["open"])


def test_the_command_prints_the_same_list(
    record: AuditLog,
    golden: Bundle,
    at_hand: StorageSettings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    routes = EveryRoute(record, golden)
    for account in ("acct-1", "acct-2"):
        routes.decide(account)
    listed = routes.call("GET", LATER)["accounts"]
    options = ["due", "--until", "2999-12-31", "--tenant", "lender"]
    assert main([*options, "--json"]) == 0
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert lines == [{"tenant": "lender", **one} for one in each(listed)]
    assert "2 account(s)" in printed.err
    assert "look on" not in printed.err
    assert main(options) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("look on     tenant  account  limit before the cut -> in force")
    for account, line in zip(listed, printed.out.splitlines(), strict=True):
        assert line.startswith(f"{account['review_on']}  lender  {account['account_id']}  ")
    assert main([*options[:-1], "unknown"]) == 2
    assert "expected a tenant of the audit log" in capsys.readouterr().err
