"""The search for the plan of least effort that restores the limit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from features.types import Mask, Rows
from features.window import HALF_CENT, Values, Window
from serving.decision.advice import rules
from serving.decision.advice.plans import PlanGrid
from serving.decision.advice.projection import (
    LimitCut,
    MeanCourse,
    Projection,
    Restored,
    Trajectories,
    project,
)
from serving.decision.advice.result import FoundPaths
from serving.decision.advice.rollout import Plans, Variation, concatenate_plans
from serving.decision.advice.wording import PlanTrajectory, carry_on_path, plan_path
from serving.decision.bundle import Bundle

# Plans of each account that are evaluated first, together.  Half of all accounts find theirs among
# them, and the others lose little.
FIRST_PLANS = 12


class Offers:
    """Restorations in order of effort, of which one is current until it is rejected.

    They are computed one by one, because each takes several decisions of the policy and the first
    one mostly holds.
    """

    def __init__(self, restorations: Iterator[Restored] | None = None) -> None:
        self._following: Iterator[Restored] = restorations or iter(())
        self.current: Restored | None = None
        self.reject_current()

    def reject_current(self) -> None:
        """Make the next restoration the current one, None after the last."""
        self.current = next(self._following, None)


class PlanSearch:
    """The search over the plans of one account, in order of effort.

    Offers are found with the cut in force.  :meth:`confirm` checks them with the limit restored.

    Attributes:
        account: Position of the account in the window.
        grid: Its plans.
        evaluated: Number of plans that were evaluated.
        offers: Restorations by the plans evaluated last.
        on_time_only: Restorations by paying on time only.
        carry_on: The mean of carrying on, once the baselines are evaluated.
    """

    def __init__(self, account: int, grid: PlanGrid, balance: float) -> None:
        self.account, self.grid = account, grid
        self._balance_now = balance
        self.evaluated = 0
        self.offers = Offers()
        self.on_time_only = Offers()
        self.carry_on: MeanCourse
        self._first_plan = 0  # position of the plan of trajectory 0 of the offers
        self._lowest_risk = math.inf
        self._lowest_risk_plan: int | None = None
        # Restorations by plans that break a rule; looked at only where no other plan is found.
        self._unsound: list[Iterator[Restored]] = []
        self._risk_as_before = math.inf

    @property
    def restored(self) -> Restored | None:
        """What the chosen plan restores; None as long as no plan does."""
        return self.offers.current

    @property
    def position(self) -> int | None:
        """The position of the chosen plan in the grid.

        As long as no plan restores the limit, that is the feasible plan of lowest risk in the last
        month that keeps the rules; None if none keeps them.
        """
        if self.restored is None:
            return self._lowest_risk_plan
        return self._first_plan + self.restored.trajectory

    @property
    def effort(self) -> float:
        """The effort of the chosen plan; 0 without one."""
        return 0.0 if self.position is None else float(self.grid.effort[self.position])

    @property
    def is_open(self) -> bool:
        """Whether no plan is found and some are not evaluated yet."""
        return self.restored is None and self.evaluated < len(self.grid.plans)

    @property
    def shown_plans(self) -> Plans:
        """Paying on time only, and the chosen plan if there is one, in this order."""
        if self.position is None:
            return self.grid.on_time_only
        chosen = self.grid.plans.take([self.position])
        return concatenate_plans([self.grid.on_time_only, chosen])

    @property
    def shown_offers(self) -> tuple[Offers, ...]:
        """The offers of :attr:`shown_plans`."""
        chosen = () if self.position is None else (self.offers,)
        return (self.on_time_only, *chosen)

    def finds_harmful_plans_only(self) -> bool:
        """Whether plans would restore the limit, but each of them breaks a rule.

        To be called when the search is over.
        """
        if self.restored is not None:
            return False
        return any(next(offers, None) is not None for offers in self._unsound)

    def evaluate(
        self,
        trajectories: Rows,
        projection: Projection,
        bundle: Bundle,
    ) -> None:
        """Evaluate the next plans, whose trajectories these are."""
        first = self.evaluated
        self.evaluated += len(trajectories)
        plans = self.grid.plans.take(slice(first, self.evaluated))
        feasible = trajectories[self._is_feasible(plans, projection.most_paid[trajectories])]
        # Trajectories of one account follow each other in a projection.
        self._first_plan = first - int(trajectories[0])
        self._keep_lowest_risk(feasible, projection)
        self.offers = self._offer(feasible, projection, bundle)
        margin = bundle.advice.search.margin
        self._unsound.append(projection.restorations(feasible, margin, bundle))

    def evaluate_baselines(
        self,
        trajectories: Rows,
        projection: Projection,
        bundle: Bundle,
    ) -> None:
        """Evaluate the baselines: paying on time only, and carrying on in each rotation of habits.

        Carrying on promises nothing: its months are as good as the best habits, which no plan could
        ask for.
        """
        self.carry_on = projection.mean_course(trajectories[1:], bundle)
        self._risk_as_before = float(self.carry_on.probability.mean())
        self.on_time_only = self._offer(trajectories[:1], projection, bundle)

    def confirm(
        self,
        trajectories: Rows,
        projection: Projection,
        bundle: Bundle,
    ) -> bool:
        """Whether the limit stays restored in all shown plans, and they keep the rules.

        ``trajectories`` are those of :attr:`shown_plans` with the limit restored as offered.  An
        offer after which the limit does not stay, or whose months break a rule, is rejected.
        """
        keeps = self._keeps_rules(trajectories, projection)
        all_hold = True
        for offers, trajectory, kept in zip(
            self.shown_offers, trajectories.tolist(), keeps.tolist(), strict=True
        ):
            offer = offers.current
            if offer is None:
                continue
            if not kept or not projection.stays_restored(trajectory, offer.month, bundle):
                offers.reject_current()
                all_hold = False
        return all_hold

    def _offer(self, trajectories: Rows, projection: Projection, bundle: Bundle) -> Offers:
        """The restorations by these trajectories, without those that are sure to break a rule.

        The projection has the cut in force.  With the limit back, more is owed at the end, and
        never less.
        """
        last_balance = projection.balances[-1, trajectories]
        lasting = trajectories[rules.owes_no_more(last_balance, self._balance_now)]
        within = rules.stays_within_limit(
            projection.balances[:, lasting], projection.limits[:, lasting], self._balance_now
        )
        column = {trajectory: place for place, trajectory in enumerate(lasting.tolist())}
        restorations = projection.restorations(lasting, bundle.advice.search.margin, bundle)
        return Offers(
            offer
            for offer in restorations
            if within[: offer.month + 1, column[offer.trajectory]].all()
        )

    def _keeps_rules(self, trajectories: Rows, projection: Projection) -> Mask:
        """Whether each of these trajectories keeps all rules in all months, (trajectories,)."""
        balance = projection.balances[:, trajectories]
        limit = projection.limits[:, trajectories]
        probability = projection.probabilities[:, trajectories]
        within = rules.stays_within_limit(balance, limit, self._balance_now).all(axis=0)
        owes_no_more = rules.owes_no_more(balance[-1], self._balance_now)
        keeps: Mask = within & owes_no_more & rules.is_no_riskier(probability, self._risk_as_before)
        return keeps

    def _is_feasible(self, plans: Plans, most_paid: Values) -> Mask:
        every = self.grid.plans
        # The minimum due and the amounts that the customer has fixed are asked for whatever the
        # customer can pay.  Only a plan that asks for more has to be payable.
        asks_least = (plans.extra == every.extra.min()) & (
            plans.repay_elsewhere == every.repay_elsewhere.min()
        )
        feasible: Mask = asks_least | (most_paid <= self.grid.payable + HALF_CENT)
        return feasible

    def _keep_lowest_risk(self, trajectories: Rows, projection: Projection) -> None:
        keeping = trajectories[self._keeps_rules(trajectories, projection)]
        if not len(keeping):
            return
        last_log_odds = projection.log_odds[-1, keeping]
        lowest = int(np.argmin(last_log_odds))
        if last_log_odds[lowest] < self._lowest_risk:
            self._lowest_risk = float(last_log_odds[lowest])
            self._lowest_risk_plan = self._first_plan + int(keeping[lowest])


def search_plans(
    searches: Sequence[PlanSearch],
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> dict[int, FoundPaths]:
    """For each account the chosen plan and the baselines, month by month.

    The paths have the limit restored from the month on in which it comes back.  First evaluates
    FIRST_PLANS plans of all accounts in one batch, then the rest for accounts without a solution.
    """
    _evaluate_plans(searches, FIRST_PLANS, window, cuts, bundle)
    found: dict[int, FoundPaths] = {}
    pending = list(searches)
    while pending:
        still_open = [search for search in pending if search.is_open]
        if still_open:
            _evaluate_plans(still_open, None, window, cuts, bundle)
        found |= _confirm_plans(pending, window, cuts, bundle)
        pending = [search for search in pending if search.account not in found]
    return found


def _evaluate_plans(
    searches: Sequence[PlanSearch],
    most: int | None,
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> None:
    """Evaluate up to ``most`` further plans per account (None = all).

    The first call also evaluates the baselines.
    """
    plans = []
    for search in searches:
        end = None if most is None else search.evaluated + most
        following = slice(search.evaluated, end)
        plans.append((search.account, search.grid.plans.take(following)))
    # In the same projection, because one costs as much as a hundred trajectories.
    new = [search for search in searches if search.evaluated == 0]
    baselines = [(search.account, search.grid.baselines) for search in new]
    rotations = [np.zeros(len(own), dtype=np.int64) for _, own in plans]
    rotations += [search.grid.rotations for search in new]
    projection, trajectories = _project(
        plans + baselines,
        window,
        cuts,
        bundle,
        rotation=np.concatenate(rotations),
    )
    for search, own in zip(new, trajectories[len(plans) :], strict=True):
        search.evaluate_baselines(own, projection, bundle)
    for search, own in zip(searches, trajectories[: len(plans)], strict=True):
        search.evaluate(own, projection, bundle)


def _confirm_plans(
    searches: Sequence[PlanSearch],
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> dict[int, FoundPaths]:
    """The paths of the accounts whose offers hold; the others' offers are rejected."""
    plans = [(search.account, search.shown_plans) for search in searches]
    restored = [offers.current for search in searches for offers in search.shown_offers]
    projection, trajectories = _project(plans, window, cuts, bundle, restored)
    found = {}
    for search, (account, shown), own in zip(searches, plans, trajectories, strict=True):
        if not search.confirm(own, projection, bundle):
            continue
        on_time_only, *chosen = [
            plan_path(
                PlanTrajectory(
                    plan=shown.take([k]),
                    effort=search.effort if k else 0.0,
                    income=search.grid.income,
                    trajectory=int(own[k]),
                    restored=offers.current,
                ),
                projection,
                bundle,
            )
            for k, offers in enumerate(search.shown_offers)
        ]
        carry_on = carry_on_path(search.carry_on, cuts[account])
        found[account] = FoundPaths(
            plan=chosen[0] if chosen else carry_on,
            on_time_only=on_time_only,
            carry_on=carry_on,
            only_harmful=search.finds_harmful_plans_only(),
        )
    return found


def _project(
    plans: Sequence[tuple[int, Plans]],
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
    restored: Sequence[Restored | None] = (),
    rotation: Rows | None = None,
) -> tuple[Projection, list[Rows]]:
    """The projection of plans by account, and the trajectories of each account's plans in it.

    ``restored`` has, for each trajectory, from when on which limit is in force again; by default
    the cut stays in force.
    """
    months = bundle.advice.search.months
    lengths = [len(own) for _, own in plans]
    account = np.repeat([account for account, _ in plans], lengths)
    first_free, limits = [], []
    offers = restored or [None] * len(account)
    for owner, one in zip(account, offers, strict=True):
        first_free.append(months if one is None else one.month + 1)
        limits.append(cuts[owner].limit_before if one is None else one.limit)
    varied = None
    if rotation is not None:
        varied = Variation(rotation, borrowed=np.zeros(len(rotation)))
    trajectories = Trajectories(
        account=account,
        plans=concatenate_plans([own for _, own in plans]),
        cut_in_force=np.arange(months)[:, None] < np.array(first_free),
        restored_limit=np.array(limits),
        variation=varied,
    )
    projection = project(window, trajectories, cuts, bundle)
    ends = np.cumsum(lengths)
    return projection, np.split(np.arange(len(account)), ends[:-1])
