"""One month of an account as JSON: field definitions made from :mod:`features.schema`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from features.limits import SMALLEST_AMOUNT, round_amount
from features.schema import COLUMNS, Column
from serving.web.models import Strict

# The context in which a request of the audit log is validated.  Earlier versions did not round, and
# such a request has to be decided on again with the amounts that decided.
AS_STORED: Mapping[str, bool] = {"as_stored": True}
_KIND_TEXT = {
    "amount": f", rounded to {SMALLEST_AMOUNT:g}",
    "whole_number": ", written without a point",
}
_AMOUNTS = tuple(column.name for column in COLUMNS if column.kind == "amount")
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


class RoundedAmounts(Strict):
    """The base of the statement: amounts are rounded together, after all of them were checked."""

    @model_validator(mode="after")
    def _round_amounts(self, info: ValidationInfo) -> Self:
        if info.context is AS_STORED:
            return self
        values = self.__dict__  # no field is set: that would validate it again
        for name in _AMOUNTS:
            amount = values[name]
            if amount is not None:
                values[name] = round_amount(amount)
        return self


def _round(amount: float, info: ValidationInfo) -> float:
    if info.context is AS_STORED:
        return amount
    return round_amount(amount)


# The annotations of every other amount.
MONEY: tuple[Any, ...] = (AfterValidator(_round),)
