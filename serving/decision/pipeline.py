"""Statements and a bundle to a decision with its reasons.  Read :func:`decide_many` first: the flow
is there.

Pure: no clock, network or environment; nothing is read but the bundle; the input is not changed.
The same statements, bundle and ``decided_at`` give the same decision to the last bit, whatever
other accounts are decided in the same call.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from features.build import Features, build
from features.schema import StatementError, Violation, check
from features.window import lay_out
from serving.decision.advice import advise as advise_module
from serving.decision.advice.constraints import UNCONSTRAINED, Constraints, check_constraints
from serving.decision.advice.projection import LimitCut
from serving.decision.advice.result import Advice
from serving.decision.bundle import Bundle
from serving.decision.ids import decision_ids
from serving.decision.notice import Notice, notice_of
from serving.decision.policy.dates import local_date
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply_many, refer_to_reviewer
from serving.decision.reasons.effects import by_group, effects
from serving.decision.reasons.ranking import (
    Evidence,
    Reason,
    principal_reasons,
    unexplainable,
    visible_effects,
)
from serving.decision.result import Advised, Decision, ProductError, Stages
from serving.decision.scoring.score import Scores, logit, score


def decide(statements: pl.DataFrame, bundle: Bundle, decided_at: datetime.datetime) -> Decision:
    """The decision for the one account in ``statements``; ValueError where there are several.

    See :func:`decide_many`.
    """
    decisions = decide_many(statements, bundle, decided_at)
    if len(decisions) != 1:
        raise ValueError(
            f"decide: expected the statements of one account, got {len(decisions)} accounts"
        )
    return decisions[0]


def decide_many(
    statements: pl.DataFrame, bundle: Bundle, decided_at: datetime.datetime
) -> list[Decision]:
    """One decision per account, in order of account.

    ``statements`` are windows as :mod:`features.schema` declares them, rows and columns in any
    order.  ``decided_at`` is aware of its time zone.  Raises
    :class:`features.schema.StatementError` for statements that break the schema or lie in the
    future, :class:`ProductError` for a product that the bundle does not know.
    """
    return stages(statements, bundle, decided_at).decisions


def advise(
    statements: pl.DataFrame,
    bundle: Bundle,
    decided_at: datetime.datetime,
    choices: Constraints = UNCONSTRAINED,
) -> Advised:
    """The decision for the one account in ``statements`` with the way back; ValueError where there
    are several.

    See :func:`advise_many`.
    """
    advised = advise_many(
        statements, bundle, decided_at, None if choices is UNCONSTRAINED else [choices]
    )
    if len(advised) != 1:
        raise ValueError(
            f"advise: expected the statements of one account, got {len(advised)} accounts"
        )
    return advised[0]


def advise_many(
    statements: pl.DataFrame,
    bundle: Bundle,
    decided_at: datetime.datetime,
    choices: Sequence[Constraints] | None = None,
    threads: int = 1,
) -> list[Advised]:
    """The decisions of :func:`decide_many` and, where the model cut a limit, the way back.

    ``choices`` has one entry an account, in order of account; None = nothing is settled by
    anybody.  Under ``review`` the advice is for the proposed cut.  Raises what :func:`decide_many`
    raises, ValueError for another number of choices, and :class:`ChoiceError` for choices that
    cannot be, whatever is decided.
    """
    made = stages(statements, bundle, decided_at)
    settled = [UNCONSTRAINED] * len(made.decisions) if choices is None else choices
    if len(settled) != len(made.decisions):
        raise ValueError(
            f"advise: expected choices for {len(made.decisions)} accounts, got {len(settled)}"
        )
    if choices is not None:
        window = lay_out(made.statements)
        for account, chosen in enumerate(choices):
            check_constraints(chosen, window, bundle.advice.search.rounding, account)
    cuts = [
        _cut_by_model(decision, outcome, bundle)
        for decision, outcome in zip(made.decisions, made.outcomes, strict=True)
    ]
    accounts = [
        d.account_id for d, cut in zip(made.decisions, cuts, strict=True) if cut is not None
    ]
    found = iter(
        advise_module.advise_many(
            made.statements.filter(pl.col("account_id").is_in(accounts))
            if len(accounts) < len(cuts)
            else made.statements,
            [cut for cut in cuts if cut is not None],
            [chosen for chosen, cut in zip(settled, cuts, strict=True) if cut is not None],
            bundle,
            local_date(decided_at, bundle.policy),
            threads,
        )
        if accounts
        else ()
    )
    return [
        _advised(decision, outcome, None if cut is None else next(found), bundle)
        for decision, outcome, cut in zip(made.decisions, made.outcomes, cuts, strict=True)
    ]


def _cut_by_model(decision: Decision, outcome: Outcome, bundle: Bundle) -> LimitCut | None:
    """The cut, or the proposal of one, where the model made it; a rule's cut is nothing that
    behaviour wins back.
    """
    after = decision.new_limit if decision.proposed_limit is None else decision.proposed_limit
    # Under review the policy proposes what it would have done: at such a probability, that nothing
    # more is drawn.
    proposes = (
        decision.action == "review" and decision.probability >= bundle.policy.suspend.probability
    )
    suspended = decision.action == "suspend" or proposes
    if not (outcome.by_model and (after < decision.credit_limit or suspended)):
        return None
    return LimitCut(decision.product, decision.as_of, decision.credit_limit, after, suspended)


def _advised(decision: Decision, outcome: Outcome, found: Advice | None, bundle: Bundle) -> Advised:
    notes = bundle.advice.notes
    below = logit(decision.cut_off) - decision.log_odds
    if found is None:
        return Advised(decision, below, (notes["by_rule" if outcome.hits else "not_cut"],), None)
    proposed = (notes["proposed"],) if decision.action == "review" else ()
    return Advised(decision, below, proposed + found.notes, found)


def stages(statements: pl.DataFrame, bundle: Bundle, decided_at: datetime.datetime) -> Stages:
    """The same flow with what each stage made."""
    checked = _check_no_future_months(check(statements), bundle, decided_at)
    features = build(checked)
    scores = score(
        features.matrix(bundle.features), _known_products(features, bundle), bundle.scorer
    )
    evidence = _evidence(features, scores, bundle)
    outcomes = _outcomes(features, scores, evidence, bundle, decided_at)
    evidence = _with_effects(checked, features, evidence, outcomes, bundle)
    outcomes = [
        _referred_if_unexplainable(*pair, bundle, decided_at)
        for pair in zip(outcomes, evidence, strict=True)
    ]
    ids = decision_ids(checked, bundle.digest, decided_at)
    told = [
        _reasons_and_notice(*pair, bundle, decided_at)
        for pair in zip(outcomes, evidence, strict=True)
    ]
    rows = zip(
        features.accounts.iter_rows(),
        scores.log_odds,
        scores.base_log_odds,
        evidence,
        outcomes,
        ids,
        told,
        strict=True,
    )
    decisions = [
        Decision(
            decision_id=decision_id,
            account_id=account_id,
            product=product,
            as_of=as_of,
            decided_at=decided_at.astimezone(datetime.UTC),
            action=outcome.action,
            credit_limit=proof.values["limit_now"],
            new_limit=outcome.new_limit,
            proposed_limit=outcome.proposed_limit,
            effective_on=outcome.effective_on,
            review_on=outcome.review_on,
            review_because=outcome.review_because,
            probability=float(probability),
            log_odds=float(log_odds),
            base_log_odds=float(base),
            cut_off=bundle.policy.cut_off,
            reasons=reasons,
            notice=notice,
        )
        for (
            (account_id, product, as_of),
            log_odds,
            base,
            proof,
            outcome,
            decision_id,
            (reasons, notice),
        ), probability in zip(rows, scores.probability, strict=True)
    ]
    return Stages(checked, features, scores, evidence, outcomes, decisions)


def _check_no_future_months(
    statements: pl.DataFrame, bundle: Bundle, decided_at: datetime.datetime
) -> pl.DataFrame:
    """The statements, none of which may be of a month that has not begun on the lender's clock."""
    today = local_date(decided_at, bundle.policy)
    if statements["month"].max() > today:  # type: ignore[operator]  # never null: check() saw to it
        late = statements.filter(pl.col("month") > today)
        first = tuple(
            (str(a), f"{m:%Y-%m}") for a, m in late.head(3).select("account_id", "month").rows()
        )
        violation = Violation("no month is in the future", late.height, first)
        raise StatementError(f"statements break the schema\n  {violation}", (violation,))
    return statements


def _known_products(features: Features, bundle: Bundle) -> list[str]:
    """The product of each account, for each of which there is a reference population."""
    products: list[str] = features.accounts["product"].to_list()
    unknown = [place for place, product in enumerate(products) if product not in bundle.medians]
    if unknown:
        raise ProductError(
            f"expected a product of {sorted(bundle.medians)}, got {products[unknown[0]]!r} "
            f"for account {features.accounts['account_id'][unknown[0]]} and {len(unknown) - 1} more"
        )
    return products


def _evidence(features: Features, scores: Scores, bundle: Bundle) -> list[Evidence]:
    products = features.accounts["product"].to_list()
    return [
        Evidence(
            contributions=dict(zip(bundle.features, contributions, strict=True)),
            values=dict(zip(features.names, values, strict=True)),
            reference=bundle.medians[product],
        )
        for product, contributions, values in zip(
            products, scores.contributions.tolist(), features.values.tolist(), strict=True
        )
    ]


def _outcomes(
    features: Features,
    scores: Scores,
    evidence: list[Evidence],
    bundle: Bundle,
    decided_at: datetime.datetime,
) -> list[Outcome]:
    rows = zip(features.accounts.iter_rows(), scores.probability.tolist(), evidence, strict=True)
    accounts = [
        Account(product, as_of, probability, proof.values)
        for (_, product, as_of), probability, proof in rows
    ]
    return apply_many(accounts, bundle.policy, decided_at)


def _with_effects(
    statements: pl.DataFrame,
    features: Features,
    evidence: list[Evidence],
    outcomes: list[Outcome],
    bundle: Bundle,
) -> list[Evidence]:
    """The evidence with what each behaviour did, of the accounts that the model cuts; nobody else
    is told reasons of it.
    """
    cut = [place for place, outcome in enumerate(outcomes) if outcome.by_model]
    if not cut:
        return evidence
    accounts = features.accounts[cut]
    if len(cut) < len(evidence):
        statements = statements.filter(pl.col("account_id").is_in(accounts["account_id"].implode()))
    found = effects(lay_out(statements), accounts["product"].to_list(), bundle).tolist()
    proven = list(evidence)
    for place, row in zip(cut, found, strict=True):
        proof = evidence[place]
        proven[place] = replace(
            proof,
            effects=visible_effects(
                by_group(row), proof.contributions, proof.values, proof.reference
            ),
        )
    return proven


def _referred_if_unexplainable(
    outcome: Outcome, proof: Evidence, bundle: Bundle, decided_at: datetime.datetime
) -> Outcome:
    """The outcome, or a person's where a machine may not state its reasons."""
    because = unexplainable(proof, bundle.wording) if outcome.by_model else ()
    if any(math.isnan(proof.values[name]) for name in bundle.never_missing):
        because += ("unseen_missing",)
    return (
        refer_to_reviewer(outcome, because, proof.values["limit_now"], bundle.policy, decided_at)
        if because
        else outcome
    )


def _reasons_and_notice(
    outcome: Outcome, proof: Evidence, bundle: Bundle, decided_at: datetime.datetime
) -> tuple[tuple[Reason, ...], Notice | None]:
    """The principal reasons, and the notice that tells the customer."""
    reasons = principal_reasons(proof, outcome.hits, outcome.by_model, bundle.wording)
    return reasons, notice_of(
        outcome, proof.values["limit_now"], reasons, bundle.wording, bundle.policy, decided_at
    )
