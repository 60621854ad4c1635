"""One month of an account as JSON: field definitions made from :mod:`features.schema`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field, ValidationInfo

from features.limits import FEN, SMALLEST_AMOUNT, round_amount
from features.schema import COLUMNS, Column

# The context in which a request of the audit log is validated.  Earlier versions did not round, and
# such a request has to be decided on again with the amounts that decided.
AS_STORED: Mapping[str, bool] = {"as_stored": True}
_KIND_TEXT = {
    "amount": f", rounded to {SMALLEST_AMOUNT:g}",
    "whole_number": ", written without a point",
}
_AMOUNTS = tuple(column.name for column in COLUMNS if column.kind == "amount")
_take_amounts: Callable[[Mapping[str, Any]], tuple[float | None, ...]] = itemgetter(*_AMOUNTS)
_NULL_TEXT = {
    "never": "",
    "any": "; null = unknown",
    "whole": "; null = unknown, in all statements or in none",
}


def statement_field(column: Column) -> Any:
    """Return the annotation and the pydantic field of a column."""
    number_type = float if column.kind == "amount" else int
    lowest = column.low
    if column.above is not None:
        lowest = column.above + SMALLEST_AMOUNT  # a smaller amount may be rounded to the bound

    def bound(value: float | None) -> float | int | None:
        return None if value is None else number_type(value)

    number: Any = Annotated[
        number_type,
        Field(
            ge=bound(lowest),
            le=bound(column.high),
        ),
    ]
    annotation = number if column.null == "never" else number | None
    unit = column.unit + _KIND_TEXT[column.kind] + _NULL_TEXT[column.null]
    return annotation, Field(description=f"{column.meaning}; {unit}")


def _round_together(statements: list[Any], info: ValidationInfo) -> list[Any]:
    """The statements with their amounts rounded, after all of them were checked."""
    # No field is set: that would validate it again.
    fields = [statement.__dict__ for statement in statements]
    if info.context is AS_STORED or _are_rounded(list(map(_take_amounts, fields))):
        return statements
    for own in fields:
        for name in _AMOUNTS:
            amount = own[name]
            if amount is not None:
                own[name] = round_amount(amount)
    return statements


def _are_rounded(amounts: Sequence[tuple[float | None, ...]]) -> bool:
    """Whether :func:`features.limits.round_amount` changes none of them, as in most requests."""
    given = np.array(amounts, dtype=np.float64)  # None -> NaN
    rounded = np.rint(given * FEN) / FEN + 0.0  # 0.0 and not -0.0
    return rounded.tobytes() == given.tobytes()


# The annotation of a list of statements.
ROUNDED = AfterValidator(_round_together)


def _round(amount: float, info: ValidationInfo) -> float:
    if info.context is AS_STORED:
        return amount
    return round_amount(amount)


# The annotations of every other amount.
MONEY: tuple[Any, ...] = (AfterValidator(_round),)
