"""Does the advice come true?  Each plan is followed, and the served decision is asked every month.

Customers live their own shocks and draws, in several futures.  The decision gets the prior that its
earlier answers left, and its answers are put into force: :mod:`training.examine.advice.served`.

*Kept*: in the promised month or the next, the answers have brought the promised limit back, and
drawings are allowed.  A customer follows the plan until then, and acts in the six months after it
as the conduct says.  Who carries on is asked about in the same way for as long as advice looks
ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from features.types import Mask, Rows, Vector
from serving.decision.advice.rollout import Plans
from serving.decision.result import Decision
from training.data.simulate.shocks import ILLNESS, INCOME_LOSS
from training.data.simulate.state import State
from training.data.simulate.step import CHARGED_OFF_DAYS
from training.examine.advice.relived import live_again, recall_acts, take_habits
from training.examine.advice.served import (
    InForce,
    Simulated,
    ask,
    live_month,
    put_in_force,
    simulate_month,
)
from training.examine.truth.cut_accounts import CutAccounts, plans_from_paths
from training.examine.truth.futures import DEFAULT_DAYS, HORIZON, untreated
from training.examine.truth.interventions import own_ways, while_followed

FOLLOWED = 4  # futures in which each account is followed: 0 is the history's own

Witness = Callable[[int, Rows, Sequence[Decision]], None]


@dataclass(frozen=True, slots=True)
class Conduct:
    """How the customers act, and in how many futures each is followed.

    - ``follows``: they follow the plan until the promised limit is back; else they carry on
    - ``exactly``: they pay no more than the plan states
    - ``relives``: they do again what they did in the half-year before the cut, month by month in
      the same order (:mod:`training.examine.advice.relived`)
    - ``keeps_on``: they follow the plan in the months after it too
    - ``months_after``: they are asked about for so many months after the limit came back
    """

    follows: bool = True
    exactly: bool = False
    relives: bool = False
    keeps_on: bool = False
    months_after: int = HORIZON
    futures: int = FOLLOWED


AS_CUSTOMERS_DO = Conduct()
CARRY_ON = Conduct(follows=False)
RELIVE = Conduct(follows=False, relives=True, futures=2)


@dataclass(frozen=True, slots=True)
class FollowedPlans:
    """What came of following; bool (futures, accounts), False for accounts without a promise.

    Where customers carry on, every account is asked about, and the promise is that of nobody.

    - ``promised``: int64 (accounts,), months to the promised month; 0 = no promise
    - ``asked``: bool (accounts,), the accounts that were followed
    - ``kept``: the promised limit was back in the promised month or the next; of customers who
      carry on, the limit from before the cut in any month asked about
    - ``stepped``: a part of the limit came back before the rest, or drawings did
    - ``cut_again``, ``proposed_again``: until then the limit was cut again or suspended, or that
      was proposed to a person
    - ``cut_after``, ``proposed_after``: the same in the six months after the limit came back
    - ``defaulted_after``: 60 days past due or more in those months
    - ``closed``: the customer closed the account before the limit came back
    - ``written_off``: the account was 180 days past due before the limit came back, and so ended;
      it is asked about no more
    - ``shocked``: an income loss or illness struck until the limit came back, or the month after
      the promised one
    """

    promised: Rows
    asked: Mask
    kept: Mask
    stepped: Mask
    cut_again: Mask
    proposed_again: Mask
    cut_after: Mask
    proposed_after: Mask
    defaulted_after: Mask
    closed: Mask
    written_off: Mask
    shocked: Mask


def follow_plans(
    cohort: CutAccounts,
    conduct: Conduct = AS_CUSTOMERS_DO,
    witness: Witness | None = None,
) -> FollowedPlans:
    """Follow the accounts that have a promise, or all of them where they carry on.

    ``witness`` is called with each month (0 = the first after the decision), the accounts asked
    about as positions in the cohort, and the answers.
    """
    promised = cohort.promised
    asked = promised > 0 if conduct.follows else np.ones(len(cohort), dtype=np.bool_)
    accounts = np.flatnonzero(asked)
    owner = np.tile(accounts, conduct.futures)
    course = _Course.begin(cohort, owner, conduct)
    if len(owner):
        _run(cohort, owner, course, conduct, witness)
    return _collect(course, promised, asked)


@dataclass(slots=True)
class _Course:
    """How far each row has come; arrays have one entry a row, a future of an account.

    ``earliest`` and ``latest`` are the months between which the limit ``target`` is to be back.
    """

    earliest: Rows
    latest: Rows
    target: Vector
    is_following: Mask
    is_back: Mask
    ended: Rows  # the month in which following ended
    conduct: Conduct
    seen: dict[str, Mask] = field(default_factory=dict)

    @classmethod
    def begin(cls, cohort: CutAccounts, owner: Rows, conduct: Conduct) -> _Course:
        count = len(owner)
        if conduct.follows:
            earliest = cohort.promised[owner] - 1
            latest = earliest + 1
            target = cohort.promised_limit[owner]
        else:
            earliest = np.zeros(count, dtype=np.int64)
            latest = np.full(count, cohort.bundle.advice.search.months - 1)
            target = np.array([cut.limit_before for cut in cohort.cuts])[owner]
        names = ("stepped", "cut_again", "proposed_again", "cut_after", "proposed_after")
        seen = {
            name: np.zeros(count, dtype=np.bool_)
            for name in (*names, "defaulted_after", "closed", "written_off", "shocked")
        }
        return cls(
            earliest=earliest,
            latest=latest,
            target=target,
            is_following=np.ones(count, dtype=np.bool_),
            is_back=np.zeros(count, dtype=np.bool_),
            ended=latest.copy(),
            conduct=conduct,
            seen=seen,
        )

    def is_after(self, month: int) -> Mask:
        """The rows whose limit is back, and that are asked about after it."""
        last = self.ended + self.conduct.months_after
        is_after: Mask = ~self.is_following & self.is_back & (month <= last)
        return is_after

    @property
    def last_month(self) -> int:
        """The last month that any row may have to be simulated in."""
        return int(self.latest.max()) + self.conduct.months_after

    def note_month(self, month: int, before: State, simulated: Simulated) -> None:
        """Note shocks and closed accounts while following, and defaults after it."""
        is_open = simulated.last["open"].astype(np.bool_)
        days = np.where(is_open, simulated.last["days_past_due"], 0)
        self.seen["written_off"] |= self.is_following & (days >= CHARGED_OFF_DAYS)
        self.seen["closed"] |= self.is_following & ~is_open & ~self.seen["written_off"]
        self.seen["shocked"] |= self.is_following & _newly_shocked(before, simulated.state)
        self.seen["defaulted_after"] |= self.is_after(month) & (days >= DEFAULT_DAYS)

    def note_answers(self, rows: Rows, decisions: Sequence[Decision], before: InForce) -> None:
        """Note what the answers did, by whether the row still follows its plan."""
        for row, decision in zip(rows.tolist(), decisions, strict=True):
            when = "again" if self.is_following[row] else "after"
            is_suspended_anew = decision.suspended and not before.suspended[row]
            if decision.action == "review":
                self.seen[f"proposed_{when}"][row] = True
            elif decision.new_limit < decision.credit_limit or is_suspended_anew:
                self.seen[f"cut_{when}"][row] = True
            elif decision.action == "restore" and self.is_following[row]:
                is_whole = decision.new_limit >= self.target[row] and not decision.suspended
                self.seen["stepped"][row] |= not is_whole

    def end_month(self, month: int, in_force: InForce) -> None:
        """End the following where the limit is back, or where the last month has passed."""
        is_back = (in_force.limit >= self.target) & ~in_force.suspended
        is_in_time = self.is_following & is_back & (month >= self.earliest)
        self.is_back |= is_in_time
        self.ended[is_in_time] = month
        self.is_following &= ~is_in_time & (month < self.latest)


def _run(
    cohort: CutAccounts,
    owner: Rows,
    course: _Course,
    conduct: Conduct,
    witness: Witness | None,
) -> None:
    """Simulate and ask month by month, until nobody is followed any more."""
    config = untreated(cohort.population.config)
    live = _way_of_living(cohort, owner, conduct)
    in_force = first_in_force(cohort).take(owner)
    simulated = _begin(cohort, owner, conduct.futures)
    for month in range(course.last_month + 1):
        is_asked = course.is_following | course.is_after(month)
        if not is_asked.any():
            return
        follows = course.is_following | conduct.keeps_on
        before = simulated.state
        simulated = live(month, simulated, follows, in_force)
        course.note_month(month, before, simulated)
        # Decisions cost far more than simulated months: no others are made.
        rows = np.flatnonzero(is_asked & simulated.last["open"].astype(np.bool_))
        decisions = ask(simulated, rows, in_force, config, cohort.bundle)
        course.note_answers(rows, decisions, in_force)
        if witness is not None:
            witness(month, owner[rows], decisions)
        owed = simulated.last["balance"][rows].astype(np.float64)
        in_force = put_in_force(in_force, rows, decisions, owed, cohort.bundle.policy)
        course.end_month(month, in_force)


def first_in_force(cohort: CutAccounts) -> InForce:
    """Return what is in force after the decisions that cut the cohort."""
    decisions = [advised.decision for advised in cohort.advised]
    count = len(decisions)
    nothing = InForce(np.zeros(count), np.zeros(count, dtype=np.bool_), (None,) * count)
    owed = cohort.population.state.balance[cohort.places]
    return put_in_force(nothing, np.arange(count), decisions, owed, cohort.bundle.policy)


_Living = Callable[[int, Simulated, Mask, InForce], Simulated]


def _way_of_living(cohort: CutAccounts, owner: Rows, conduct: Conduct) -> _Living:
    """How the rows live a month: by its number, who still follows, and what is in force."""
    config = untreated(cohort.population.config)
    if conduct.relives:
        habits = take_habits(recall_acts(cohort), owner)
        in_order = np.zeros(len(owner), dtype=np.int64)

        def relive(month: int, now: Simulated, follows: Mask, in_force: InForce) -> Simulated:
            habit = habits.repeat(month, in_order)
            acts = live_again(habit, in_force.limit, in_force.suspended)
            return live_month(now, acts, in_force, config)

        return relive
    plans = _plans(cohort, owner, conduct)

    def live(month: int, now: Simulated, follows: Mask, in_force: InForce) -> Simulated:
        own = while_followed(plans, follows)
        return simulate_month(now, own, in_force, config, conduct.exactly)

    return live


def _plans(cohort: CutAccounts, owner: Rows, conduct: Conduct) -> Plans:
    if not conduct.follows:
        return own_ways(len(owner))
    return plans_from_paths(cohort.plans).take(owner)


def _begin(cohort: CutAccounts, owner: Rows, futures: int) -> Simulated:
    population = cohort.population
    places = cohort.places[owner]
    numbers = np.repeat(np.arange(futures), len(owner) // futures)
    window = tuple(
        (number, {name: values[places] for name, values in columns.items()})
        for number, columns in population.months
    )
    return Simulated(population.state.take(places), window, numbers)


def _newly_shocked(before: State, after: State) -> Mask:
    in_shock = np.isin(after.shock, (INCOME_LOSS, ILLNESS))
    changed = after.shock != before.shock
    newly_shocked: Mask = in_shock & changed
    return newly_shocked


def _collect(course: _Course, promised: Rows, asked: Mask) -> FollowedPlans:
    """The notes of all rows as (futures, accounts), False for accounts that were not asked."""

    futures = course.conduct.futures

    def spread(of_rows: Mask) -> Mask:
        whole = np.zeros((futures, len(promised)), dtype=np.bool_)
        whole[:, asked] = of_rows.reshape(futures, -1)
        return whole

    notes = {name: spread(of_rows) for name, of_rows in course.seen.items()}
    return FollowedPlans(
        promised=promised,
        asked=asked,
        kept=spread(course.is_back),
        **notes,
    )
