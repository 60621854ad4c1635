"""Who goes on with what the reasons named, followed through the served decision."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.each import each
from tests.training.conftest import part_of
from training.examine.advice import same_again as module
from training.examine.advice.relived import recall_acts
from training.examine.advice.same_again import same_again
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


def test_the_months_are_complete_by_each_account_s_own_history(
    few: CutAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every answer gives all back, each share is of months that were asked about."""
    monkeypatch.setattr(module, "share_back", lambda below, restore: np.ones(len(below)))
    row = same_again(few).row(0, named=True)
    assert row["complete"] == row["between"] == 1.0
    length = recall_acts(few).length
    assert ((length >= 1) & (length <= 6)).all()
