"""Advice: the plan, its steps, and the months ahead with and without it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from serving.decision.config.advice import LeverName
from serving.decision.config.reasons import Text
from serving.decision.policy.outcome import Action


@dataclass(frozen=True, slots=True)
class Step:
    """One lever of a plan; ``amount`` in CNY a month, and ``share`` of the balance, None where
    there is none to state.
    """

    lever: LeverName
    amount: float | None
    share: float | None
    text: Text


@dataclass(frozen=True, slots=True)
class PathMonth:
    """After one month: the probability, what would be decided on the limit from before the cut, and
    the limit in force.

    ``payment`` is what the account is paid in the month, and ``balance`` what is owed after it,
    both CNY: as relived, where nothing new happens.
    """

    month: datetime.date
    payment: float
    balance: float
    probability: float
    action: Action
    limit: float


@dataclass(frozen=True, slots=True)
class PlanPath:
    """A plan and where it leads.

    ``restored`` is the month after which the limit comes back to stay, as far as a rule allows;
    None where it does not.
    """

    steps: tuple[Step, ...]
    effort: float
    restored: datetime.date | None
    path: tuple[PathMonth, ...]


@dataclass(frozen=True, slots=True)
class AgingOut:
    """Something that counts until a month, and no longer in that month's decision; ``last`` is when
    it last happened.
    """

    code: str
    last: datetime.date
    until: datetime.date
    text: Text


@dataclass(frozen=True, slots=True)
class Advice:
    """The way back, beside what happens otherwise.

    ``plan`` is the least effort that restores the limit, or, where none does within the months
    looked ahead, the feasible one that lowers the risk most: its ``restored`` is then None.
    ``tried`` counts the plans.  ``ageing`` is what only time takes away, the soonest gone first;
    ``notes`` what must be known beside.
    """

    plan: PlanPath
    on_time_only: PlanPath
    carry_on: PlanPath
    ageing: tuple[AgingOut, ...]
    notes: tuple[Text, ...]
    expires_on: datetime.date
    tried: int
