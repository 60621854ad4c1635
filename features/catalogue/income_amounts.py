"""What sentences state of the income: amounts beside a share of it, and when it changed."""

from __future__ import annotations

import numpy as np

from features.catalogue.amount import (
    first_month,
    make_amount,
    make_month,
    months_with,
    of_peak,
)
from features.window import LITTLE, Values, Window


def _months_of_income(w: Window, name: str, months: int) -> Values:
    """How many of the last months have both an income on file and the value of ``name``."""
    known = ~np.isnan(w[name][:months])
    counted: Values = known.sum(axis=0).astype(np.float64)
    return counted


def _since_last_income(w: Window) -> Values:
    """Months since the latest statement with an income; NaN if none has one."""
    return first_month(~np.isnan(w["income"]))


def _first_of_present_income(w: Window) -> Values:
    """Months since the income on file became what it is; NaN if it always was."""
    other = ~(w["income_on_file"] == w.now("income_on_file"))
    return first_month(other) - 1.0


def _low(w: Window, months: int) -> Values:
    """The lowest income on file after the highest one of the last months.

    NaN where it is not lower than the present one; amounts that differ by LITTLE are equal.
    """
    present = w.now("income_on_file")
    highest = w.max("income_on_file", months)
    lowest = present
    for since in range(1, months):
        is_after = w.max("income_on_file", since) < highest
        lowest = np.where(is_after, w.min("income_on_file", since), lowest)
    return np.where(lowest < present - LITTLE, lowest, np.nan)


def _low_ago(w: Window, months: int) -> Values:
    """Months since the statement that has it, the latest of several; NaN if there is no such low.

    Not a month for which the income of an earlier one is used.
    """
    return first_month(w["income"][:months] == _low(w, months))


INCOME_AMOUNTS = (
    make_amount(
        "spend_of_income_3",
        lambda w: w.total("spend_with_income", 3),
    ),
    make_amount(
        "spend_of_income_12",
        lambda w: w.total("spend_with_income", 12),
    ),
    make_month(
        "spend_to_income_3_months",
        lambda w: _months_of_income(w, "spend_with_income", 3),
    ),
    make_month(
        "spend_to_income_12_months",
        lambda w: _months_of_income(w, "spend_with_income", 12),
    ),
    make_amount(
        "cash_of_income_6",
        lambda w: w.total("cash_with_income", 6),
    ),
    make_month(
        "cash_to_income_6_months",
        lambda w: _months_of_income(w, "cash_with_income", 6),
    ),
    make_month(
        "cash_to_income_6_in",
        lambda w: months_with(w, "cash_with_income", 6),
    ),
    make_amount(
        "income_peak_12",
        lambda w: w.max("income_on_file", 12),
    ),
    make_amount(
        "income_peak_13",
        lambda w: w.max("income_on_file", 13),
    ),
    make_amount(
        "income_low_12",
        lambda w: _low(w, 12),
    ),
    make_amount(
        "income_low_13",
        lambda w: _low(w, 13),
    ),
    make_month(
        "income_change_12_low",
        lambda w: _low_ago(w, 12),
    ),
    # Months for which the income of an earlier one is used, because there is none since.
    *(
        make_month(f"{name}_carried", _since_last_income)
        for name in (
            "spend_to_income_3",
            "spend_to_income_12",
            "cash_to_income_6",
            "external_debt_to_income",
            "total_debt_to_income",
            "income_change_12",
        )
    ),
)
# Whole months back from ``as_of``; a sentence states the month's name.
INCOME_MONTHS_AGO = (
    make_month(
        "income_peak_ago",
        lambda w: of_peak(w, "income_on_file", 12),
    ),
    make_month(
        "income_peak_13_ago",
        lambda w: of_peak(w, "income_on_file", 13),
    ),
    make_month(
        "income_low_13_ago",
        lambda w: _low_ago(w, 13),
    ),
    make_month(
        "income_known_ago",
        _since_last_income,
    ),
    make_month(
        "income_since_ago",
        _first_of_present_income,
    ),
)
