"""A quick look at the statements of one account: whether they keep every rule of the schema.

A request has one account, mostly in order and without a fault.  On its arrays this takes a quarter
of the time of the rules themselves, which say what is wrong and where.  It never says that a rule
is broken: what it cannot tell to be sound, :func:`features.schema.check` goes through rule by rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.limits import FIRST_MONTH, LAST_MONTH, is_account_id

if TYPE_CHECKING:  # at run time the schema imports this module
    from features.schema import Column

_EARLIEST, _LATEST = np.datetime64(FIRST_MONTH, "M"), np.datetime64(LAST_MONTH, "M")
_ONE_MONTH = np.timedelta64(1, "M")


@dataclass(frozen=True, slots=True)
class NumberRules:
    """What the schema declares of its columns of numbers, in one order.

    Attributes:
        names: The columns.
        low, high: The least and the largest value, float64 (columns, 1).
        nulls: ``never``, ``any`` or ``whole``, for each column.
    """

    names: tuple[str, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    nulls: tuple[str, ...]


def number_rules(columns: Sequence[Column]) -> NumberRules:
    """The rules of those of some columns that hold numbers."""
    of_numbers = [column for column in columns if column.kind in ("amount", "whole_number")]
    low = []
    for column in of_numbers:
        if column.above is None:
            low.append(column.low)
        else:  # above 0 is from the least positive number on
            low.append(float(np.nextafter(column.above, np.inf)))
    high = [column.high for column in of_numbers]
    return NumberRules(
        names=tuple(column.name for column in of_numbers),
        low=np.array(low, dtype=np.float64)[:, np.newaxis],
        high=np.array(high, dtype=np.float64)[:, np.newaxis],
        nulls=tuple(column.null for column in of_numbers),
    )


def is_sound(frame: pl.DataFrame, rules: NumberRules, longest: int | None) -> bool:
    """Whether a table has one account, in order of month, and certainly keeps every rule.

    Args:
        frame: The declared columns with their declared types, at least one row, in any order.
        rules: Of the columns of numbers.
        longest: The most statements of the account; None = any number.
    """
    if longest is not None and frame.height > longest:
        return False
    return (
        _is_one_account(frame["account_id"])
        and _are_months_in_order(frame["month"])
        and _is_one_product(frame["product"])
        and _are_numbers_allowed(frame, rules)
    )


def _is_one_account(names: pl.Series) -> bool:
    name = names[0]
    if names.null_count() or not is_account_id(name):
        return False
    return bool((names == name).all())


def _are_months_in_order(days: pl.Series) -> bool:
    """Whether they are firsts of months, each the one after the last."""
    if days.null_count():
        return False
    dates = days.to_numpy()
    months = dates.astype("datetime64[M]")
    if months[0] < _EARLIEST or months[-1] > _LATEST:
        return False
    return bool((months == dates).all() and (np.diff(months) == _ONE_MONTH).all())


def _is_one_product(products: pl.Series) -> bool:
    if products.null_count():
        return False
    codes = products.to_physical().to_numpy()
    return bool((codes == codes[0]).all())


def _are_numbers_allowed(frame: pl.DataFrame, rules: NumberRules) -> bool:
    numbers = np.empty((len(rules.names), frame.height))
    unknown = 0
    for place, name in enumerate(rules.names):
        values = frame[name]
        nulls = values.null_count()
        null = rules.nulls[place]
        if nulls and (null == "never" or (null == "whole" and nulls < frame.height)):
            return False
        unknown += nulls
        numbers[place] = values.to_numpy()  # null becomes NaN
    inside = (numbers >= rules.low) & (numbers <= rules.high)
    # A number is inside its range or is null; NaN, which is no null, is neither.
    return int(np.count_nonzero(inside)) + unknown == numbers.size
