from __future__ import annotations

import datetime

import numpy as np
import polars as pl
import pytest

from features.build import values_of
from features.catalogue.amounts import AMOUNTS, AS_OF
from features.months import month_index
from features.schema import check
from features.window import lay_out
from serving.decision.reasons.amounts import Amounts, WindowAmounts
from tests.support.each import each

MONTH = datetime.date(2026, 10, 1)


def test_amounts_are_those_evaluated_together(some_windows: pl.DataFrame) -> None:
    window = lay_out(check(some_windows))
    expected = values_of(window, AMOUNTS)
    of_window = WindowAmounts(window, [MONTH] * len(expected))
    for account, row in enumerate(each(expected)):
        amounts = Amounts(of_window, account)
        assert set(amounts) == {amount.name for amount in AMOUNTS} | {AS_OF}
        own = [amounts[amount.name] for amount in AMOUNTS]
        assert np.array_equal(own, row, equal_nan=True)
        assert amounts[AS_OF] == month_index(MONTH)


def test_there_is_no_other_amount(some_windows: pl.DataFrame) -> None:
    window = lay_out(check(some_windows))
    months = [MONTH] * len(window.months_observed)
    amounts = Amounts(WindowAmounts(window, months), 0)
    assert amounts.get("income", 1.5) == 1.5
    assert "income" not in amounts
    with pytest.raises(KeyError, match="income"):
        amounts["income"]
