"""Who goes on with what the reasons named, followed through the served decision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from features.months import add_months
from serving.decision.pipeline import decide_many
from tests.support.each import each
from tests.training.conftest import part_of
from training.examine.advice import same_again as module
from training.examine.advice.relived import recall_acts
from training.examine.advice.same_again import (
    log_odds_before,
    months_before_cut,
    same_again,
)
from training.examine.truth.cut_accounts import CutAccounts


@pytest.fixture(scope="module")
def few(cut_accounts: CutAccounts) -> CutAccounts:
    return part_of(cut_accounts, list(range(0, len(cut_accounts), 2)))


def test_the_same_statements_give_no_limit_back(few: CutAccounts) -> None:
    """The control is the months between: there the same acts stand in another order."""
    table = same_again(few)
    row = table.row(0, named=True)
    assert (row["action"], row["accounts"]) == ("all", len(few))
    assert row["complete"] < 0.15 < row["between"]
    assert table["accounts"][1:].sum() == len(few)
    for own in each(table.iter_rows(named=True)):
        assert own["complete_low"] <= own["complete"] <= own["complete_high"]
        assert own["restored"] + own["written_off"] <= 1.0
    assert 0.6 < row["uncut_before"] <= 1.0


def test_the_months_are_complete_by_each_account_s_own_history(
    few: CutAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every answer gives all back, each share is of months that were asked about."""
    monkeypatch.setattr(module, "share_back", lambda below, restore: np.ones(len(below)))
    row = same_again(few).row(0, named=True)
    assert row["complete"] == row["between"] == 1.0
    length = recall_acts(few).length
    assert ((length >= 1) & (length <= 6)).all()


def test_months_before_the_cut_are_scored_as_they_were_decided_on_then(few: CutAccounts) -> None:
    """The oracle is the served decision on the statements of that time."""
    before = log_odds_before(few, 4)
    assert before.shape == (4, len(few))
    assert before[0].tolist() == [one.decision.log_odds for one in few.advised]
    ids = [one.decision.account_id for one in few.advised]
    for months in each((1, 3)):
        last = add_months(few.population.as_of, -months)
        known = few.statements.filter(pl.col("month") <= last)
        decisions = decide_many(known, few.bundle, few.population.decided_at)
        scored = {decision.account_id: decision.log_odds for decision in decisions}
        expected = [scored.get(name, np.nan) for name in ids]
        assert before[months] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_a_month_repeats_the_one_whose_acts_come_again(few: CutAccounts) -> None:
    """The oracle is the half-year itself, with each month's distance from the cut as its acts."""
    habits = recall_acts(few)
    distance = np.arange(len(habits.spend))[::-1, np.newaxis] * np.ones(len(few))
    numbered = replace(habits, spend=distance)
    in_order = np.zeros(len(few), dtype=np.int64)
    for month in each(range(14)):
        own = numbered.repeat(month, in_order).spend
        assert months_before_cut(np.full(len(few), month), habits.length).tolist() == own.tolist()
