"""A book of simulated accounts that the service decides every month, from its own record."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from features.schema import round_amounts
from features.types import Mask
from serving.api.decisions import Decisions
from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.decision.policy.dates import local_date
from serving.decision.policy.prior import Change, Prior, after
from serving.schemas.prior import Prior as StatedPrior
from tests.support.served import as_requests
from tests.support.submissions import answer_to_batch
from training.data.labels import soon_after
from training.data.simulate.config import calendar_month
from training.data.simulate.output import account_names, as_table
from training.data.simulate.state import Numbers
from training.examine.advice.served import InForce, Simulated, simulate_month
from training.examine.truth.futures import untreated
from training.examine.truth.interventions import own_ways
from training.examine.truth.population import Population, take_rows

ACCOUNTS_A_BATCH = 100
Answer = dict[str, Any]


class Book:
    """The lender's own list of its accounts, beside the record of the service.

    ``in_force`` is what the next month is lived under.  ``remembered`` is the prior of each account
    by the fold over the answers: what the record should say.  ``limits`` are the limits in force.
    """

    def __init__(self, population: Population, bundle: Bundle, audit_log: AuditLog) -> None:
        self.config = untreated(population.config)
        self._bundle, self._audit_log = bundle, audit_log
        count = population.state.count
        self.simulated = Simulated(
            population.state, population.months, np.zeros(count, dtype=np.int64)
        )
        self.in_force = InForce(
            population.state.credit_limit.copy(), np.zeros(count, dtype=np.bool_), (None,) * count
        )
        self.names: list[str] = account_names(population.state.accounts).to_list()
        self.remembered: dict[str, Prior] = {}

    @property
    def as_of(self) -> datetime.date:
        """The month of the last statements."""
        return calendar_month(self.simulated.state.months_done - 1, self.config)

    @property
    def decided_at(self) -> datetime.datetime:
        return soon_after(self.as_of)

    @property
    def today(self) -> datetime.date:
        return local_date(self.decided_at, self._bundle.policy)

    @property
    def is_open(self) -> Mask:
        """The accounts with a statement this month."""
        return self.simulated.last["open"].astype(np.bool_)

    @property
    def limits(self) -> dict[str, float]:
        """The limit in force of each account, CNY."""
        return dict(zip(self.names, self.in_force.limit.tolist(), strict=True))

    def live_month(self) -> None:
        """Simulate the next month under what is in force."""
        plans = own_ways(len(self.names))
        self.simulated = simulate_month(self.simulated, plans, self.in_force, self.config)

    def decide(self) -> dict[str, Answer]:
        """Send the open accounts to the service in batches, and put its answers in force.

        The requests state no prior.  Returns the answers by account.
        """
        rows = np.flatnonzero(self.is_open)
        answers: dict[str, Answer] = {}
        for start in range(0, len(rows), ACCOUNTS_A_BATCH):
            for answer in self._ask(rows[start : start + ACCOUNTS_A_BATCH]):
                answers[answer["account_id"]] = answer
        self.put_in_force(answers)
        return answers

    def statements(self, rows: Numbers) -> pl.DataFrame:
        """The last statements of the accounts in these rows, in cents."""
        statements = as_table(
            pl.Series([self.names[row] for row in rows.tolist()]),
            self.simulated.state.traits.cash_loan[rows],
            take_rows(self.simulated.window, rows),
            self.config,
        )
        return round_amounts(statements)

    def _ask(self, rows: Numbers) -> Sequence[Answer]:
        requests = as_requests(self.statements(rows))
        for request in requests:
            del request["prior"]  # left out: the service takes that of its record
        decisions = Decisions(self._bundle, self._audit_log, lambda: self.decided_at)
        key = f"{self.as_of} {rows[0]}"
        body = asyncio.run(answer_to_batch(decisions, requests, key))
        answered: Sequence[Answer] = json.loads(body)["decisions"]
        return answered

    def put_in_force(self, answers: dict[str, Answer]) -> None:
        """Take the limits of the answers over into the book, by account."""
        limit, suspended = self.in_force.limit.copy(), self.in_force.suspended.copy()
        owed = self.simulated.last["balance"].tolist()
        for row, name in enumerate(self.names):
            if name not in answers:
                continue
            answer = answers[name]
            limit[row], suspended[row] = answer["new_limit"], answer["suspended"]
            used = read_prior(answer["prior"])
            left = after(used, self._change(answer, owed[row]))
            if left is None:
                self.remembered.pop(name, None)
            else:
                self.remembered[name] = left
        self.in_force = InForce(limit, suspended, self.in_force.priors)

    def _change(self, answer: Answer, balance: float) -> Change:
        refers = answer["action"] == "review"
        effective_on = answer["effective_on"]
        review_on = None if refers else answer["review_on"]
        return Change(
            decision_id=answer["decision_id"],
            on=self.today,
            limit_before=answer["credit_limit"],
            limit=answer["new_limit"],
            effective_on=_day(effective_on) if effective_on else self.today,
            suspended=answer["suspended"],
            balance=balance,
            log_odds=answer["log_odds"],
            review_on=_day(review_on) if review_on else None,
            refers=refers,
        )


def read_prior(stated: dict[str, Any] | None) -> Prior | None:
    """The prior that an answer says it was made with."""
    if stated is None:
        return None
    return StatedPrior.model_validate_json(json.dumps(stated)).to_decision()


def _day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)
