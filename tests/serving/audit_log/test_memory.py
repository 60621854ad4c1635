"""What is in force for an account follows from its rows, in both databases."""

from __future__ import annotations

import contextlib
import datetime
import random
import re
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from serving.audit_log.entry import NewEntry
from serving.audit_log.errors import Duplicate, Outdated
from serving.audit_log.log import AuditLog
from serving.audit_log.memory import newest_events
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.audit_log.reader import Reader
from serving.decision.policy.prior import Change, Prior, after
from serving.storage.database import Database
from tests.support.each import each
from tests.support.events import BALANCE, TODAY, decision, outcome
from tests.support.recorded_sql import recording, scanned_tables
from tests.support.records import NOW, append, submit

DAY = datetime.timedelta(days=1)
LOG_ODDS = -1.2345678901234567


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request: pytest.FixtureRequest) -> AuditLog:
    """An empty audit log in each database."""
    opened: AuditLog = request.getfixturevalue(
        "record" if request.param == "sqlite" else "postgres"
    )
    return opened


def prior_of(log: AuditLog, account: str = "acct-1", tenant: str = "lender") -> Prior | None:
    return log.reader.priors(tenant, [account]).get(account)


def cut_of(log: AuditLog, limits: tuple[float, float] = (20_000.0, 8_000.0)) -> NewEntry:
    """A cut, made with what is in force now."""
    cut = decision("acct-1", "reduce", limits, prior_of(log))
    append(log, [cut])
    return cut


def test_a_cut_is_remembered(log: AuditLog) -> None:
    cut = cut_of(log)
    assert prior_of(log) == Prior(
        limit_before=20_000.0,
        balance_before=BALANCE,
        first_cut_on=TODAY,
        last_cut_on=TODAY,
        log_odds=LOG_ODDS,
        limit_after=8_000.0,
        limit_in_force=8_000.0,
        in_force_from=TODAY,
        suspended=False,
        restored_on=None,
        referred_on=None,
        review_on=TODAY + 90 * DAY,
        decisions=(cut.entry_id,),
    )


def test_an_account_of_another_tenant_or_without_events_has_none(log: AuditLog) -> None:
    cut_of(log)
    append(log, [decision("acct-2", "keep", (5_000.0, 5_000.0))])
    assert log.reader.priors("other", ["acct-1"]) == {}
    assert log.reader.priors("lender", ["acct-2", "acct-3"]) == {}
    assert set(log.reader.priors("lender", ["acct-1", "acct-2"])) == {"acct-1"}
    assert log.reader.priors("lender", []) == {}


def test_a_prior_of_the_request_replaces_that_of_the_record(log: AuditLog) -> None:
    cut_of(log)
    append(log, [decision("acct-1", "reduce", (30_000.0, 9_000.0), None)])
    found = prior_of(log)
    assert found is not None
    assert (found.limit_before, found.limit_in_force) == (30_000.0, 9_000.0)


@pytest.mark.parametrize("seed", range(3))
def test_each_decision_adds_to_what_it_was_made_with(log: AuditLog, seed: int) -> None:
    """The oracle adds the changes one after the other, and reads nothing."""
    drawn, prior, limit, on = random.Random(seed), None, 20_000.0, TODAY
    seen = set()
    for _ in range(30):
        action = drawn.choice(["reduce", "restore", "keep", "review"])
        new_limit = limit
        if action == "reduce":
            new_limit = limit - drawn.choice([100.0, 500.0])
        elif action == "restore":
            if prior is None or not prior.cuts:
                continue
            new_limit = drawn.choice([min(limit + 50.0, prior.limit_before), prior.limit_before])
        on += DAY * drawn.randrange(1, 60)
        entry = decision("acct-1", action, (limit, new_limit), prior, on=on)
        append(log, [entry])
        if entry.due is not None:
            refers = action == "review"
            prior = after(
                prior,
                Change(
                    decision_id=entry.entry_id,
                    on=on,
                    limit_before=limit,
                    limit=new_limit,
                    effective_on=on,
                    suspended=False,
                    balance=BALANCE,
                    log_odds=LOG_ODDS,
                    review_on=None if refers else on + 90 * DAY,
                    refers=refers,
                ),
            )
        limit = new_limit
        assert prior_of(log) == prior
        seen.add((action, prior is None))
    assert {action for action, _ in each(seen)} == {"reduce", "restore", "keep", "review"}


LATER = TODAY + 10 * DAY
NEXT_LOOK = LATER + 91 * DAY


def resolve(log: AuditLog, about: NewEntry, kind: str, new_limit: float | None = None) -> NewEntry:
    entry = outcome(about, kind, new_limit, on=LATER, review_on=NEXT_LOOK.isoformat())
    append(log, [entry])
    return entry


def test_an_upheld_decision_stays_in_force(log: AuditLog) -> None:
    cut = cut_of(log)
    before = prior_of(log)
    resolve(log, cut, "uphold")
    assert prior_of(log) == before


def test_an_overturned_cut_leaves_nothing_in_force(log: AuditLog) -> None:
    resolve(log, cut_of(log), "overturn")
    found = prior_of(log)
    assert found is not None
    assert (found.cuts, found.limit_in_force, found.in_force_from) == (False, 20_000, LATER)
    # What the person was asked is remembered, as a referral is.
    assert (found.referred_on, found.log_odds) == (LATER, LOG_ODDS)


def test_a_cut_that_a_person_gives_back_whole_is_remembered_as_an_overturned_one(
    log: AuditLog,
) -> None:
    resolve(log, cut_of(log), "amend", 20_000.0)
    found = prior_of(log)
    assert found is not None
    assert (found.cuts, found.referred_on, found.log_odds) == (False, LATER, LOG_ODDS)


def test_an_overturned_second_cut_leaves_the_first_in_force(log: AuditLog) -> None:
    cut_of(log)
    first = prior_of(log)
    resolve(log, cut_of(log, (8_000.0, 5_000.0)), "overturn")
    assert first is not None
    # The limit that the first cut left, from the day of the outcome on.
    assert prior_of(log) == replace(first, in_force_from=LATER, referred_on=LATER)


def test_an_amended_cut_is_a_step_back(log: AuditLog) -> None:
    resolve(log, cut_of(log), "amend", 15_000.0)
    found = prior_of(log)
    assert found is not None
    assert (found.limit_before, found.limit_after, found.limit_in_force) == (20_000, 8_000, 15_000)
    assert (found.last_cut_on, found.restored_on) == (TODAY, LATER)
    assert (found.in_force_from, found.review_on) == (LATER, NEXT_LOOK)


def test_a_limit_above_the_drawn_one_lifts_a_suspension(log: AuditLog) -> None:
    suspension = decision("acct-1", "suspend", (20_000.0, 8_000.0))
    append(log, [suspension])
    before = prior_of(log)
    assert before is not None
    assert before.suspended
    resolve(log, suspension, "amend", 8_000.0)
    assert prior_of(log) == before
    resolve(log, suspension, "amend", 9_000.0)
    found = prior_of(log)
    assert found is not None
    assert (found.suspended, found.limit_in_force) == (False, 9_000.0)


def test_a_confirmed_proposal_is_a_cut_of_the_day_of_the_outcome(log: AuditLog) -> None:
    referral = decision("acct-1", "review", (20_000.0, 20_000.0))
    append(log, [referral])
    waiting = prior_of(log)
    assert waiting is not None
    assert (waiting.cuts, waiting.referred_on) == (False, TODAY)
    resolve(log, referral, "amend", 8_000.0)
    found = prior_of(log)
    assert found is not None
    assert (found.first_cut_on, found.last_cut_on, found.referred_on) == (LATER, LATER, TODAY)
    assert (found.limit_before, found.limit_in_force) == (20_000.0, 8_000.0)
    assert (found.balance_before, found.log_odds) == (BALANCE, LOG_ODDS)
    assert found.review_on == NEXT_LOOK


def test_a_refused_proposal_is_remembered_as_a_referral(log: AuditLog) -> None:
    referral = decision("acct-1", "review", (20_000.0, 20_000.0))
    append(log, [referral])
    resolve(log, referral, "overturn")
    found = prior_of(log)
    assert found is not None
    assert (found.cuts, found.referred_on) == (False, TODAY)


def test_an_overturned_earlier_cut_ends_the_later_one_too(log: AuditLog) -> None:
    """The customer is told that the limit from before the earlier cut is back."""
    earlier = cut_of(log)
    cut_of(log, (8_000.0, 5_000.0))
    resolve(log, earlier, "overturn")
    found = prior_of(log)
    assert found is not None
    assert (found.cuts, found.limit_in_force, found.in_force_from) == (False, 20_000, LATER)


def test_an_outcome_about_an_earlier_decision_never_lowers_the_limit(log: AuditLog) -> None:
    earlier = cut_of(log)
    append(log, [decision("acct-1", "restore", (8_000.0, 19_000.0), prior_of(log))])
    before = prior_of(log)
    assert before is not None
    resolve(log, earlier, "amend", 9_000.0)
    assert prior_of(log) == before


def test_an_overturned_keep_changes_nothing(log: AuditLog) -> None:
    kept = decision("acct-1", "keep", (20_000.0, 20_000.0))
    append(log, [kept])
    cut_of(log)
    before = prior_of(log)
    resolve(log, kept, "overturn")
    assert prior_of(log) == before


def test_an_erased_account_is_forgotten(log: AuditLog) -> None:
    cut_of(log)
    append(log, [decision("acct-2", "reduce", (9_000.0, 3_000.0))])
    order = ErasureOrder("operator", "asked for", NOW, hold_over="drawn")
    assert erase_account(log.database, log.secrets, "lender", "acct-1", order) is not None
    assert set(log.reader.priors("lender", ["acct-1", "acct-2"])) == {"acct-2"}


def newest_event(log: AuditLog) -> int:
    return log.reader.memories("lender", ["acct-1"])["acct-1"].newest_event


def test_a_cut_that_follows_from_an_older_event_is_not_stored(log: AuditLog) -> None:
    first = decision("acct-1", "reduce", (20_000.0, 8_000.0), follows=0)
    append(log, [first])
    late = decision("acct-1", "reduce", (20_000.0, 7_000.0), follows=0)
    other = decision("acct-2", "reduce", (20_000.0, 7_000.0), follows=0)
    with pytest.raises(Outdated):
        append(log, [other, late])
    # Stored together or not at all.
    assert log.reader.by_id(other.entry_id) is None
    append(log, [other])
    append(log, [replace(late, follows=newest_event(log))])
    append(log, [replace(decision("acct-1", "keep", (7_000.0, 7_000.0)), follows=None)])


def test_an_outcome_is_an_event_that_a_decision_has_to_follow(log: AuditLog) -> None:
    cut = cut_of(log)
    followed = newest_event(log)
    resolve(log, cut, "overturn")
    with pytest.raises(Outdated):
        append(log, [decision("acct-1", "reduce", (20_000.0, 7_000.0), follows=followed)])


def test_of_two_cuts_in_one_transaction_one_is_stored(log: AuditLog) -> None:
    cuts = [decision("acct-1", "reduce", (20_000.0, 8_000.0), follows=0) for _ in range(5)]
    with log.database.writing():  # the writer waits, so the cuts are one batch
        futures = [submit(log, [cut]) for cut in cuts]
    refused = [future.exception(10) for future in futures]
    assert [type(error) for error in refused] == [type(None), *[Outdated] * 4]
    assert [log.reader.by_id(cut.entry_id) is None for cut in cuts] == [False, *[True] * 4]


def test_a_repeated_key_is_told_from_an_older_event(log: AuditLog) -> None:
    """Beside a row with a repeated key, an outdated one is found too."""
    first, late, new = (
        decision(account, "reduce", (20_000.0, 8_000.0), follows=0)
        for account in ("acct-1", "acct-1", "acct-2")
    )
    append(log, [replace(first, unique_key="one")])
    repeated = replace(new, unique_key="one")
    with log.database.writing():
        futures = [submit(log, [entry]) for entry in (repeated, late, replace(new, entry_id="x"))]
    refused = [future.exception(10) for future in futures]
    assert [type(error) for error in refused] == [Duplicate, Outdated, type(None)]


def test_the_index_of_events_serves_the_look_up(log: AuditLog) -> None:
    """Each statement finds the events of a person by the index of events, and scans no table."""
    cut_of(log)
    accounts = [f"acct-{number % 50}" for number in range(1_000)]
    append(log, [decision(account, "keep", (8_000.0, 8_000.0)) for account in accounts])
    append(log, [decision(account, "reduce", (8_000.0, 7_000.0)) for account in accounts[:200]])
    if log.database.kind == "postgresql":
        with log.database.writing() as connection:
            connection.exec_driver_sql("ANALYZE")  # as a database in use does by itself
    address = log.database.url.render_as_string(hide_password=False)
    with recording() as recorded, contextlib.closing(Database(address)) as database:
        reader = Reader(database, log.secrets)
        assert reader.priors("lender", ["acct-1"])
        with database.reading() as connection:
            assert newest_events(connection, [("lender", "acct-1")], log.secrets)
            found = {sql: one for sql, one in recorded.statements.items() if "people" in sql}
            assert len(found) == 2
            for sql, values in each(found.items()):
                assert scanned_tables(connection, sql, values) == set()
                plan = plan_of(connection, sql, values)
                tables = len(re.findall(r"(FROM|JOIN) entries\b", sql))
                # The latest decision: the end of the person's rows, and the row itself.
                latest = 2 if "UNION ALL" in sql else 0
                assert plan.count("entries_of_events") == tables - latest > 0, plan
                assert plan.count("entries_by_person") == latest // 2, plan


def plan_of(connection: sa.Connection, sql: str, values: Any) -> str:
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    parameters = tuple(values) if isinstance(values, list) else values
    rows = connection.exec_driver_sql(f"{explain} {sql}", parameters)
    return "\n".join(str(row[-1]) for row in rows)
