"""The search for the plan of least effort that restores the limit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from features.types import Mask, Rows
from features.window import HALF_CENT, Values, Window
from serving.decision.advice.plans import PlanGrid
from serving.decision.advice.projection import (
    LimitCut,
    Projection,
    Restored,
    Trajectories,
    project,
)
from serving.decision.advice.result import PlanPath
from serving.decision.advice.rollout import Plans, concatenate_plans
from serving.decision.advice.wording import PlanTrajectory, plan_path
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
        baselines: Restorations by each of the two baselines.
    """

    def __init__(self, account: int, grid: PlanGrid) -> None:
        self.account, self.grid = account, grid
        self.evaluated = 0
        self.offers = Offers()
        self.baselines: tuple[Offers, ...] = ()
        self._first_plan = 0  # position of the plan of trajectory 0 of the offers
        self._lowest_risk, self._lowest_risk_plan = math.inf, 0

    @property
    def restored(self) -> Restored | None:
        """What the chosen plan restores; None as long as no plan does."""
        return self.offers.current

    @property
    def position(self) -> int:
        """The position of the chosen plan in the grid.

        As long as no plan restores the limit, that is the feasible plan of lowest risk in the last
        month.
        """
        if self.restored is None:
            return self._lowest_risk_plan
        return self._first_plan + self.restored.trajectory

    @property
    def is_open(self) -> bool:
        """Whether no plan is found and some are not evaluated yet."""
        return self.restored is None and self.evaluated < len(self.grid.plans)

    @property
    def shown_plans(self) -> Plans:
        """The chosen plan and the two baselines, in this order."""
        chosen = self.grid.plans.take([self.position])
        return concatenate_plans([chosen, self.grid.baselines])

    @property
    def shown_offers(self) -> tuple[Offers, ...]:
        """The offers of :attr:`shown_plans`."""
        return (self.offers, *self.baselines)

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
        self._keep_lowest_risk(feasible, projection.log_odds[-1, feasible])
        margin = bundle.advice.search.margin
        self.offers = Offers(projection.restorations(feasible, margin, bundle))

    def evaluate_baselines(
        self,
        trajectories: Rows,
        projection: Projection,
        bundle: Bundle,
    ) -> None:
        """Evaluate the two baselines, whose trajectories these are.

        Carrying on promises nothing: its months are as good as the best habits, which no plan could
        ask for.
        """
        margin = bundle.advice.search.margin
        on_time = projection.restorations(trajectories[:1], margin, bundle)
        self.baselines = (Offers(on_time), Offers())

    def confirm(
        self,
        trajectories: Rows,
        projection: Projection,
        bundle: Bundle,
    ) -> bool:
        """Whether the limit stays restored in all shown plans.

        ``trajectories`` are those of :attr:`shown_plans` with the limit restored as offered.  An
        offer after which the limit does not stay is rejected.
        """
        all_stay = True
        for offers, trajectory in zip(self.shown_offers, trajectories.tolist(), strict=True):
            offer = offers.current
            if offer is not None and not projection.stays_restored(trajectory, offer.month, bundle):
                offers.reject_current()
                all_stay = False
        return all_stay

    def _is_feasible(self, plans: Plans, most_paid: Values) -> Mask:
        every = self.grid.plans
        # The minimum due and the amounts that the customer has fixed are asked for whatever the
        # customer can pay.  Only a plan that asks for more has to be payable.
        asks_least = (plans.extra == every.extra.min()) & (
            plans.repay_elsewhere == every.repay_elsewhere.min()
        )
        feasible: Mask = asks_least | (most_paid <= self.grid.payable + HALF_CENT)
        return feasible

    def _keep_lowest_risk(self, trajectories: Rows, last_log_odds: Values) -> None:
        if not len(trajectories):
            return
        lowest = int(np.argmin(last_log_odds))
        if last_log_odds[lowest] < self._lowest_risk:
            self._lowest_risk = float(last_log_odds[lowest])
            self._lowest_risk_plan = self._first_plan + int(trajectories[lowest])


def search_plans(
    searches: Sequence[PlanSearch],
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> dict[int, list[PlanPath]]:
    """For each account the chosen plan and the two baselines, month by month.

    The paths have the limit restored from the month on in which it comes back.  First evaluates
    FIRST_PLANS plans of all accounts in one batch, then the rest for accounts without a solution.
    """
    _evaluate_plans(searches, FIRST_PLANS, window, cuts, bundle)
    paths: dict[int, list[PlanPath]] = {}
    pending = list(searches)
    while pending:
        still_open = [search for search in pending if search.is_open]
        if still_open:
            _evaluate_plans(still_open, None, window, cuts, bundle)
        paths |= _confirm_plans(pending, window, cuts, bundle)
        pending = [search for search in pending if search.account not in paths]
    return paths


def _evaluate_plans(
    searches: Sequence[PlanSearch],
    most: int | None,
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> None:
    """Evaluate up to ``most`` further plans per account (None = all).

    The first call also evaluates the two baselines.
    """
    plans = []
    for search in searches:
        end = None if most is None else search.evaluated + most
        following = slice(search.evaluated, end)
        plans.append((search.account, search.grid.plans.take(following)))
    # In the same projection, because one costs as much as a hundred trajectories.
    new = [search for search in searches if search.evaluated == 0]
    baselines = [(search.account, search.grid.baselines) for search in new]
    projection, trajectories = _project(
        plans + baselines,
        window,
        cuts,
        bundle,
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
) -> dict[int, list[PlanPath]]:
    """The paths of the accounts whose offers hold; the others' offers are rejected."""
    plans = [(search.account, search.shown_plans) for search in searches]
    restored = [offers.current for search in searches for offers in search.shown_offers]
    projection, trajectories = _project(plans, window, cuts, bundle, restored)
    paths = {}
    for search, (account, shown), own in zip(searches, plans, trajectories, strict=True):
        if search.confirm(own, projection, bundle):
            efforts = (float(search.grid.effort[search.position]), 0.0, 0.0)
            paths[account] = [
                plan_path(
                    PlanTrajectory(
                        plan=shown.take([k]),
                        effort=efforts[k],
                        income=search.grid.income,
                        trajectory=int(own[k]),
                        restored=offers.current,
                    ),
                    projection,
                    bundle,
                )
                for k, offers in enumerate(search.shown_offers)
            ]
    return paths


def _project(
    plans: Sequence[tuple[int, Plans]],
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
    restored: Sequence[Restored | None] = (),
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
    trajectories = Trajectories(
        account=account,
        plans=concatenate_plans([own for _, own in plans]),
        cut_in_force=np.arange(months)[:, None] < np.array(first_free),
        restored_limit=np.array(limits),
    )
    projection = project(window, trajectories, cuts, bundle)
    ends = np.cumsum(lengths)
    return projection, np.split(np.arange(len(account)), ends[:-1])
