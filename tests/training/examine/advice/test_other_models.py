from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.window import lay_out
from serving.decision.advice.projection import Projection
from serving.decision.advice.result import PlanPath
from serving.decision.scoring.score import logit, probability_of
from tests.support.each import each
from training.data.labels import Labelled
from training.data.splits import Split
from training.examine.advice import other_models
from training.examine.advice.other_models import (
    fit_models,
    judge_by_other_models,
    project_plans,
    resample_accounts,
)
from training.examine.truth.cut_accounts import CutAccounts
from training.fit.config import FitConfig
from training.fit.fit import Fitted, fit, predict_log_odds

SPLITS: tuple[Split, ...] = ("train", "valid", "test")


@pytest.fixture(scope="module")
def outlook(cut_accounts: CutAccounts) -> Projection:
    return project_plans(cut_accounts)


def hold(cut: CutAccounts, outlook: Projection, higher: float) -> float:
    """The share of promises that hold under log-odds that are higher by so much."""
    return float(
        other_models.find_held_promises(
            cut, outlook, probability_of(outlook.log_odds + higher)
        ).mean()
    )


def test_the_letter_is_what_the_plan_s_path_told(
    cut_accounts: CutAccounts, outlook: Projection
) -> None:
    plans: list[PlanPath] = cut_accounts.plans
    for account, course in enumerate(plans):
        for month, told in enumerate(course.path):
            assert logit(told.probability) == pytest.approx(
                outlook.log_odds[month, account], abs=1e-9
            )
    assert len(outlook.log_odds) == cut_accounts.bundle.advice.search.months
    assert np.array_equal(
        outlook.account, np.arange(len(lay_out(cut_accounts.statements).months_observed))
    )


def test_the_model_that_promised_holds_every_promise(
    cut_accounts: CutAccounts, outlook: Projection
) -> None:
    held = other_models.find_held_promises(cut_accounts, outlook, probability_of(outlook.log_odds))
    assert held.all()
    assert len(held) == (cut_accounts.promised > 0).sum() > 20


def test_a_model_that_thinks_worse_of_everybody_holds_almost_none(
    cut_accounts: CutAccounts, outlook: Projection
) -> None:
    assert hold(cut_accounts, outlook, 3.0) < 0.1
    margin = cut_accounts.bundle.advice.search.margin
    # Each promise is made with the margin, and so it stands where the log-odds are higher by less.
    assert hold(cut_accounts, outlook, 0.99 * margin) == 1.0
    shares = [
        hold(cut_accounts, outlook, times * margin) for times in (-1.0, 0.0, 1.2, 1.5, 2.0, 3.0)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.9


def test_it_is_the_promised_month_and_the_next_that_count(
    cut_accounts: CutAccounts, outlook: Projection
) -> None:
    months = np.arange(len(outlook.log_odds))[:, None]
    promised = cut_accounts.promised
    asked = (months == promised - 1) | (months == promised)
    cut_offs = [logit(advised.decision.cut_off) for advised in cut_accounts.advised]
    # So low that nothing is cut or referred, and too high for any step back.
    waits = np.array(cut_offs)[None, :] - 0.2
    elsewhere = probability_of(np.where(asked, outlook.log_odds, waits))
    assert other_models.find_held_promises(cut_accounts, outlook, elsewhere).all()
    neither = probability_of(np.where(asked, waits, np.maximum(outlook.log_odds, waits)))
    assert not other_models.find_held_promises(cut_accounts, outlook, neither).any()
    next_month = probability_of(np.where(months == promised, outlook.log_odds, waits))
    held = other_models.find_held_promises(cut_accounts, outlook, next_month)
    last = promised[promised > 0] == len(months)
    assert not held[last].any(), "there is no next month to look at"
    assert held[~last].mean() > 0.5


def test_who_is_cut_is_cut_by_the_same_log_odds(cut_accounts: CutAccounts) -> None:
    now = np.array([advised.decision.log_odds for advised in cut_accounts.advised])
    assert other_models.share_cut(cut_accounts, probability_of(now)) == 1.0
    assert other_models.share_cut(cut_accounts, probability_of(now - 10.0)) == 0.0
    half = np.where(np.arange(len(now)) % 2 == 0, now, -10.0)
    assert other_models.share_cut(cut_accounts, probability_of(half)) == pytest.approx(
        (len(now) + 1) // 2 / len(now)
    )


def test_the_same_model_again_is_told_as_served(cut_accounts: CutAccounts, fitted: Fitted) -> None:
    worse = replace(fitted.calibration, intercept=fitted.calibration.intercept + 3.0)
    models = [("again", fitted), ("worse", replace(fitted, calibration=worse))]
    table = judge_by_other_models(cut_accounts, models)
    assert table["model"].to_list() == ["served", "again", "worse"]
    assert table.select("plans", "hold", "as_well").row(1) == table.select(
        "plans", "hold", "as_well"
    ).row(0)
    assert table.select("hold", "as_well").row(0) == (1.0, 1.0)
    assert table["hold"][2] < 0.1
    assert table["as_well"][2] == 1.0


@pytest.mark.slow
def test_refits_stand_between(cut_accounts: CutAccounts, data: Labelled) -> None:
    config = FitConfig(trees=40, min_leaf=30)
    table = judge_by_other_models(cut_accounts, fit_models(data, config, 2))
    assert table["model"].to_list() == ["served", "challenger", "refit 1", "refit 2"]
    others = table[1:]
    assert (others["hold"] > 0.9).all(), "the margin is there for that"
    assert others["as_well"].is_between(0.5, 0.999).all()
    refits = [
        predict_log_odds(
            fit(resample_accounts(data, seed), replace(config, seed=seed)), cut_accounts.matrix
        )
        for seed in (0, 1)
    ]
    assert others["as_well"].to_list()[1:] == [
        other_models.share_cut(cut_accounts, probability_of(scores)) for scores in refits
    ]
    assert not np.array_equal(refits[0], refits[1])
    assert (table["plans"] == (cut_accounts.promised > 0).sum()).all()


def rows_of(data: Labelled, split: Split) -> Counter[tuple[object, ...]]:
    """How often a split has each row: account, product, as_of and label."""
    accounts = data.features.accounts[data.rows(split).tolist()]
    return Counter(
        (*row, label)
        for row, label in zip(accounts.iter_rows(), data.label[data.rows(split)], strict=True)
    )


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_a_resample_has_whole_accounts_of_each_split_and_as_many(data: Labelled, seed: int) -> None:
    drawn = resample_accounts(data, seed)
    for split in SPLITS:
        whole, some = rows_of(data, split), rows_of(drawn, split)
        assert set(some) < set(whole)
        times: dict[object, set[int]] = {}
        for row in each(whole):
            times.setdefault(row[0], set()).add(some[row] // whole[row])
            assert some[row] % whole[row] == 0
        assert all(len(copies) == 1 for copies in times.values()), (
            "an account has all its rows or none"
        )
        copies = [next(iter(found)) for found in times.values()]
        assert sum(copies) == len(copies)
        assert max(copies) > 1


def test_a_resample_is_its_seed_s_and_brings_features_and_weights_along(data: Labelled) -> None:
    numbered = replace(data, weight=np.arange(1.0, len(data.label) + 1))
    one, again, other = (resample_accounts(numbered, seed) for seed in (4, 4, 5))
    rows, same, others = (
        np.array(drawn.weight).astype(np.int64) - 1 for drawn in (one, again, other)
    )
    assert np.array_equal(rows, same)
    assert not np.array_equal(np.sort(rows)[:1000], np.sort(others)[:1000])
    assert np.array_equal(one.features.values, data.features.values[rows], equal_nan=True)
    assert np.array_equal(one.label, data.label[rows])
    assert np.array_equal(one.split, data.split[rows])
    assert one.features.accounts.equals(data.features.accounts[rows.tolist()])
