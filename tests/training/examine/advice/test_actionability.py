from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from features.window import lay_out
from serving.decision.advice.constraints import UNCONSTRAINED
from serving.decision.advice.plans import finances_of, make_plan_grid
from serving.decision.advice.projection import Trajectories, project
from serving.decision.advice.rollout import concatenate_plans
from serving.decision.reasons.naming import group_of
from serving.decision.scoring.lightgbm_trees import read_trees
from serving.decision.scoring.score import Calibration, Scorer, score
from serving.decision.scoring.shapley import explain_one, make_explainer
from serving.decision.scoring.shapley_tables import flatten_trees as table_layout
from tests.training.conftest import part_of
from training.data.labels import Labelled
from training.examine.advice import actionability as actionability_module
from training.examine.advice.actionability import actionability
from training.examine.truth.cut_accounts import CutAccounts
from training.fit.config import FitConfig
from training.fit.fit import fit


def search_one(cut: CutAccounts, account: int) -> tuple[dict[str, bool], dict[str, float]]:
    """Whether each reason group is movable, and its largest reduction; one plan at a time."""
    bundle, alone = cut.bundle, part_of(cut, [account])
    window, months = lay_out(alone.statements), bundle.advice.search.months
    explainer = bundle.scorer.explainers[alone.cuts[0].product]
    groups = [group_of(name) for name in bundle.features]

    def sums(contributions: NDArray[np.float64]) -> dict[str, float]:
        return {
            g: float(sum(c for c, own in zip(contributions, groups, strict=True) if own == g))
            for g in groups
        }

    now, gained = sums(cut.contributions[account]), dict.fromkeys(groups, -np.inf)
    asked = bundle.policy.terms.minimum_share
    grid = make_plan_grid(
        finances_of(window)[0], alone.cuts[0].limit_before, bundle.advice, UNCONSTRAINED, asked
    )
    plans = concatenate_plans([grid.baselines.take([1]), grid.plans])  # carrying on first
    before: list[dict[str, float]] = []
    for place in range(len(plans)):
        trajectory = Trajectories(np.array([0]), plans.take([place]))
        outlook = project(window, trajectory, alone.cuts, bundle)
        for month in range(months):
            values = dict(zip(cut.names, outlook.features[month, 0], strict=True))
            explained = explain_one(np.array([values[name] for name in bundle.features]), explainer)
            found = sums(explained * bundle.scorer.calibration.slope)
            if place == 0:
                before.append(found)
                continue
            for group, total in found.items():
                gained[group] = max(gained[group], before[month][group] - total)
    movable = {group: total > 0 and gained[group] >= 0.5 * total for group, total in now.items()}
    return movable, gained


def stated_reasons(cut: CutAccounts) -> list[list[str]]:
    """The model's reasons stated to each account; a rule's reasons have no share."""
    return [
        [r.code for r in advised.decision.reasons if r.share is not None] for advised in cut.advised
    ]


def test_movable_is_what_some_plan_lowers_by_half_against_carrying_on(
    cut_accounts: CutAccounts,
) -> None:
    hard = [
        a
        for a, reasons in enumerate(stated_reasons(cut_accounts))
        if {"capacity", "overspending"} & set(reasons)
    ][:2]
    products = cut_accounts.products.tolist()
    of_each = {products.index(product) for product in set(products)}
    few = part_of(cut_accounts, sorted({*hard, *of_each}))
    assert len(set(few.products)) == 2
    slow = [search_one(few, account) for account in range(len(few))]
    movable = [moved for moved, _ in slow]
    table = actionability(few)
    pairs = [
        (account, group) for account, reasons in enumerate(stated_reasons(few)) for group in reasons
    ]
    for row in table.iter_rows(named=True):
        own = [
            movable[account][group] for account, group in pairs if row["reason"] in ("all", group)
        ]
        assert row["movable"] == pytest.approx(np.mean(own)), row["reason"]
        assert row["accounts"] == (len(few) if row["reason"] == "all" else len(own))
    helped = [
        any(movable[account][group] for group in reasons)
        for account, reasons in enumerate(stated_reasons(few))
    ]
    assert table["without"][0] == pytest.approx(1 - np.mean(helped))
    groups = sorted(slow[0][1])
    members = np.array(
        [[group == group_of(name) for group in groups] for name in few.bundle.features],
        dtype=np.float64,
    )
    expected = np.array([[gained[group] for group in groups] for _, gained in slow])
    assert actionability_module.max_reduction(few, range(len(few)), members) == pytest.approx(
        expected, abs=1e-9
    )
    found = actionability_module.find_movable(few)
    assert all(
        {group: bool(found[group][account]) for group in found} == movable[account]
        for account in range(len(few))
    )
    assert not all(movable[account][group] for account, group in pairs), "nothing to tell"


@pytest.mark.parametrize("block", [1, 5])
def test_it_does_not_depend_on_who_looks_ahead_together(
    block: int, cut_accounts: CutAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = part_of(cut_accounts, list(range(0, len(cut_accounts), 9)))
    whole = actionability(few)
    monkeypatch.setattr(actionability_module, "_ACCOUNTS_A_BLOCK", block)
    assert actionability(few).equals(whole)


@pytest.mark.slow
def test_each_reason_is_counted_as_often_as_it_is_told(cut_accounts: CutAccounts) -> None:
    table = actionability(cut_accounts)
    stated = [group for reasons in stated_reasons(cut_accounts) for group in reasons]
    assert dict(table[1:].select("reason", "accounts").iter_rows()) == {
        group: stated.count(group) for group in set(stated)
    }
    assert table["reason"][0] == "all"
    assert table["accounts"][1:].is_sorted(descending=True)
    assert table["movable"][0] == pytest.approx(
        np.average(table["movable"][1:], weights=table["accounts"][1:])
    )
    assert table["without"].null_count() == table.height - 1


@pytest.mark.parametrize("can", [True, False])
def test_who_can_move_nothing_is_without_recourse(
    can: bool, cut_accounts: CutAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(cut: CutAccounts) -> Mapping[str, NDArray[np.bool_]]:
        return {group_of(name): np.full(len(cut), can) for name in cut.bundle.features}

    monkeypatch.setattr(actionability_module, "find_movable", planted)
    table = actionability(cut_accounts)
    assert set(table["movable"]) == {float(can)}
    assert table["without"][0] == float(not can)


def test_one_movable_reason_is_recourse(
    cut_accounts: CutAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(cut: CutAccounts) -> Mapping[str, NDArray[np.bool_]]:
        return {
            group_of(name): np.full(len(cut), group_of(name) == "high_utilization")
            for name in cut.bundle.features
        }

    monkeypatch.setattr(actionability_module, "find_movable", planted)
    table = actionability(cut_accounts)
    without = [("high_utilization" not in reasons) for reasons in stated_reasons(cut_accounts)]
    assert 0.0 < table["without"][0] == pytest.approx(np.mean(without))


@pytest.mark.slow
def test_what_the_line_was_granted_on_moves_for_nobody_under_a_model_without_interactions(
    cut_accounts: CutAccounts, data: Labelled
) -> None:
    """Without interactions, no plan changes the contributions of income and original limit."""
    # Trees of one feature each, drawn at random: some have to take those of the capacity.
    stumps = fit(data, FitConfig(trees=300, depth=1, leaves=2, min_leaf=30, feature_share=0.01))
    layout = table_layout(read_trees(stumps.booster))
    rows = data.features.matrix(stumps.features)[:200]
    explainers = {
        product: make_explainer(layout, rows) for product in cut_accounts.bundle.comparisons
    }
    scorer = Scorer(
        stumps.booster,
        Calibration(stumps.calibration.slope, stumps.calibration.intercept),
        explainers,
    )
    assert stumps.features == cut_accounts.bundle.features
    judged = score(cut_accounts.matrix, cut_accounts.products.tolist(), scorer)
    plain = replace(
        cut_accounts,
        bundle=replace(cut_accounts.bundle, scorer=scorer),
        contributions=judged.contributions,
    )
    capacity = [place for place, name in enumerate(stumps.features) if group_of(name) == "capacity"]
    pushed = judged.contributions[:, capacity].sum(axis=1) > 0
    assert pushed.sum() > 10
    movable = actionability_module.find_movable(plain)
    assert not movable["capacity"][pushed].any()
    assert movable["high_utilization"].any()
