"""Every account with a cut in force is listed once its day has come, and no other."""

from __future__ import annotations

import contextlib
import datetime
import random
from importlib.resources import files
from typing import Any

import pytest

from features.months import add_months
from serving.audit_log.entry import NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.audit_log.reader import Reader
from serving.decision.config.policy import read_policy
from serving.decision.policy.prior import Prior
from serving.reviews.due import PAGE_SIZE, all_due, read_due
from serving.reviews.in_force import with_next_look
from serving.storage.database import Database
from tests.support.events import TODAY, decision, outcome
from tests.support.records import NOW, append

DAY = datetime.timedelta(days=1)
ACCOUNTS = [f"acct-{number}" for number in range(12)]
ORDER = ErasureOrder("operator", "asked for", NOW, hold_over="drawn")
LAST = TODAY + 4000 * DAY
POLICY = read_policy(files("serving.decision.config").joinpath("policy.toml").read_text("utf-8"))


# The fixture of a server is looked up by name, where tests/conftest.py does not see it.
@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def log(request: pytest.FixtureRequest) -> AuditLog:
    """An empty audit log in each database."""
    opened: AuditLog = request.getfixturevalue(
        "record" if request.param == "sqlite" else "postgres"
    )
    return opened


def prior_of(log: AuditLog, account: str) -> Prior | None:
    return log.reader.priors("lender", [account]).get(account)


def listed(reader: Reader, until: datetime.date = LAST) -> list[str]:
    return [one.account_id for one in all_due(reader, "lender", until)]


def cut(log: AuditLog, account: str, **fields: Any) -> NewEntry:
    entry = decision(account, "reduce", (20_000.0, 8_000.0), prior_of(log, account), **fields)
    append(log, [entry])
    return entry


class Lender:
    """Draws what happens to accounts; the newest decision of each is kept for reviews."""

    def __init__(self, log: AuditLog, seed: int) -> None:
        self.log, self.random = log, random.Random(seed)
        self.today = TODAY
        self.decided: dict[str, NewEntry] = {}

    def step(self) -> None:
        self.today += DAY * self.random.randrange(20)
        account = self.random.choice(ACCOUNTS)
        draws = [self._cut, self._cut, self._restore, self._look, self._keep, self._refer]
        if account in self.decided:
            draws += [self._resolve]
        self.random.choice(draws)(account)
        if self.random.random() < 0.04:
            erase_account(self.log.database, self.log.secrets, "lender", account, ORDER)
            self.decided.pop(account, None)

    def _decide(self, account: str, action: str, limit: float, **fields: Any) -> None:
        prior = prior_of(self.log, account)
        before = 20_000.0 if prior is None else prior.limit_in_force
        entry = decision(account, action, (before, limit), prior, on=self.today, **fields)
        append(self.log, [entry])
        if entry.due is not None:
            self.decided[account] = entry

    def _cut(self, account: str) -> None:
        prior = prior_of(self.log, account)
        before = 20_000.0 if prior is None else prior.limit_in_force
        earlier_version = prior is None and self.random.random() < 0.3
        # As the policy of the earlier versions had it.
        review_on = add_months(self.today, 3)
        self._decide(
            account,
            "reduce",
            before - 100.0,
            earlier_version=earlier_version,
            review_on=review_on,
        )

    def _restore(self, account: str) -> None:
        prior = prior_of(self.log, account)
        if prior is not None and prior.cuts:
            self._decide(account, "restore", prior.limit_before)

    def _look(self, account: str) -> None:
        prior = prior_of(self.log, account)
        if prior is not None and prior.cuts:
            self._decide(account, "keep", prior.limit_in_force, due=self.today)

    def _keep(self, account: str) -> None:
        prior = prior_of(self.log, account)
        self._decide(account, "keep", 20_000.0 if prior is None else prior.limit_in_force)

    def _refer(self, account: str) -> None:
        prior = prior_of(self.log, account)
        self._decide(account, "review", 20_000.0 if prior is None else prior.limit_in_force)

    def _resolve(self, account: str) -> None:
        about, kind = self.decided.pop(account), self.random.choice(["uphold", "overturn"])
        memory = self.log.reader.memories("lender", [account])[account]
        stored = self.log.reader.by_id(about.entry_id)
        assert stored is not None
        entry = outcome(about, kind, on=self.today, follows=memory.newest_event)
        append(self.log, [with_next_look(entry, stored, memory, POLICY)])


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.integration) for seed in (1, 2))]
)
def test_every_due_account_is_listed_once_and_no_other(log: AuditLog, seed: int) -> None:
    """The oracle looks up what is in force for each account there is."""
    lender = Lender(log, seed)
    lengths = set()
    for _ in range(60):
        lender.step()
        priors = log.reader.priors("lender", ACCOUNTS)
        for until in (lender.today, lender.today + 45 * DAY, LAST):
            days = {one: prior.review_on for one, prior in priors.items() if prior.review_on}
            due = [account for account in ACCOUNTS if days.get(account, LAST + DAY) <= until]
            found = listed(log.reader, until)
            assert sorted(found) == sorted(due)
            assert [days[account] for account in found] == sorted(days[one] for one in found)
            lengths.add(len(found))
        if lender.random.random() < 0.1:
            # Nothing of it is in the memory of a process.
            address = log.database.url.render_as_string(hide_password=False)
            with contextlib.closing(Database(address)) as opened:
                assert listed(Reader(opened, log.secrets)) == listed(log.reader)
    assert len(lengths) > 4


def test_a_plain_keep_leaves_an_account_on_the_list_and_a_look_moves_it(log: AuditLog) -> None:
    cut(log, "acct-1")
    prior = prior_of(log, "acct-1")
    assert prior is not None
    day = TODAY + 90 * DAY
    assert (listed(log.reader, day - DAY), listed(log.reader, day)) == ([], ["acct-1"])
    append(log, [decision("acct-1", "keep", (8_000.0, 8_000.0), prior)])
    assert listed(log.reader, day) == ["acct-1"]
    append(log, [decision("acct-1", "keep", (8_000.0, 8_000.0), prior, due=day, on=day)])
    assert listed(log.reader, day + 89 * DAY) == []
    assert listed(log.reader, day + 90 * DAY) == ["acct-1"]


def test_an_account_of_an_earlier_version_is_listed_on_its_day(log: AuditLog) -> None:
    """The list has a rule for the day, and the row has it exactly."""
    earlier = decision(
        "acct-1",
        "reduce",
        (20_000.0, 8_000.0),
        earlier_version=True,
        review_on=TODAY + 100 * DAY,
    )
    append(log, [earlier])
    assert listed(log.reader, TODAY + 99 * DAY) == []
    [due] = read_due(log.reader, "lender", TODAY + 100 * DAY)
    assert (due.due_id, due.decision_id) == (earlier.entry_id, earlier.entry_id)
    assert due.review_on == TODAY + 100 * DAY


def test_erasure_removes_the_erased_person_and_nobody_else(log: AuditLog) -> None:
    for account in ACCOUNTS:
        cut(log, account)
    assert erase_account(log.database, log.secrets, "lender", "acct-3", ORDER) is not None
    assert listed(log.reader) == [account for account in ACCOUNTS if account != "acct-3"]


def test_pages_have_every_account_once_and_each_tenant_its_own(log: AuditLog) -> None:
    accounts = [f"paged-{number}" for number in range(2 * PAGE_SIZE + 7)]
    drawn = random.Random(3)
    days: dict[str, datetime.date] = {}
    for account in accounts:
        days[account] = TODAY + DAY * drawn.randrange(5)
        append(
            log,
            [
                decision(account, "reduce", (9_000.0, 8_000.0), review_on=days[account]),
                decision(account, "reduce", (9_000.0, 7_000.0), tenant="other"),
            ],
        )
    found = listed(log.reader)
    assert found == sorted(accounts, key=lambda account: (days[account], accounts.index(account)))
    page = read_due(log.reader, "lender", LAST)
    assert [len(page), page[0].prior.limit_in_force] == [PAGE_SIZE, 8_000.0]
    assert len(read_due(log.reader, "other", LAST)) == PAGE_SIZE


def test_a_place_of_another_tenant_or_of_no_account_is_none(log: AuditLog) -> None:
    due, kept = cut(log, "acct-1"), decision("acct-1", "keep", (1.0, 1.0))
    append(log, [kept])
    places = [
        log.reader.place_among_due(*one)
        for one in (
            ("lender", due.entry_id),
            ("other", due.entry_id),
            ("lender", kept.entry_id),
            ("lender", "unknown"),
        )
    ]
    assert places == [((TODAY + 90 * DAY).isoformat(), 1), None, None, None]


def test_a_referred_account_stays_and_is_under_review_until_a_person_answers(
    log: AuditLog,
) -> None:
    """Its reviewer has the work: a lender's run has to see that, and may not lose the account."""
    day = TODAY + 90 * DAY
    for account in ("acct-1", "acct-2"):
        cut(log, account)
    referral = decision("acct-1", "review", (8_000.0, 8_000.0), prior_of(log, "acct-1"), on=day)
    append(log, [referral])
    due = {one.account_id: one.under_review for one in read_due(log.reader, "lender", day)}
    assert due == {"acct-1": True, "acct-2": False}
    memory = log.reader.memories("lender", ["acct-1"])["acct-1"]
    stored = log.reader.by_id(referral.entry_id)
    assert stored is not None
    answer = outcome(referral, "amend", 7_000.0, on=day, follows=memory.newest_event)
    append(log, [with_next_look(answer, stored, memory, POLICY)])
    assert listed(log.reader, day) == ["acct-2"]
    assert not log.reader.memories("lender", ["acct-1"])["acct-1"].under_review
