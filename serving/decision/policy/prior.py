"""What the lender did before to an account's limit: the decision's memory.

    prior, change -> after() -> prior of the next decision
    prior, statements -> check_prior() -> None, or PriorError with the field

A decision is pure, so its memory is an argument.  The service takes it from the audit log, an app
may send it, and the row of the decision keeps what was used.  All that the policy measures is
measured against the limit from before the first cut that is still in force: who is asked about
twice, with nothing changed, gets the same limit twice.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prior:
    """What is in force because of earlier decisions.  Amounts in CNY, days on the lender's clock.

    An account without a cut, suspension or referral to remember has no prior (None).

    Attributes:
        limit_before: The limit from before the first cut that is still in force; the present limit
            if no cut is in force.
        balance_before: What was owed at that cut; negative = overpaid.
        first_cut_on: The day of the decision on that cut or suspension; None if none is in force.
        last_cut_on: The day of the decision on the latest one; None if none is in force.
        log_odds: Those of the latest cut or referral; None = unknown, as after a cut by a rule of a
            lender who sends the prior.
        limit_after: The limit that the latest cut left, from which steps back are measured.
        limit_in_force: The limit that the latest decision left.
        in_force_from: The first day of that limit.  Statements of months that end before it still
            show the limit of before.
        suspended: Whether no new drawing is allowed.
        restored_on: The day of the latest step back since ``last_cut_on``; None = there was none.
        referred_on: The day on which the account was last referred to a person; None = never.
        review_on: The day of the next look; None if no cut is in force.
        decisions: The ids of the decisions that this follows from, the earliest first.
    """

    limit_before: float
    balance_before: float
    first_cut_on: datetime.date | None
    last_cut_on: datetime.date | None
    log_odds: float | None
    limit_after: float
    limit_in_force: float
    in_force_from: datetime.date
    suspended: bool
    restored_on: datetime.date | None
    referred_on: datetime.date | None
    review_on: datetime.date | None
    decisions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What a decision, or a person's resolution of a review, put in force or looked at.

    Attributes:
        decision_id: Of the decision, or of the resolution.
        on: The day of it, on the lender's clock.
        limit_before: In force before it, CNY.
        limit: In force after it, CNY.
        effective_on: The first day of ``limit``.
        suspended: Whether no new drawing is allowed after it.
        balance: Owed on the last statement that it saw, CNY.
        log_odds: Of the decision; None for a person's resolution.
        review_on: The day of the next look; None if there is none.
        refers: Whether it refers the account to a person, and so changes nothing yet.
    """

    decision_id: str
    on: datetime.date
    limit_before: float
    limit: float
    effective_on: datetime.date
    suspended: bool
    balance: float
    log_odds: float | None
    review_on: datetime.date | None
    refers: bool = False
