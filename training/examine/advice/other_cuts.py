"""Promises to accounts that a person or a rule cuts: under review, and in arrears.

*Under review*: the model proposes a cut, and a person confirms it on the day of the decision, which
is what their advice assumes.  *Past due*: a rule suspends the account.  Its plan is followed like
any other, and so are the payments that lead out of arrears
(:mod:`serving.decision.advice.arrears`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from features.months import add_months
from features.schema import check
from features.types import Vector
from serving.decision.advice.result import ArrearsStep
from serving.decision.bundle import Bundle
from serving.decision.pipeline import advise_many, stages
from serving.decision.policy.dates import effective_date, local_date
from serving.decision.policy.outcome import Outcome
from serving.decision.result import Advised, Decision
from training.data.simulate.behaviour import Acts
from training.data.simulate.output import as_table
from training.data.simulate.state import State
from training.evaluate.metrics import wilson
from training.examine.advice.follow import (
    Conduct,
    first_in_force,
    follow_plans,
)
from training.examine.advice.followers import share_with_interval
from training.examine.truth.cut_accounts import CutAccounts, advise_accounts
from training.examine.truth.futures import DEFAULT_DAYS, untreated
from training.examine.truth.interventions import simulate_months
from training.examine.truth.population import Population

REVIEW, PAST_DUE = "under review", "past due"
MARGINS = (0.0,)  # of advice.toml's [search], beside the served one
MOST = 200  # accounts of a kind that are followed, spread evenly over those found
_PROMISES = {
    "kind": pl.String,
    "margin": pl.Float64,
    "accounts": pl.Int64,
    "plans": pl.Int64,
    "months": pl.Float64,
    "kept": pl.Float64,
    "kept_low": pl.Float64,
    "kept_high": pl.Float64,
    "exactly": pl.Float64,
    "exactly_low": pl.Float64,
    "exactly_high": pl.Float64,
    "cut_or_proposed": pl.Float64,
    "cut_or_proposed_low": pl.Float64,
    "cut_or_proposed_high": pl.Float64,
}
_WAYS = {
    "under": pl.Int64,
    "accounts": pl.Int64,
    "amount": pl.Float64,
    "kept": pl.Float64,
    "kept_low": pl.Float64,
    "kept_high": pl.Float64,
    "less": pl.Float64,
}


def find_other_cuts(population: Population, bundle: Bundle) -> dict[str, CutAccounts]:
    """Return the accounts of each kind that have advice, the cuts of reviews confirmed.

    A kind without an account is left out.
    """
    in_default = replace(population, statements=_statements_in_default(population))
    found = {REVIEW: _find(population, bundle, _is_proposed)}
    if not in_default.statements.is_empty():
        found[PAST_DUE] = _find(in_default, bundle, _is_past_due)
    return {kind: cohort for kind, cohort in found.items() if cohort is not None}


def _statements_in_default(population: Population) -> pl.DataFrame:
    """The checked windows of open accounts that are in default: the population leaves them out."""
    state = population.state
    _, last = population.months[-1]
    is_chosen = last["open"].astype(np.bool_) & (state.days_past_due >= DEFAULT_DAYS) & ~state.ended
    chosen = population.names.filter(pl.Series(is_chosen))
    window = list(population.months)
    statements = as_table(
        population.names,
        state.traits.cash_loan,
        window,
        population.config,
    )
    own = statements.filter(pl.col("account_id").is_in(chosen.implode()))
    return own if own.is_empty() else check(own)


def _find(
    population: Population, bundle: Bundle, is_chosen: Callable[[Outcome], bool]
) -> CutAccounts | None:
    """The chosen accounts that have advice; None without any."""
    decided = stages(population.statements, bundle, population.decided_at)
    chosen = [place for place, outcome in enumerate(decided.outcomes) if is_chosen(outcome)]
    if not chosen:
        return None
    places = chosen[:: math.ceil(len(chosen) / MOST)]
    cohort = advise_accounts(population, bundle, decided, places)
    confirmed = [
        replace(own, decision=_confirm(own.decision, decided.outcomes[place], bundle))
        for own, place in zip(cohort.advised, places, strict=True)
    ]
    has_advice = [place for place, own in enumerate(confirmed) if own.advice is not None]
    if not has_advice:
        return None
    return _take(replace(cohort, advised=tuple(confirmed)), has_advice)


def _is_proposed(outcome: Outcome) -> bool:
    return outcome.action == "review" and outcome.by_model


def _is_past_due(outcome: Outcome) -> bool:
    return outcome.action == "suspend" and not outcome.by_model


def _confirm(decision: Decision, outcome: Outcome, bundle: Bundle) -> Decision:
    """The decision as a person's confirmation on the same day puts it in force."""
    if decision.action != "review" or decision.proposed_limit is None:
        return decision
    policy = bundle.policy
    today = local_date(decision.decided_at, policy)
    return replace(
        decision,
        action="suspend" if outcome.suspends else "reduce",
        new_limit=decision.proposed_limit,
        effective_on=effective_date(today, policy),
        review_on=add_months(today, int(policy.dates.review_after_months)),
        suspended=outcome.suspends or outcome.suspended,
    )


def _take(cohort: CutAccounts, which: Sequence[int]) -> CutAccounts:
    rows = np.array(which)
    advised = tuple(cohort.advised[row] for row in which)
    ids = [own.decision.account_id for own in advised]
    return replace(
        cohort,
        places=cohort.places[rows],
        statements=cohort.statements.filter(pl.col("account_id").is_in(ids)),
        advised=advised,
        contributions=cohort.contributions[rows],
        values=cohort.values[rows],
        matrix=cohort.matrix[rows],
    )


def other_promises(cohorts: Mapping[str, CutAccounts]) -> pl.DataFrame:
    """Return one row for each kind of cut and margin of promises, the served margin first.

    ``cohorts`` are those of :func:`find_other_cuts`.

    - ``kind``; ``margin``; ``accounts`` with advice; ``plans`` with a promise, and ``months`` to it
    - ``kept``: the share of promises kept, as :mod:`training.examine.advice.follow` has it;
      ``exactly``: by customers who never pay more than the plan states
    - ``cut_or_proposed`` until then

    Shares have 95 % intervals that count accounts.
    """
    rows: list[dict[str, object]] = []
    for kind, cohort in cohorts.items():
        served = cohort.bundle.advice.search.margin
        for margin in dict.fromkeys((served, *MARGINS)):
            advised = _advise_with(margin, cohort)
            rows.append({"kind": kind, "margin": margin, **_promises(advised)})
    return pl.DataFrame(rows, _PROMISES)


def _advise_with(margin: float, cohort: CutAccounts) -> CutAccounts:
    """The same accounts and decisions, advised with another margin."""
    bundle = cohort.bundle
    if margin == bundle.advice.search.margin:
        return cohort
    search = replace(bundle.advice.search, margin=margin)
    varied = replace(bundle, advice=replace(bundle.advice, search=search))
    population = cohort.population
    again = advise_many(cohort.statements, varied, population.decided_at)
    advised = tuple(
        replace(new, decision=own.decision) for new, own in zip(again, cohort.advised, strict=True)
    )
    return replace(cohort, bundle=varied, advised=advised)


def _promises(cohort: CutAccounts) -> dict[str, object]:
    promised = cohort.promised
    found = follow_plans(cohort, Conduct(months_after=0))
    exactly = follow_plans(cohort, Conduct(exactly=True, futures=2, months_after=0))
    of, of_exactly = found.asked & ~found.closed, exactly.asked & ~exactly.closed
    return {
        "accounts": len(cohort),
        "plans": int((promised > 0).sum()),
        "months": float(promised[promised > 0].mean()) if found.asked.any() else None,
        **share_with_interval("kept", found.kept, of),
        **share_with_interval("exactly", exactly.kept, of_exactly),
        **share_with_interval("cut_or_proposed", found.cut_again | found.proposed_again, of),
    }


def ways_out(cohort: CutAccounts | None) -> pl.DataFrame:
    """Return one row for each step out of arrears: under 60 and under 30 days past due.

    No row without accounts.

    - ``under``; ``accounts`` with such a step; ``amount`` of it on average, CNY
    - ``kept``: the share whose next statement shows what the step says, if they pay the amount and
      nothing else; with its 95 % interval
    - ``less``: the share whose next statement shows fewer days than ``under`` if they pay a
      twentieth less
    """
    rows: list[dict[str, object]] = []
    if cohort is None:
        return pl.DataFrame(rows, _WAYS)
    for under in (60, 30):
        steps = {
            place: step
            for place, own in enumerate(cohort.advised)
            for step in _steps(own)
            if step.under == under
        }
        if not steps:
            continue
        count = len(steps)
        foreseen = np.array([step.days_past_due for step in steps.values()])
        amounts = np.array([step.amount for step in steps.values()])
        as_said = float((_days_after(cohort, list(steps), amounts) == foreseen).mean())
        less = float((_days_after(cohort, list(steps), 0.95 * amounts) < under).mean())
        low, high = wilson(as_said, count)
        rows.append(
            {
                "under": under,
                "accounts": count,
                "amount": float(amounts.mean()),
                "kept": as_said,
                "kept_low": low,
                "kept_high": high,
                "less": less,
            }
        )
    return pl.DataFrame(rows, _WAYS)


def _steps(advised: Advised) -> tuple[ArrearsStep, ...]:
    return () if advised.advice is None else advised.advice.arrears


def _days_after(cohort: CutAccounts, which: list[int], amounts: Vector) -> Vector:
    """Days past due on the next statement of these accounts, after these payments alone."""
    nothing = np.zeros(len(which))

    def pay(state: State, acts: Acts) -> Acts:
        return replace(
            acts,
            spend=nothing,
            cash_advance=nothing,
            payment=np.round(amounts, 2),
            days_late=np.zeros(len(which), dtype=np.int32),
        )

    population = cohort.population
    state = population.state.take(cohort.places[which])
    limit = first_in_force(cohort).limit[which]
    lived = simulate_months(
        state,
        1,
        untreated(population.config),
        0,
        pay,
        np.maximum(limit, 1.0),
    )
    ((_, statement),) = lived
    return statement["days_past_due"].astype(np.float64)
