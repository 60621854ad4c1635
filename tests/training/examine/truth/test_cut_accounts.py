from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from features.build import build
from features.months import add_months
from features.window import lay_out
from serving.decision.advice.constraints import UNCONSTRAINED
from serving.decision.advice.plans import finances_of, make_plan_grid
from serving.decision.advice.wording import Teller, plan_steps
from serving.decision.bundle import Bundle
from serving.decision.pipeline import advise, decide_many
from serving.decision.result import Decision
from tests.support.each import each
from training.data.config import DataError
from training.examine.truth.cut_accounts import CutAccounts, find_cut_accounts, plans_from_paths
from training.examine.truth.population import Population


@pytest.fixture(scope="module")
def decisions(examined: Population, bundle: Bundle) -> list[Decision]:
    return decide_many(examined.statements, bundle, examined.decided_at)


def by_model(decision: Decision) -> bool:
    """Whether the model cut: its reasons have a share, a rule's have none."""
    return any(reason.share is not None for reason in decision.reasons)


def test_it_is_who_is_cut_by_the_model(
    cut_accounts: CutAccounts, decisions: list[Decision], examined: Population
) -> None:
    expected = [d for d in decisions if d.action in ("reduce", "suspend") and by_model(d)]
    assert [advised.decision for advised in cut_accounts.advised] == expected
    assert 50 < len(cut_accounts) == len(expected) < sum(d.action != "keep" for d in decisions)
    ids = [decision.account_id for decision in expected]
    assert examined.names[cut_accounts.places].to_list() == ids
    assert cut_accounts.statements["account_id"].unique(maintain_order=True).to_list() == ids


def test_each_is_told_what_it_would_be_told_alone(
    cut_accounts: CutAccounts, bundle: Bundle, examined: Population
) -> None:
    for advised in each(cut_accounts.advised[::15]):
        alone = examined.statements.filter(pl.col("account_id") == advised.decision.account_id)
        assert advise(alone, bundle, examined.decided_at) == advised


def test_rows_are_the_accounts_own(cut_accounts: CutAccounts, bundle: Bundle) -> None:
    features = build(cut_accounts.statements)
    assert features.names == cut_accounts.names
    assert np.array_equal(cut_accounts.values, features.values, equal_nan=True)
    assert np.array_equal(cut_accounts.matrix, features.matrix(bundle.features), equal_nan=True)
    assert np.array_equal(
        cut_accounts.values[:, cut_accounts.model_places], cut_accounts.matrix, equal_nan=True
    )
    decided = [advised.decision for advised in cut_accounts.advised]
    gained = [decision.log_odds - decision.base_log_odds for decision in decided]
    assert cut_accounts.contributions.sum(axis=1) == pytest.approx(gained, abs=1e-9)
    assert cut_accounts.products.tolist() == [decision.product for decision in decided]
    for cut, decision in zip(cut_accounts.cuts, decided, strict=True):
        assert (cut.limit_before, cut.limit_after) == (decision.credit_limit, decision.new_limit)
        assert cut.suspended == (decision.action == "suspend")


def test_plans_are_read_back_from_what_their_steps_tell(
    cut_accounts: CutAccounts, bundle: Bundle
) -> None:
    plans, window = plans_from_paths(cut_accounts.plans), lay_out(cut_accounts.statements)
    tried = 0
    for account, (course, means, cut) in enumerate(
        zip(cut_accounts.plans, finances_of(window), cut_accounts.cuts, strict=True)
    ):
        own = plans.take([account])
        tried_for = make_plan_grid(
            means, cut.limit_before, bundle.advice, UNCONSTRAINED, bundle.policy.terms.minimum_share
        )
        grid = tried_for.plans
        teller = Teller(bundle.advice, means.income, tried_for.paid_months, cut.suspended)
        assert plan_steps(own, teller) == course.steps
        same = [getattr(grid, name) == getattr(own, name) for name in grid.__dataclass_fields__]
        assert np.all(same, axis=0).sum() == 1, "one of the plans that were tried"
        tried += len(course.steps)
    assert tried > 2 * len(cut_accounts)


def test_a_promise_is_in_months_from_the_decision(cut_accounts: CutAccounts) -> None:
    for months, plan in zip(cut_accounts.promised.tolist(), cut_accounts.plans, strict=True):
        assert plan.restored == (
            add_months(cut_accounts.population.as_of, months) if months else None
        )
    assert 0 < cut_accounts.promised.max() <= cut_accounts.bundle.advice.search.months


@pytest.mark.parametrize("kind", ["product", "history", "action"])
def test_segments_are_a_partition(kind: str, cut_accounts: CutAccounts) -> None:
    segments = cut_accounts.segments()
    assert segments["all"].all()
    assert len(segments["all"]) == len(cut_accounts)
    parts = [members for name, members in segments.items() if name.startswith(kind)]
    assert len(parts) == 2
    assert (np.sum(parts, axis=0) == 1).all()
    assert all(0 < members.sum() < len(cut_accounts) for members in parts)


def test_segments_are_what_they_are_named(cut_accounts: CutAccounts) -> None:
    segments = cut_accounts.segments()
    observed = cut_accounts.values[:, cut_accounts.names.index("months_observed")]
    assert np.array_equal(segments["history thin"], observed < 12)
    actions = [advised.decision.action for advised in cut_accounts.advised]
    assert segments["action suspend"].tolist() == [action == "suspend" for action in actions]


def test_a_model_that_cuts_nobody_is_refused(
    examined: Population, bundle: Bundle, decisions: list[Decision]
) -> None:
    kept = [decision.account_id for decision in decisions if decision.action == "keep"][:100]
    safe = replace(
        examined, statements=examined.statements.filter(pl.col("account_id").is_in(kept))
    )
    with pytest.raises(
        DataError, match="expected accounts whose limit the model cuts, got none of 100"
    ):
        find_cut_accounts(safe, bundle)
