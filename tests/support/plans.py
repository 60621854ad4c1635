"""Plans followed by other means than advice: month by month, through whole statements."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from features.ledger import Terms
from features.schema import check
from features.window import Months, lay_out
from serving.decision.advice.result import PlanPath
from serving.decision.advice.rollout import Plans, Variation, roll_forward
from serving.decision.bundle import Bundle
from serving.decision.config.advice import LEVERS
from serving.decision.pipeline import stages
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply, change_of
from serving.decision.policy.prior import Change, after
from serving.decision.result import Advised, Stages
from serving.decision.scoring.score import logit, probability_of

TERMS = Terms()
MONTHS = 12  # ahead


class Restoration(NamedTuple):
    """The limit that is in force again after a month; 0 = the next."""

    month: int
    limit: float


NEVER = Restoration(MONTHS, 0.0)


class Verdict(NamedTuple):
    """A month to come as the ordinary flow decides it."""

    log_odds: float
    free_with_margin: bool  # the model does nothing and no rule suspends, with the margin added
    free: bool
    limit: float  # that is back, CNY
    in_force: float  # limit in force in the month, CNY
    balance: float  # owed after it, CNY
    payment: float  # in it, CNY


def plans(count: int = 1, **changes: float) -> Plans:
    """That many times carrying on, with these changes."""
    as_before = {
        "on_time": 0.0,
        "extra": 0.0,
        "spending": np.inf,
        "no_cash": 0.0,
        "no_new_credit": 0.0,
        "repay_elsewhere": 0.0,
        "paid_share": 0.0,
        "paid_now": 0.0,
    }
    return Plans(**{name: np.full(count, value) for name, value in (as_before | changes).items()})


def plan_from_steps(path: PlanPath) -> Plans:
    """The plan that the steps state, read back from them."""
    values: dict[str, float] = {name: math.inf if name == "spending" else 0.0 for name in LEVERS}
    values |= {"paid_share": 0.0, "paid_now": 0.0}
    for step in path.steps:
        if step.lever == "on_time":
            values |= {"on_time": 1.0, "paid_share": step.share or 0.0}
            values["paid_now"] = step.amount or 0.0
        else:
            values[step.lever] = 1.0 if step.amount is None else step.amount
    return Plans(**{name: np.array([value]) for name, value in values.items()})


def roll_statements(
    statements: pl.DataFrame,
    plan: Plans,
    limit: float,
    suspended: bool = False,
    restored: Restoration = NEVER,
    rotation: int = 0,
) -> dict[str, Months]:
    """One account under each plan, with a reduced limit until another one is restored."""
    shape = (MONTHS, len(plan))
    windows = lay_out(statements).take(np.zeros(len(plan), dtype=np.int64))
    reduced = np.arange(MONTHS)[:, None] <= restored.month
    return roll_forward(
        windows,
        plan,
        limits=np.where(
            reduced,
            np.full(shape, limit),
            restored.limit,
        ),
        suspended=reduced & np.full(shape, suspended),
        terms=TERMS,
        variation=Variation(np.full(len(plan), rotation), np.zeros(len(plan))),
    )


def as_statements(
    statements: pl.DataFrame,
    columns: dict[str, Months],
    trajectory: int,
) -> pl.DataFrame:
    """A trajectory as a lender would send it: the window's statements, then those to come."""
    last = statements["month"][-1]
    first = last.year * 12 + last.month
    months = [
        datetime.date(
            month // 12,
            month % 12 + 1,
            1,
        )
        for month in range(first, first + MONTHS)
    ]
    numbers = {name: column[:MONTHS, trajectory][::-1] for name, column in columns.items()}
    coming = pl.DataFrame(numbers).fill_nan(None)
    coming = coming.with_columns(
        pl.Series("month", months),
        account_id=pl.lit(statements["account_id"][0]),
        product=pl.lit(statements["product"][0]),
    )
    coming = coming.select(pl.col(name).cast(dtype) for name, dtype in statements.schema.items())
    return pl.concat([statements, coming])


def cut_by_model(made: Stages) -> list[str]:
    """The accounts whose limit the model cuts."""
    return [
        decision.account_id
        for decision, outcome in zip(made.decisions, made.outcomes, strict=True)
        if outcome.by_model and decision.action in ("reduce", "suspend")
    ]


def limit_of(outcome: Outcome) -> float:
    """The new limit, decided or proposed."""
    return outcome.new_limit if outcome.proposed_limit is None else outcome.proposed_limit


def decide_months(
    statements: pl.DataFrame,
    plan: Plans,
    advised: Advised,
    bundle: Bundle,
    restored: Restoration = NEVER,
    rotation: int = 0,
) -> list[Verdict]:
    """Each month to come, by the ordinary flow on whole statements."""
    decision = advised.decision
    columns = roll_statements(
        statements, plan, decision.new_limit, decision.action == "suspend", restored, rotation
    )
    table = as_statements(statements, columns, 0)
    return [
        _decide_month(
            table[: statements.height + month][-24:],
            advised,
            bundle,
        )
        for month in range(1, MONTHS + 1)
    ]


class Asked(NamedTuple):
    """A month to come as the ordinary flow decides it, with what the answers before it left."""

    action: str
    limit: float  # in force after it, CNY
    suspended: bool  # after it
    month: Verdict


def ask_monthly(
    statements: pl.DataFrame,
    plan: Plans,
    bundle: Bundle,
    when: datetime.datetime,
    borrowed: float = 0.0,
) -> list[Asked]:
    """The decisions of a year on whole statements, each answer put into force.

    ``borrowed`` comes from one application elsewhere in the first month.

    The first decision is that of ``when``; a month is decided a month after the one before.
    """
    account_id = str(statements["account_id"][0])
    made = stages(statements, bundle, when)
    prior = after(None, _change(made, when))
    decision = made.decisions[0]
    limits, suspended = [decision.new_limit], [decision.suspended]
    months = []
    for month in range(1, MONTHS + 1):
        columns = roll_forward(
            lay_out(statements),
            plan,
            limits=_until_the_end(limits),
            suspended=_until_the_end(suspended).astype(np.bool_),
            terms=TERMS,
            variation=Variation(np.zeros(1, dtype=np.int64), np.array([borrowed])),
        )
        window = check(as_statements(statements, columns, 0)[: statements.height + month][-24:])
        then = when.replace(day=1) + datetime.timedelta(days=31 * month)
        then = then.replace(day=when.day, month=window["month"][-1].month)
        priors = {} if prior is None else {account_id: prior}
        made = stages(window, bundle, then, priors)
        decision = made.decisions[0]
        prior = after(prior, _change(made, then))
        limits.append(decision.new_limit)
        suspended.append(decision.suspended)
        verdict = Verdict(
            log_odds=decision.log_odds,
            free_with_margin=False,
            free=False,
            limit=decision.new_limit,
            in_force=float(window["credit_limit"][-1]),
            balance=float(window["balance"][-1]),
            payment=float(window["payment"][-1]),
        )
        months.append(Asked(decision.action, decision.new_limit, decision.suspended, verdict))
    return months


def _change(made: Stages, decided_at: datetime.datetime) -> Change:
    decision = made.decisions[0]
    return change_of(made.outcomes[0], made.accounts[0], decision.decision_id, decided_at.date())


def _until_the_end(known: Sequence[float]) -> Months:
    """A column of the months to come: what is known, and the last of it until the end."""
    column = [*known, *[known[-1]] * MONTHS][:MONTHS]
    return np.array(column, dtype=np.float64)[:, None]


def restoring_month(
    statements: pl.DataFrame,
    plan: Plans,
    advised: Advised,
    bundle: Bundle,
) -> int | None:
    """The month in which the decision asked monthly gives the whole limit back, 0 = the next.

    None if it does not, if anything is cut or put before a person in a year, if it is too close,
    or if the plan breaks a rule.
    """
    decision = advised.decision
    asked = ask_monthly(statements, plan, bundle, decision.decided_at)
    if any(one.action not in ("keep", "restore") for one in asked):
        return None
    whole = [one.limit >= decision.credit_limit and not one.suspended for one in asked]
    if not any(whole) or broken_rules(statements, [one.month for one in asked], advised):
        return None
    back = whole.index(True)
    margin = bundle.policy.restore.steps[-1].margin + bundle.advice.search.margin
    lowest = min(one.month.log_odds for one in asked[back : back + 2])
    return back if logit(decision.cut_off) - lowest >= margin else None


def broken_rules(
    statements: pl.DataFrame,
    months: Sequence[Verdict],
    advised: Advised,
) -> list[str]:
    """The rules of a plan that its months break, in words."""
    assert advised.advice is not None
    owed = [float(statements["balance"][-1]), *(month.balance for month in months)]
    first_excess = owed[0] - months[0].in_force
    excess = [first_excess, *(month.balance - month.in_force for month in months)]
    as_before = np.mean([month.probability for month in advised.advice.carry_on.path])
    risk = probability_of(np.array([month.log_odds for month in months])).mean()
    recent = statements["payment"][-6:].to_numpy()
    broken = []
    for earlier, later in itertools.pairwise(excess):
        if later > 0.005 and later >= earlier - 0.005:
            broken.append("over the limit in force")
            break
    if owed[-1] > max(owed[0], 0.0) + 0.005:
        broken.append("ends with more owed")
    if risk > as_before + 1e-12:
        broken.append("riskier than carrying on")
    # Plans state the payment that they start from in whole steps of 50 CNY.
    start = recent.mean() - 50.0
    if any(
        month.payment < min(start, max(before, 0.0)) - 0.005
        for before, month in zip(owed, months, strict=False)
    ):
        broken.append("less than is paid now")
    return broken


def _decide_month(
    statements: pl.DataFrame,
    advised: Advised,
    bundle: Bundle,
) -> Verdict:
    decision = advised.decision
    window = check(statements)
    as_of = window["month"][-1]
    decided_at = datetime.datetime(
        as_of.year,
        as_of.month,
        28,
        12,
        tzinfo=datetime.UTC,
    )
    made = stages(window, bundle, decided_at)
    log_odds = float(made.scores.log_odds[0])
    values = {**made.evidence[0].values, "limit_now": decision.credit_limit}
    margins = np.array([log_odds + bundle.advice.search.margin, log_odds])
    with_margin, without = (
        Account(decision.product, as_of, probability, values)
        for probability in probability_of(margins).tolist()
    )
    return Verdict(
        log_odds=log_odds,
        free_with_margin=_is_free(with_margin, decided_at, bundle),
        free=_is_free(without, decided_at, bundle),
        limit=limit_of(apply(with_margin, bundle.policy, decided_at)),
        in_force=float(window["credit_limit"][-1]),
        balance=float(window["balance"][-1]),
        payment=float(window["payment"][-1]),
    )


def _is_free(
    account: Account,
    decided_at: datetime.datetime,
    bundle: Bundle,
) -> bool:
    """Whether the model alone does nothing, and no rule suspends."""
    without_rules = dataclasses.replace(bundle.policy, rules=())
    alone = apply(account, without_rules, decided_at)
    untouched = alone.proposed_limit is None and alone.new_limit == account.features["limit_now"]
    outcome = apply(account, bundle.policy, decided_at)
    return untouched and not any(hit.rule.suspend for hit in outcome.hits)
