"""From statements and a bundle to a decision with its reasons, and to advice.

Read :func:`run_stages` first: it is the flow.

The functions here are pure: they use no clock, network or environment, read nothing but the bundle
and do not change their input.  The same statements, bundle, ``decided_at``, past and ``id_key``
give the same decision to the last bit, whichever other accounts are decided in the same call.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
import polars as pl

from features.build import FEATURE_NAMES, Features, latest_accounts, matrix_of, values_of
from features.schema import StatementError, Violation
from features.statements import Statements, read_table
from features.types import Matrix
from serving.decision.advice.advise import advise_many as advise_cut_accounts
from serving.decision.advice.constraints import UNCONSTRAINED, Constraints, check_constraints
from serving.decision.advice.result import Advice
from serving.decision.bundle import Bundle
from serving.decision.decisions import (
    Making,
    add_advice,
    cut_with_way_back,
    make_decisions,
)
from serving.decision.ids import UNKEYED
from serving.decision.policy.control import assign_arms
from serving.decision.policy.dates import local_date
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply_many, refer_to_reviewer
from serving.decision.policy.prior import Prior
from serving.decision.policy.prior.check import priors_in_order
from serving.decision.policy.rules import find_implausible
from serving.decision.policy.since_last import Earlier, explain_changes
from serving.decision.policy.without_cut import measure_without_cut
from serving.decision.reasons.amounts import add_amounts
from serving.decision.reasons.ranking import Evidence, Ranked, rank, unexplainable
from serving.decision.result import (
    NO_OPTIONS,
    AdviceOptions,
    Advised,
    Decision,
    Found,
    ProductError,
    Stages,
)
from serving.decision.scoring.score import Scores, logit, score

Priors: TypeAlias = Mapping[str, Prior]  # by account
EarlierDecisions: TypeAlias = Mapping[str, Earlier]  # by account
Past = TypeVar("Past", Prior, Earlier)


def decide(
    statements: pl.DataFrame | Statements,
    bundle: Bundle,
    decided_at: datetime.datetime,
    prior: Prior | None = None,
    id_key: bytes = UNKEYED,
    earlier: Earlier | None = None,
) -> Decision:
    """The decision for the only account in ``statements``.  See :func:`decide_many`.

    Args:
        statements: As for :func:`decide_many`, of one account.
        bundle: As for :func:`decide_many`.
        decided_at: As for :func:`decide_many`.
        prior: What earlier decisions left in force for the account; None = nothing.
        id_key: As for :func:`decide_many`.
        earlier: The latest earlier decision on the account; None = there was none.

    Raises:
        ValueError: ``statements`` has several accounts.
    """
    read = _read(statements)
    priors, before = _of_one(read, prior), _of_one(read, earlier)
    decisions = decide_many(read, bundle, decided_at, priors, id_key, before)
    if len(decisions) != 1:
        raise ValueError(
            f"decide: expected the statements of one account, got {len(decisions)} accounts"
        )
    return decisions[0]


def decide_many(
    statements: pl.DataFrame | Statements,
    bundle: Bundle,
    decided_at: datetime.datetime,
    priors: Priors | None = None,
    id_key: bytes = UNKEYED,
    earlier: EarlierDecisions | None = None,
) -> list[Decision]:
    """One decision per account, in order of account.

    Args:
        statements: Windows as :mod:`features.schema` declares them, rows and columns in any order;
            or as they were read (:mod:`features.statements`).
        bundle: The model, its reference population, the policy and the texts.
        decided_at: The time of the decision, with a time zone.
        priors: What earlier decisions left in force, by account; an account without one has nothing
            in force.
        id_key: Keys the decisions' ids, see :mod:`serving.decision.ids`, and draws the control arm;
            the service passes the key of its secrets.
        earlier: The latest earlier decision on each account that has one, by account: the decision
            says what changed since.

    Raises:
        StatementError: The statements break the schema, or a month is in the future.
        ProductError: The bundle has no reference population for an account's product.
        PriorError: A prior contradicts itself, the account's statements or the day.
        ValueError: ``decided_at`` has no time zone, or a prior or an earlier decision is of an
            account without statements.
    """
    return run_stages(statements, bundle, decided_at, priors, id_key, earlier).decisions


def advise(
    statements: pl.DataFrame | Statements,
    bundle: Bundle,
    decided_at: datetime.datetime,
    constraints: Constraints = UNCONSTRAINED,
    prior: Prior | None = None,
    id_key: bytes = UNKEYED,
) -> Advised:
    """The decision and the advice for the only account in ``statements``.

    See :func:`advise_many`.

    Raises:
        ValueError: ``statements`` has several accounts.
    """
    several = None if constraints is UNCONSTRAINED else [constraints]
    read = _read(statements)
    priors = _of_one(read, prior)
    advised = advise_many(
        read,
        bundle,
        decided_at,
        AdviceOptions(several),
        priors,
        id_key,
    )
    if len(advised) != 1:
        raise ValueError(
            f"advise: expected the statements of one account, got {len(advised)} accounts"
        )
    return advised[0]


def advise_many(
    statements: pl.DataFrame | Statements,
    bundle: Bundle,
    decided_at: datetime.datetime,
    options: AdviceOptions = NO_OPTIONS,
    priors: Priors | None = None,
    id_key: bytes = UNKEYED,
) -> list[Advised]:
    """The decisions of :func:`decide_many`, with advice for the accounts that were cut.

    Behaviour cannot win back what a rule alone took, unless the rule suspends.  Under ``review``
    the advice is for the proposed cut.

    Args:
        statements: As for :func:`decide_many`.
        bundle: As for :func:`decide_many`.
        decided_at: As for :func:`decide_many`.
        options: What the customers have fixed, the threads of the search, and the earlier decisions
            that :func:`decide_many` gets.
        priors: As for :func:`decide_many`.
        id_key: As for :func:`decide_many`.

    Raises:
        ConstraintError: Constraints are impossible for their account, whatever the decision.
        ValueError: The number of constraints is not the number of accounts; and all errors of
            :func:`decide_many`.
    """
    result = run_stages(statements, bundle, decided_at, priors, id_key, options.earlier)
    window = result.statements.window
    accounts = len(result.decisions)
    constraints = options.constraints
    fixed = [UNCONSTRAINED] * accounts if constraints is None else constraints
    if len(fixed) != accounts:
        raise ValueError(f"advise: expected choices for {accounts} accounts, got {len(fixed)}")
    for account, own in enumerate(constraints or ()):
        check_constraints(own, window, bundle.advice.search.rounding, account)

    cuts = {}
    for account, decision in enumerate(result.decisions):
        cut = cut_with_way_back(
            decision, result.outcomes[account], result.accounts[account], bundle.policy
        )
        if cut is not None:
            cuts[account] = cut
    advice: dict[int, Advice] = {}
    if cuts:
        found = advise_cut_accounts(
            window.take(np.array(list(cuts))),
            list(cuts.values()),
            [fixed[account] for account in cuts],
            bundle,
            local_date(decided_at, bundle.policy),
            options.threads,
        )
        advice = dict(zip(cuts, found, strict=True))
    return [
        add_advice(decision, result.outcomes[account], advice.get(account), bundle)
        for account, decision in enumerate(result.decisions)
    ]


def stages(
    statements: pl.DataFrame | Statements,
    bundle: Bundle,
    decided_at: datetime.datetime,
    priors: Priors | None = None,
    id_key: bytes = UNKEYED,
    earlier: EarlierDecisions | None = None,
) -> Stages:
    """The decisions of :func:`decide_many` with the result of each stage, as tables."""
    found = run_stages(statements, bundle, decided_at, priors, id_key, earlier)
    table, window = found.statements.table, found.statements.window
    return Stages(
        statements=table,
        window=window,
        features=Features(latest_accounts(table, window), FEATURE_NAMES, found.values),
        scores=found.scores,
        changes=found.changes,
        evidence=found.evidence,
        accounts=found.accounts,
        outcomes=found.outcomes,
        arms=found.arms,
        decisions=found.decisions,
    )


def run_stages(
    statements: pl.DataFrame | Statements,
    bundle: Bundle,
    decided_at: datetime.datetime,
    priors: Priors | None = None,
    id_key: bytes = UNKEYED,
    earlier: EarlierDecisions | None = None,
) -> Found:
    """The decisions of :func:`decide_many` with the result of each stage, as arrays."""
    today = local_date(decided_at, bundle.policy)
    read = _read(statements)
    _check_no_future_months(read, today)
    _check_products(read, bundle)
    values = values_of(read.window)
    remembered = priors_in_order(priors, read, values, today)
    scores = score(matrix_of(values, bundle.features), read.products, bundle.scorer)
    changes = explain_changes(read, values, scores, earlier or {}, bundle)
    evidence = _collect_evidence(read, values, scores, bundle)
    accounts = _accounts(read, scores, evidence, remembered)
    accounts = measure_without_cut(accounts, read, bundle, today)
    outcomes = apply_many(accounts, bundle.policy, decided_at)
    cut = [place for place, outcome in enumerate(outcomes) if outcome.by_model]
    evidence = add_amounts(read, evidence, cut)
    # Once for the referral and for the reasons.
    rankings = [
        rank(own, bundle.wording) if outcome.by_model else None
        for outcome, own in zip(outcomes, evidence, strict=True)
    ]
    outcomes = [
        _refer_if_unexplainable(
            outcome,
            accounts[place],
            _grounds(outcome, evidence[place], rankings[place], bundle),
            bundle,
            decided_at,
        )
        for place, outcome in enumerate(outcomes)
    ]
    outcomes, arms = assign_arms(outcomes, accounts, read.account_ids, bundle.policy, id_key)
    found = Found(
        statements=read,
        values=values,
        scores=scores,
        changes=changes,
        evidence=evidence,
        accounts=accounts,
        outcomes=outcomes,
        arms=arms,
    )
    making = Making(rankings, decided_at, id_key, earlier or {})
    found.decisions.extend(make_decisions(found, making, bundle))
    return found


def _check_no_future_months(read: Statements, today: datetime.date) -> None:
    """Raise :class:`StatementError` for months that have not begun on the lender's clock."""
    if max(read.as_of) <= today:
        return
    late = read.table.filter(pl.col("month") > today)
    rows = late.head(3).select("account_id", "month").rows()
    first = tuple((str(account), f"{month:%Y-%m}") for account, month in rows)
    violation = Violation("no month is in the future", late.height, first)
    raise StatementError(f"statements break the schema\n  {violation}", (violation,))


def _check_products(read: Statements, bundle: Bundle) -> None:
    """Raise :class:`ProductError` if a product has no reference population."""
    comparisons = bundle.comparisons
    unknown = [place for place, product in enumerate(read.products) if product not in comparisons]
    if unknown:
        known = tuple(sorted(comparisons))
        raise ProductError(
            f"expected a product of {[*known]}, got {read.products[unknown[0]]!r} "
            f"for account {read.account_ids[unknown[0]]} and {len(unknown) - 1} more",
            known,
        )


def _collect_evidence(
    read: Statements, values: Matrix, scores: Scores, bundle: Bundle
) -> list[Evidence]:
    """The contributions, values and comparison of each account, without amounts."""
    contributions, numbers = scores.contributions.tolist(), values.tolist()
    log_odds = scores.log_odds.tolist()
    cut_offs = {product: logit(bundle.policy.cut_off(product)) for product in set(read.products)}
    return [
        Evidence(
            contributions=dict(zip(bundle.features, contributions[account], strict=True)),
            values=dict(zip(FEATURE_NAMES, numbers[account], strict=True)),
            comparison=bundle.comparisons[product],
            excess=log_odds[account] - cut_offs[product],
        )
        for account, product in enumerate(read.products)
    ]


def _read(statements: pl.DataFrame | Statements) -> Statements:
    return statements if isinstance(statements, Statements) else read_table(statements)


def _of_one(read: Statements, past: Past | None) -> Mapping[str, Past] | None:
    """The prior or the earlier decision of the only account, by its id."""
    return None if past is None else {read.account_ids[0]: past}


def _accounts(
    read: Statements,
    scores: Scores,
    evidence: Sequence[Evidence],
    priors: Sequence[Prior | None],
) -> list[Account]:
    """The policy's view of each account."""
    probabilities = scores.probability.tolist()
    implausible = find_implausible(read.window).tolist()
    return [
        Account(
            product=read.products[place],
            as_of=as_of,
            probability=probabilities[place],
            features=evidence[place].values,
            prior=priors[place],
            implausible=implausible[place],
        )
        for place, as_of in enumerate(read.as_of)
    ]


def _has_unseen_missing(evidence: Evidence, bundle: Bundle) -> bool:
    """Whether the account lacks a value that no training row lacked."""
    return any(map(math.isnan, map(evidence.values.__getitem__, bundle.never_missing)))


def _grounds(
    outcome: Outcome,
    evidence: Evidence,
    ranked: Ranked | None,
    bundle: Bundle,
) -> tuple[str, ...]:
    """Why the reasons of an outcome may not be stated automatically; empty if they may."""
    because = unexplainable(evidence, bundle.wording, ranked) if outcome.by_model else ()
    if outcome.looked:
        # Where nothing pushes toward a cut any more, the margin alone is too small.
        because = tuple(ground for ground in because if ground != "no_principal_reason")
    return (*because, "unseen_missing") if _has_unseen_missing(evidence, bundle) else because


def _refer_if_unexplainable(
    outcome: Outcome,
    account: Account,
    because: tuple[str, ...],
    bundle: Bundle,
    decided_at: datetime.datetime,
) -> Outcome:
    """The outcome, or its referral to a reviewer on these grounds."""
    if not because:
        return outcome
    return refer_to_reviewer(outcome, because, account, bundle.policy, decided_at)
