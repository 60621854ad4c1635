"""One month of an account as JSON, made from the columns of :mod:`features.schema`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from features.schema import SMALLEST_AMOUNT, Column

_WRITTEN = {
    "amount": f", 0 or at least {SMALLEST_AMOUNT:g} away from it",
    "whole_number": ", written without a point",
}
_NO_MONEY: JsonDict = {
    "exclusiveMinimum": -SMALLEST_AMOUNT,
    "exclusiveMaximum": SMALLEST_AMOUNT,
    "not": {"const": 0},
}
_NULL = {
    "never": "",
    "any": "; null = unknown",
    "whole": "; null = unknown, in all statements or in none",
}


def statement_field(column: Column) -> Any:
    """The annotation and field of a column."""
    number = float if column.kind == "amount" else int
    low, high, above = (
        None if bound is None else number(bound)
        for bound in (column.low, column.high, column.above)
    )
    value: Any = Annotated[number, Field(ge=low, le=high, gt=above)]
    if column.kind == "amount":
        value = Annotated[value, *MONEY]
    kind = value if column.null == "never" else value | None
    return kind, Field(
        description=f"{column.meaning}; {column.unit}{_WRITTEN[column.kind]}{_NULL[column.null]}"
    )


def _some_money(amount: float) -> float:
    if 0.0 < abs(amount) < SMALLEST_AMOUNT:
        raise PydanticCustomError(
            "amount",
            "Input should be 0 or at least {smallest} away from it",
            {"smallest": SMALLEST_AMOUNT},
        )
    return amount + 0.0  # of -0.0 that makes 0.0


# of every amount
MONEY: tuple[Any, ...] = (AfterValidator(_some_money), Field(json_schema_extra={"not": _NO_MONEY}))
