"""A request without a prior is decided with that of the audit log, in both databases."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from features.months import add_months
from serving.api import decisions as api_decisions
from serving.api.answers import Basis, answer_requests
from serving.api.decisions import Decisions
from serving.audit_log.entry import Entry
from serving.audit_log.log import AuditLog
from serving.audit_log.memory import NOTHING, Memory
from serving.audit_log.reader import Reader
from serving.audit_log.rows import StoredRow
from serving.audit_log.verify import verify
from serving.decision.bundle import Bundle
from serving.decision.policy.since_last import Earlier
from serving.operations.decide_again.replay import Bundles, replay
from serving.reviews.past_decision import earlier_id, earlier_of
from serving.schemas import examples
from serving.schemas.base import parse
from serving.schemas.decision import Request
from serving.storage.triggers.lists import find_wrong_rows
from tests.golden.remake import BUNDLE
from tests.support.each import each
from tests.support.every_route import QUIET, EveryRoute
from tests.support.records import NOW, settings_in
from tests.support.served import Server
from tests.support.submissions import answer_to, answer_to_batch, submission

Json = dict[str, Any]


# The fixture of a server is looked up by name, where tests/conftest.py does not see it.
@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def log(request: pytest.FixtureRequest) -> AuditLog:
    """An empty audit log in each database."""
    opened: AuditLog = request.getfixturevalue(
        "record" if request.param == "sqlite" else "postgres"
    )
    opened.deadline = 30.0
    return opened


def cut_request(account: str = "acct-1", **fields: Any) -> Json:
    """The documented request, whose limit is cut, for an account."""
    return copy.deepcopy(examples.REQUEST) | {"account_id": account} | fields


def decide(decisions: Decisions, *sent: Json, key: str | None = None) -> list[Json]:
    """The answers to requests that are sent at once."""

    async def together() -> list[bytes]:
        return await asyncio.gather(*(answer_to(decisions, submission(one, key)) for one in sent))

    return [json.loads(body) for body in asyncio.run(together())]


def rows_of(log: AuditLog) -> list[Entry]:
    return list(log.reader.of_kind(["decision"]))


def check_replay(log: AuditLog, golden: Bundle, rows: int) -> None:
    bundles = Bundles({golden.digest: BUNDLE})
    done = replay(rows_of(log), bundles, log.secrets.id_key, log.reader.by_id)
    assert done.counts == Counter(same=rows), done.different


def test_the_prior_of_the_record_is_used_and_kept_with_the_row(
    log: AuditLog, golden: Bundle
) -> None:
    decisions = Decisions(golden, log)
    [first] = decide(decisions, cut_request())
    known = log.reader.priors("lender", ["acct-1"])["acct-1"]
    [second] = decide(decisions, cut_request())
    assert first["prior"] is None
    assert first["new_limit"] == known.limit_in_force < first["credit_limit"]
    assert second["prior"]["decisions"] == [first["decision_id"]]
    assert second["credit_limit"] == known.limit_in_force
    used = [json.loads(row.request_body or b"{}")["prior"] for row in rows_of(log)]
    assert used == [None, second["prior"]]
    assert [row.metadata["prior"] for row in rows_of(log)] == ["record", "record"]
    check_replay(log, golden, 2)


def test_a_stated_prior_goes_before_that_of_the_record(log: AuditLog, golden: Bundle) -> None:
    decisions = Decisions(golden, log)
    decide(decisions, cut_request())
    [stated, left_out] = decide(decisions, cut_request(prior=None), cut_request("acct-2"))
    assert (stated["prior"], left_out["prior"]) == (None, None)
    marks = Counter(row.metadata["prior"] for row in rows_of(log))
    assert marks == Counter(record=2, request=1)
    check_replay(log, golden, 3)


def test_each_account_of_a_batch_has_its_own(log: AuditLog, golden: Bundle) -> None:
    decisions = Decisions(golden, log)
    [first] = decide(decisions, cut_request("acct-1"))
    accounts = [cut_request("acct-2"), cut_request("acct-1")]
    answered = json.loads(asyncio.run(answer_to_batch(decisions, accounts, "key-1")))["decisions"]
    priors = [one["prior"] for one in answered]
    assert priors[0] is None
    assert priors[1]["decisions"] == [first["decision_id"]]
    assert (
        asyncio.run(answer_to_batch(decisions, accounts, "key-1"))
        == json.dumps({"decisions": answered}, ensure_ascii=False, separators=(",", ":")).encode()
    )
    check_replay(log, golden, 3)


def test_a_repeated_key_gets_its_first_answer_whatever_is_in_force_by_now(
    log: AuditLog, golden: Bundle
) -> None:
    """The digest is that of what the caller sent, and not of the prior that was looked up."""
    decisions = Decisions(golden, log)
    [first] = decide(decisions, cut_request(), key="key-1")
    assert decide(decisions, cut_request(), key="key-1") == [first]
    assert len(rows_of(log)) == 1


def events(log: AuditLog) -> list[Entry]:
    return [row for row in rows_of(log) if row.due is not None]


def check_one_after_the_other(log: AuditLog) -> None:
    """Each event follows from the one before it."""
    ids = [row.entry_id for row in events(log)]
    for place, row in enumerate(each(events(log))):
        prior = json.loads(row.request_body or b"{}")["prior"]
        assert (prior["decisions"] if prior else []) == ids[:place]


def test_simultaneous_decisions_on_an_account_follow_from_each_other(
    log: AuditLog, golden: Bundle
) -> None:
    decide(Decisions(golden, log), *[cut_request() for _ in range(6)])
    assert len(rows_of(log)) == 6
    check_one_after_the_other(log)
    check_replay(log, golden, 6)


def test_simultaneous_batches_with_the_same_accounts_follow_from_each_other(
    log: AuditLog, golden: Bundle
) -> None:
    decisions = Decisions(golden, log)
    accounts = [cut_request("acct-1"), cut_request("acct-2")]

    async def together() -> None:
        orders = (accounts, accounts[::-1], accounts)
        keys = ("key-1", "key-2", "key-3")
        await asyncio.gather(
            *(answer_to_batch(decisions, *one) for one in zip(orders, keys, strict=True))
        )

    asyncio.run(together())
    assert len(rows_of(log)) == 6
    for account in ("acct-1", "acct-2"):
        memory = log.reader.memories("lender", [account])[account]
        assert memory.prior is not None
        assert memory.prior.limit_before == cut_request()["statements"][-1]["credit_limit"]


def test_a_worker_that_looked_up_too_early_decides_again(
    log: AuditLog, golden: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with two workers: the second looked up before the first stored its cut."""
    decisions = Decisions(golden, log)
    [first] = decide(decisions, cut_request())
    looked_up: list[int] = []
    look_up = Reader.memories_and_latest

    def too_early(
        reader: Reader, tenant: str, accounts: Sequence[str]
    ) -> tuple[dict[str, Memory], dict[str, StoredRow]]:
        looked_up.append(len(accounts))
        return ({}, {}) if len(looked_up) == 1 else look_up(reader, tenant, accounts)

    monkeypatch.setattr(Reader, "memories_and_latest", too_early)
    [second] = decide(decisions, cut_request())
    assert looked_up == [1, 1]
    assert second["prior"]["decisions"] == [first["decision_id"]]


def test_without_the_check_both_cut(
    log: AuditLog, golden: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: decisions that say nothing of what they follow from."""
    recalled = api_decisions._recalled

    def blind(request: Request, memory: Memory, earlier: Earlier | None, bundle: Bundle) -> Any:
        return replace(recalled(request, NOTHING, earlier, bundle), follows=None)

    monkeypatch.setattr(api_decisions, "_recalled", blind)
    decide(Decisions(golden, log), *[cut_request() for _ in range(2)])
    with pytest.raises(AssertionError):
        check_one_after_the_other(log)


def test_a_service_that_was_restarted_goes_on_with_the_same_prior(
    log: AuditLog, golden: Bundle, tmp_path: Any
) -> None:
    [first] = decide(Decisions(golden, log), cut_request())
    before = log.reader.priors("lender", ["acct-1"])
    address = log.database.url.render_as_string(hide_password=False)
    log.close()
    with contextlib.closing(AuditLog(settings_in(tmp_path, address))) as reopened:
        reopened.deadline = 30.0
        assert reopened.reader.priors("lender", ["acct-1"]) == before
        [second] = decide(Decisions(golden, reopened), cut_request())
        assert second["prior"]["decisions"] == [first["decision_id"]]
        report = verify(
            reopened.database.reading, reopened.secrets, settings_in(tmp_path).checkpoints
        )
        assert report.findings == ()


class Clock:
    """The time of decisions, which a test moves on by months."""

    def __init__(self) -> None:
        self.months = 0

    def __call__(self) -> datetime.datetime:
        day = add_months(NOW.date(), self.months)
        return datetime.datetime.combine(day, NOW.timetz())


class Lender:
    """Asks every month about an account that goes on as before, with the answers in force."""

    def __init__(self, decisions: Decisions, clock: Clock, account: str = "acct-1") -> None:
        self.decisions, self.clock, self.account = decisions, clock, account
        before = cut_request()["statements"][-1]["credit_limit"]
        self.limits: list[tuple[datetime.date, float]] = [(datetime.date.min, before)]

    def request(self) -> Json:
        """The statements of this month, with the limit that was in force at the end of each."""
        request = cut_request(self.account)
        for statement in request["statements"]:
            month = datetime.date.fromisoformat(f"{statement['month']}-01")
            month = add_months(month, self.clock.months)
            end = add_months(month, 1) - datetime.timedelta(days=1)
            in_force = [limit for day, limit in self.limits if day <= end]
            statement["month"] = f"{month:%Y-%m}"
            statement["credit_limit"] = in_force[-1]
        return request

    def ask(self) -> Json:
        [answer] = decide(self.decisions, self.request())
        if answer["effective_on"] is not None:
            day = datetime.date.fromisoformat(answer["effective_on"])
            self.limits.append((day, answer["new_limit"]))
        return answer


def test_a_limit_that_the_lender_raised_ends_the_cut_and_the_look(
    log: AuditLog, golden: Bundle
) -> None:
    clock = Clock()
    lender = Lender(Decisions(golden, log, clock), clock)
    lender.ask()
    clock.months = 2
    raised = lender.request()
    for statement in raised["statements"]:
        statement |= QUIET | {"credit_limit": 90_000.0}
    [answer] = decide(lender.decisions, raised)
    assert (answer["action"], answer["prior"]) == ("keep", None)
    with log.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM due_accounts").scalar() == 0
        assert find_wrong_rows(connection) == []
    check_replay(log, golden, 2)


def test_a_limit_that_came_back_is_in_force_before_a_statement_shows_it(
    log: AuditLog, golden: Bundle
) -> None:
    clock = Clock()
    lender = Lender(Decisions(golden, log, clock), clock)
    first = lender.ask()
    clock.months = 4
    answers: list[Json] = []
    for _ in range(3):
        request = lender.request()
        for statement in request["statements"]:
            statement |= QUIET
        # The statements of this month still show the cut limit.
        assert request["statements"][-1]["credit_limit"] == first["new_limit"]
        answers += decide(lender.decisions, request)
    restored, *later = answers
    assert (restored["action"], restored["new_limit"]) == ("restore", first["credit_limit"])
    for answer in later:
        assert (answer["action"], answer["credit_limit"]) == ("keep", first["credit_limit"])
        assert answer["prior"]["first_cut_on"] is None
    lender.limits.append((clock().date(), restored["new_limit"]))
    clock.months = 5
    assert lender.ask()["prior"] is None
    check_replay(log, golden, 5)


def test_an_account_that_goes_on_as_before_keeps_the_limit_of_the_first_answer(
    log: AuditLog, golden: Bundle
) -> None:
    """For two years, with the record as the only memory."""
    clock = Clock()
    lender = Lender(Decisions(golden, log, clock), clock)
    first = lender.ask()
    limits, actions = {first["new_limit"]}, Counter([first["action"]])
    assert first["new_limit"] < first["credit_limit"]
    for clock.months in range(1, 24):
        answer = lender.ask()
        assert answer["prior"]["limit_before"] == first["credit_limit"]
        limits.add(answer["new_limit"])
        actions[answer["action"]] += 1
    assert limits == {first["new_limit"]}
    assert actions == Counter({first["action"]: 1, "keep": 23})
    # Looked at again when it was due, and told why not yet.
    kinds = Counter(json.loads(row.response_body or b"{}")["notice"]["kind"] for row in events(log))
    assert kinds["adverse_action"] == 1
    assert kinds["still_reduced"] >= 5
    check_replay(log, golden, 24)


def test_the_outcome_of_a_review_changes_what_the_next_decision_sees(
    record: AuditLog, golden: Bundle
) -> None:
    routes = EveryRoute(record, golden)
    first = routes.decide("acct-1")
    routes.resolve(routes.open_review(first["decision_id"]))  # overturned
    second = routes.decide("acct-1")
    assert second["prior"] is None or second["prior"]["first_cut_on"] is None
    amended = routes.open_review(second["decision_id"])
    limit = (second["new_limit"] + second["credit_limit"]) / 2
    routes.start(amended)
    body = {"reviewer": "Li Na", "outcome": "amend", "reasons": "So.", "new_limit": limit}
    with routes.as_reviewer():
        routes.call("POST", "/v1/reviews/{id}/resolution", amended, body)
    third = routes.decide("acct-1")
    assert third["prior"]["limit_in_force"] == third["credit_limit"] == limit
    assert third["prior"]["limit_before"] == second["credit_limit"]
    check_replay(record, golden, 3)


def test_a_stored_request_is_read_back_with_its_prior(log: AuditLog, golden: Bundle) -> None:
    decisions = Decisions(golden, log)
    for _ in range(2):
        decide(decisions, cut_request())
    for row in each(rows_of(log)):
        request = parse(Request, row.request_body or b"")
        assert request.states_prior
        named = earlier_id(row)
        before = earlier_of(None if named is None else log.reader.by_id(named))
        past = {} if before is None else {request.account_id: before}
        basis = Basis(golden, row.at, log.secrets.id_key, past)
        [again] = answer_requests("decisions", [request], False, basis)
        assert again.content == row.response_body


def test_over_http_the_24th_answer_has_the_limit_of_the_first(
    server: Server, requests: list[Json]
) -> None:
    """On one day: nothing changes but what the record knows."""
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=30) as client:

        def ask(sent: Json) -> Json:
            answer: Json = client.post("/v1/decisions", json=sent).raise_for_status().json()
            return answer

        cut = 0
        for request in requests:
            sent = request | {"account_id": f"{request['account_id']}-24-times"}
            del sent["prior"]
            first = ask(sent)
            if first["action"] not in ("reduce", "suspend"):
                continue
            for _ in range(23):
                answer = ask(sent)
                assert (answer["action"], answer["notice"]) == ("keep", None)
                assert answer["new_limit"] == first["new_limit"]
                assert answer["prior"]["limit_before"] == first["credit_limit"]
                assert answer["prior"]["decisions"] == [first["decision_id"]]
            cut += 1
            if cut == 3:
                break
    assert cut == 3
