"""One month of an account as JSON: field definitions made from :mod:`features.schema`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from features.schema import SMALLEST_AMOUNT, Column

_KIND_TEXT = {
    "amount": f", 0 or at least {SMALLEST_AMOUNT:g} away from it",
    "whole_number": ", written without a point",
}
_NULL_TEXT = {
    "never": "",
    "any": "; null = unknown",
    "whole": "; null = unknown, in all statements or in none",
}
_BETWEEN_ZERO_AND_SMALLEST: JsonDict = {
    "exclusiveMinimum": -SMALLEST_AMOUNT,
    "exclusiveMaximum": SMALLEST_AMOUNT,
    "not": {"const": 0},
}


def statement_field(column: Column) -> Any:
    """Return the annotation and the pydantic field of a column."""
    number_type = float if column.kind == "amount" else int

    def bound(value: float | None) -> float | int | None:
        return None if value is None else number_type(value)

    number: Any = Annotated[
        number_type,
        Field(ge=bound(column.low), le=bound(column.high), gt=bound(column.above)),
    ]
    if column.kind == "amount":
        number = Annotated[number, *MONEY]
    annotation = number if column.null == "never" else number | None
    unit = column.unit + _KIND_TEXT[column.kind] + _NULL_TEXT[column.null]
    return annotation, Field(description=f"{column.meaning}; {unit}")


def _check_amount(amount: float) -> float:
    if 0.0 < abs(amount) < SMALLEST_AMOUNT:
        raise PydanticCustomError(
            "amount",
            "Input should be 0 or at least {smallest} away from it",
            {"smallest": SMALLEST_AMOUNT},
        )
    return amount + 0.0  # turns -0.0 into 0.0


# The annotations of every amount.
MONEY: tuple[Any, ...] = (
    AfterValidator(_check_amount),
    Field(json_schema_extra={"not": _BETWEEN_ZERO_AND_SMALLEST}),
)
