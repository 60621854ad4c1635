from __future__ import annotations

import datetime

import numpy as np
import polars as pl

from features.build import values_of
from features.catalogue.amounts import AMOUNTS, AS_OF
from features.months import month_index
from features.schema import check
from features.window import lay_out
from serving.decision.reasons.amounts import amounts_of
from tests.support.each import each

MONTH = datetime.date(2026, 10, 1)


def test_amounts_are_those_evaluated_together(some_windows: pl.DataFrame) -> None:
    window = lay_out(check(some_windows))
    expected = values_of(window, AMOUNTS)
    found = amounts_of(window, [MONTH] * len(expected))
    for amounts, row in zip(each(found), expected, strict=True):
        assert set(amounts) == {amount.name for amount in AMOUNTS} | {AS_OF}
        own = [amounts[amount.name] for amount in AMOUNTS]
        assert np.array_equal(own, row, equal_nan=True)
        assert amounts[AS_OF] == month_index(MONTH)
