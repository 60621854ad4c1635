"""The served decision, asked every month with its memory, and its answers put into force.

    first decisions -> put_in_force() -> InForce
    InForce, plans  -> simulate_month() -> a month under those limits
    its statements  -> ask() -> decisions -> put_in_force() -> InForce

A lender does the same: the decision gets the prior that its own answers left, and the customer's
next statement shows the limit that the answer set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.schema import LONGEST_WINDOW
from features.types import Mask, Rows, Vector
from serving.decision.advice.rollout import Plans
from serving.decision.bundle import Bundle
from serving.decision.config.policy import Policy
from serving.decision.pipeline import decide_many
from serving.decision.policy.dates import local_date
from serving.decision.policy.prior import Change, Prior, after
from serving.decision.result import Decision
from training.data.labels import soon_after
from training.data.simulate.config import SimulationConfig, calendar_month
from training.data.simulate.output import account_names, as_table
from training.data.simulate.state import Numbers, State
from training.data.simulate.step import Columns, step
from training.examine.truth.interventions import Intervention, follow, without_drawings
from training.examine.truth.population import take_rows

ROWS_A_CALL = 4000  # accounts decided in one call: bounds the memory
_LEAST_LIMIT = 1.0  # CNY; the simulator divides by the limit


@dataclass(frozen=True, slots=True)
class InForce:
    """What the lender has in force, with one entry for each row of a simulated state.

    - ``limit``: float64, CNY
    - ``suspended``: bool; no drawing is allowed
    - ``priors``: what the next decision remembers; None = nothing
    """

    limit: Vector
    suspended: Mask
    priors: tuple[Prior | None, ...]

    def take(self, places: Numbers) -> InForce:
        """Return the rows by position; repeats are allowed."""
        priors = tuple(self.priors[place] for place in places.tolist())
        return InForce(self.limit[places], self.suspended[places], priors)


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulated state with the statements that a decision sees.

    ``window`` are the last months with their numbers, the oldest first, and ``futures`` the number
    of the future that each row lives in, in rising order.
    """

    state: State
    window: tuple[tuple[int, Columns], ...]
    futures: Numbers

    @property
    def last(self) -> Columns:
        """The statements of the last month."""
        return self.window[-1][1]


def put_in_force(
    in_force: InForce,
    rows: Rows,
    decisions: Sequence[Decision],
    owed: Vector,
    policy: Policy,
) -> InForce:
    """Return what is in force after these decisions.

    Args:
        in_force: Before them.
        rows: The row that each decision is about.
        decisions: The answers.
        owed: What each statement decided on shows as owed, CNY.
        policy: For the day of the decisions.
    """
    limit = in_force.limit.copy()
    suspended = in_force.suspended.copy()
    priors = list(in_force.priors)
    for row, decision, balance in zip(
        rows.tolist(),
        decisions,
        owed.tolist(),
        strict=True,
    ):
        limit[row] = decision.new_limit
        suspended[row] = decision.suspended
        # From the decision's own prior, as the record does: it may have dropped what has ended.
        priors[row] = after(decision.prior, change_of(decision, balance, policy))
    return InForce(limit, suspended, tuple(priors))


def change_of(decision: Decision, balance: float, policy: Policy) -> Change:
    """Return what a decision put in force or looked at; ``balance`` is owed then, CNY."""
    on = local_date(decision.decided_at, policy)
    refers = decision.action == "review"
    return Change(
        decision_id=decision.decision_id,
        on=on,
        limit_before=decision.credit_limit,
        limit=decision.new_limit,
        effective_on=decision.effective_on or on,
        suspended=decision.suspended,
        balance=balance,
        log_odds=decision.log_odds,
        # Under review it is the last day for a person's decision.
        review_on=None if refers else decision.review_on,
        refers=refers,
    )


def simulate_month(
    simulated: Simulated,
    plans: Plans,
    in_force: InForce,
    config: SimulationConfig,
    exactly: bool = False,
) -> Simulated:
    """Return the state after the next month, lived under these plans and limits.

    ``plans`` has one plan a row; nobody draws on a suspended account whatever the plan says.  With
    ``exactly`` no customer pays more than the plan states.
    """
    acts = follow(without_drawings(plans, in_force.suspended), exactly)
    return live_month(simulated, acts, in_force, config)


def live_month(
    simulated: Simulated,
    intervention: Intervention,
    in_force: InForce,
    config: SimulationConfig,
) -> Simulated:
    """Return the state after the next month, lived with this intervention under these limits."""
    state, columns = step(
        simulated.state,
        simulated.state.months_done,
        config,
        simulated.futures,
        intervention,
        np.maximum(in_force.limit, _LEAST_LIMIT),
    )
    statement = {**columns, "credit_limit": in_force.limit}
    window = (*simulated.window, (state.months_done - 1, statement))
    return replace(simulated, state=state, window=window[-LONGEST_WINDOW:])


def ask(
    simulated: Simulated,
    rows: Rows,
    in_force: InForce,
    config: SimulationConfig,
    bundle: Bundle,
) -> list[Decision]:
    """Return the served decisions on the last statements of these rows, in order.

    All of them are open, and those of one future are accounts in rising order.
    """
    return [
        decision
        for block in _blocks(simulated.futures, rows)
        for decision in _ask_block(simulated, block, in_force, config, bundle)
    ]


def _blocks(futures: Numbers, rows: Rows) -> Iterator[Rows]:
    """The rows in order, those of different futures apart: each call has an account once."""
    for number in np.unique(futures[rows]):
        of_future = rows[futures[rows] == number]
        for start in range(0, len(of_future), ROWS_A_CALL):
            yield of_future[start : start + ROWS_A_CALL]


def _ask_block(
    simulated: Simulated,
    rows: Rows,
    in_force: InForce,
    config: SimulationConfig,
    bundle: Bundle,
) -> list[Decision]:
    ids = account_names(simulated.state.accounts[rows])
    statements = as_table(
        ids,
        simulated.state.traits.cash_loan[rows],
        take_rows(simulated.window, rows),
        config,
    )
    remembered = zip(ids.to_list(), rows.tolist(), strict=True)
    priors = {name: in_force.priors[row] for name, row in remembered}
    as_of = calendar_month(simulated.state.months_done - 1, config)
    return decide_many(
        statements,
        bundle,
        soon_after(as_of),
        {name: prior for name, prior in priors.items() if prior is not None},
    )
