"""Accounts of the policy month by month, with the answers put in force."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from features.catalogue import CATALOGUE
from features.months import add_months
from features.schema import PRODUCTS
from serving.decision.config.policy import Policy
from serving.decision.policy.dates import local_date
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply_many, change_of
from serving.decision.policy.prior import Prior, after
from tests.support.policies import AS_OF, DECIDED_AT, QUIET

Months = Sequence[tuple[list[Account], list[Outcome]]]


def remembered(limit: float, decided_on: datetime.date, months: int = 4) -> Prior:
    """A cut to ``limit`` from twice as much, so many months before."""
    cut_on = add_months(decided_on, -months)
    return Prior(
        limit_before=2 * limit,
        balance_before=0.0,
        first_cut_on=cut_on,
        last_cut_on=cut_on,
        log_odds=None,
        limit_after=limit,
        limit_in_force=limit,
        in_force_from=cut_on,
        suspended=False,
        restored_on=None,
        referred_on=None,
        review_on=add_months(cut_on, 3),
        decisions=("first",),
    )


def draw_accounts(count: int, seed: int, **features: float) -> list[Account]:
    """Accounts of both products around the cut-off, some of which rules concern."""
    random = np.random.default_rng(seed)
    names = {feature.name for feature in CATALOGUE}
    accounts = []
    for _ in range(count):
        limit = float(random.choice([0.0, 450.0, round(float(random.lognormal(9.5, 1.2)), 2)]))
        drawn = {
            "limit_now": limit,
            "balance_now": round(limit * float(random.uniform(-0.1, 1.3)), 2),
            "days_past_due_now": float(random.choice([0.0, 30.0, 60.0], p=[0.8, 0.1, 0.1])),
            "idle_months": float(random.choice([0.0, 12.0], p=[0.9, 0.1])),
            "income": float(random.choice([np.nan, 1_000.0, 5_000.0, 1e6])),
            "months_observed": float(random.integers(1, 25)),
        }
        assert drawn.keys() <= names
        probability = 1.0 / (1.0 + np.exp(-random.normal(-1.5, 1.5)))
        product = str(random.choice(list(PRODUCTS)))
        accounts.append(Account(product, AS_OF, float(probability), QUIET | drawn | features))
    return accounts


def follow(
    accounts: Sequence[Account],
    policy: Policy,
    months: int,
    move: Callable[[Account, int], Account] = lambda account, month: account,
) -> Iterator[tuple[list[Account], list[Outcome]]]:
    """Monthly decisions, each with the answer before in force.

    ``move`` changes an account before the decision of a month; by default nothing changes.  A
    person who is asked confirms what is proposed for every second account, and for each that a
    rule concerns; for the others the person leaves the limit as it is.
    """
    current = list(accounts)
    for month in range(months):
        decided_at = _months_later(DECIDED_AT, month)
        current = [
            replace(move(account, month), as_of=add_months(AS_OF, month)) for account in current
        ]
        outcomes = apply_many(current, policy, decided_at)
        yield current, outcomes
        today = local_date(decided_at, policy)
        current = [
            _put_in_force(account, outcome, place, today)
            for place, (account, outcome) in enumerate(zip(current, outcomes, strict=True))
        ]


def person_confirms(outcome: Outcome, place: int) -> bool:
    """Whether the person who was asked about the account at that place confirms the proposal."""
    return outcome.action == "review" and (place % 2 == 0 or bool(outcome.hits))


def state_after(outcome: Outcome, place: int) -> tuple[float, bool]:
    """The limit in force, and whether drawings are stopped, after an outcome and its review."""
    if outcome.proposed_limit is not None and person_confirms(outcome, place):
        return outcome.proposed_limit, outcome.suspended or outcome.suspends
    return outcome.new_limit, outcome.suspended


def _put_in_force(account: Account, outcome: Outcome, place: int, today: datetime.date) -> Account:
    change = change_of(outcome, account, f"{place}-{today}", today)
    prior = after(account.prior, change)
    limit, suspended = state_after(outcome, place)
    if person_confirms(outcome, place):
        confirmed = replace(
            change,
            decision_id=f"{change.decision_id}-answer",
            limit=limit,
            suspended=suspended,
            refers=False,
            log_odds=None,
            review_on=add_months(today, 3),
        )
        prior = after(prior, confirmed)
    features = {**account.features, "limit_now": limit}
    return replace(account, prior=prior, features=features)


def _months_later(decided_at: datetime.datetime, months: int) -> datetime.datetime:
    day = add_months(decided_at.date(), months)
    return datetime.datetime.combine(day, decided_at.timetz())
