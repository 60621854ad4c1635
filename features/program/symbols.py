"""Symbols: what an expression of the catalogue gets instead of arrays while it is traced.

A :class:`TracedWindow` has the verbs of :class:`features.window.Window`.  A verb returns a
:class:`Symbol`, and arithmetic, comparisons and ufuncs of symbols are symbols again.  Each writes a
:class:`Step`; a step that occurs twice is written once.

Whatever has no compiled form is refused with its name when the catalogue is traced, and never
evaluated in another way.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from features.schema import PRODUCTS
from features.window import DERIVED, STORED_COLUMNS, Window

# ufunc -> operation; those of two conditions are the same for numbers 0 and 1.
UFUNCS: Mapping[np.ufunc, str] = {
    np.add: "add",
    np.subtract: "subtract",
    np.multiply: "multiply",
    np.divide: "divide",
    np.negative: "negative",
    np.absolute: "absolute",
    np.maximum: "maximum",
    np.minimum: "minimum",
    np.fmax: "fmax",
    np.fmin: "fmin",
    np.greater: "greater",
    np.greater_equal: "greater_equal",
    np.less: "less",
    np.less_equal: "less_equal",
    np.equal: "equal",
    np.not_equal: "equal",
    np.isnan: "isnan",
    np.bitwise_and: "and",
    np.bitwise_or: "or",
    np.logical_and: "and",
    np.logical_or: "or",
    np.invert: "not",
    np.logical_not: "not",
}
CONDITIONS = frozenset(
    [
        *("greater", "greater_equal", "less", "less_equal", "equal", "isnan"),
        *("and", "or", "not", "any", "is_product"),
    ]
)
_OF_CONDITIONS = frozenset(["and", "or", "not"])


class TraceError(TypeError):
    """An expression does what has no compiled form; the message names it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a program.

    Attributes:
        operation: Its name, one of :data:`features.program.machine.CODES`.
        operands: The positions of the steps that it reads.
        number: A constant; months, for a verb over months; the column of a ``load``; the products
            of ``is_product``, one bit each.
        is_column: Whether the result has a value a month, and not one an account.
    """

    operation: str
    operands: tuple[int, ...] = ()
    number: float = 0.0
    is_column: bool = False


class TracedWindow:
    """The verbs of a window, which write steps.

    ``steps`` are all steps so far; a step reads only earlier ones.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._positions: dict[Step, int] = {}
        self._columns: dict[str, Symbol] = {}

    def __getitem__(self, name: str) -> Symbol:
        """A column, as :class:`features.window.Window` has it."""
        if name not in self._columns:
            self._columns[name] = self._column(name)
        return self._columns[name]

    def __getattr__(self, name: str) -> NoReturn:
        raise TraceError(f"the window's {name!r} has no compiled form")

    @property
    def months_observed(self) -> Symbol:
        """The number of statements of each account."""
        return self.write("months_observed")

    def total(
        self,
        name: str,
        months: int,
    ) -> Symbol:
        """As :meth:`features.window.Window.total`; so are the other verbs."""
        return self._over("total", name, months)

    def mean(
        self,
        name: str,
        months: int,
    ) -> Symbol:
        """The verb of that name."""
        return self._over("mean", name, months)

    def max(
        self,
        name: str,
        months: int,
    ) -> Symbol:
        """The verb of that name."""
        return self._over("max", name, months)

    def min(
        self,
        name: str,
        months: int,
    ) -> Symbol:
        """The verb of that name."""
        return self._over("min", name, months)

    def now(self, name: str) -> Symbol:
        """The verb of that name."""
        return self.ago(name, 0)

    def ago(
        self,
        name: str,
        months: int,
    ) -> Symbol:
        """The verb of that name."""
        return self.write("ago", self[name], number=_whole("ago", months, least=0))

    def last_known(self, name: str) -> Symbol:
        """The verb of that name."""
        return self.write("last_known", self[name])

    def months_since(self, name: str) -> Symbol:
        """The verb of that name."""
        return self.write("months_since", self[name], self.months_observed)

    def earlier(
        self,
        name: str,
        months: int = 1,
    ) -> Symbol:
        """The verb of that name."""
        lag = _whole("earlier", months, least=1)
        return self.write("earlier", self[name], number=lag, is_column=True)

    def carried_on(self, name: str) -> Symbol:
        """The verb of that name."""
        return self.write("carried_on", self[name], is_column=True)

    def is_product(self, products: Collection[str]) -> Symbol:
        """The verb of that name."""
        return self.write("is_product", number=bits_of(products))

    def write(
        self,
        operation: str,
        *operands: Symbol,
        number: float = 0.0,
        is_column: bool = False,
    ) -> Symbol:
        """The result of a step, which is written unless it was written before."""
        positions = tuple(operand.position for operand in operands)
        step = Step(operation, positions, number, is_column)
        if step not in self._positions:
            self._positions[step] = len(self.steps)
            self.steps.append(step)
        return Symbol(self, self._positions[step])

    def symbol(self, value: object) -> Symbol:
        """A symbol of this window as it is, a number as a constant."""
        if isinstance(value, Symbol):
            return value
        if isinstance(value, bool | int | float | np.number | np.bool):
            number = float(value)
            # Only one NaN, because a step is found again by its number.
            return self.write("constant", number=math.nan if math.isnan(number) else number)
        raise TraceError(f"expected a number or a value of the window, got {type(value).__name__}")

    def _column(self, name: str) -> Symbol:
        if name in STORED_COLUMNS:
            return self.write("load", number=STORED_COLUMNS.index(name), is_column=True)
        if name not in DERIVED:
            expected = sorted({*STORED_COLUMNS, *DERIVED})
            raise TraceError(f"expected a column of the window, one of {expected}, got {name!r}")
        derived: object = DERIVED[name](cast(Window, self))
        return self.symbol(derived)

    def _over(
        self,
        verb: str,
        name: str,
        months: int,
    ) -> Symbol:
        return self.write(verb, self[name], number=_whole(verb, months, least=1))


class Symbol(NDArrayOperatorsMixin):
    """A value, or a column of values, that is not known yet.

    ``months`` is how many of its rows a slice left; None = all.  ``is_condition`` says whether it
    is true or false, and no number.
    """

    def __init__(
        self,
        window: TracedWindow,
        position: int,
        months: int | None = None,
        is_condition: bool | None = None,
    ) -> None:
        """``is_condition`` None = as the step's operation has it."""
        self.window = window
        self.position = position
        self.months = months
        of_step = self.step.operation in CONDITIONS
        self.is_condition = of_step if is_condition is None else is_condition

    @property
    def step(self) -> Step:
        """The step that makes it."""
        return self.window.steps[self.position]

    def __array_ufunc__(
        self,
        ufunc: np.ufunc,
        method: str,
        *inputs: Any,
        **options: Any,
    ) -> Symbol:
        name = ufunc.__name__
        if method != "__call__" or options:
            what = f"np.{name}.{method}" if method != "__call__" else f"np.{name} with {[*options]}"
            raise TraceError(f"{what} has no compiled form")
        if ufunc not in UFUNCS:
            expected = sorted(known.__name__ for known in UFUNCS)
            raise TraceError(f"np.{name} has no compiled form; expected one of {expected}")
        operands = [self.window.symbol(value) for value in inputs]
        _check_kinds(name, UFUNCS[ufunc], operands)
        result = _elementwise(UFUNCS[ufunc], operands)
        return ~result if ufunc is np.not_equal else result

    def __array_function__(
        self,
        function: Any,
        types: Any,
        args: Any,
        kwargs: Any,
    ) -> Symbol:
        if function is not np.where or len(args) != 3 or kwargs:
            raise TraceError(
                f"np.{function.__name__} has no compiled form; of NumPy's functions, "
                "only np.where of three arguments has one"
            )
        condition, *values = [self.window.symbol(value) for value in args]
        if not condition.is_condition:
            raise TraceError("np.where: expected a condition such as x > 0, got numbers")
        return _elementwise("where", [condition, *values])

    def __getitem__(self, rows: object) -> Symbol:
        """The latest months: ``column[:6]``."""
        if not self.step.is_column:
            raise TraceError(f"[{rows!r}] of a value: only a column has months")
        if isinstance(rows, slice) and rows.start is None and rows.step is None:
            months = _whole("[:months]", rows.stop, least=1)
            kept = months if self.months is None else min(months, self.months)
            return Symbol(self.window, self.position, kept)
        raise TraceError(
            f"[{rows!r}] has no compiled form; expected [:months], "
            "and a single month by the verb now or ago"
        )

    def __getattr__(self, name: str) -> NoReturn:
        raise TraceError(f"a value's {name!r} has no compiled form")

    def __bool__(self) -> NoReturn:
        raise TraceError("an expression may not branch on a value: write np.where, & and |")

    def __iter__(self) -> NoReturn:
        raise TraceError("an expression may not loop over months or accounts: use a verb")

    def __float__(self) -> NoReturn:
        raise TraceError("float() has no compiled form: a value is not known yet")

    def __len__(self) -> NoReturn:
        raise TraceError("len() has no compiled form: a verb takes as many months as there are")

    def any(self, axis: int) -> Symbol:
        """Whether a condition is true in any month."""
        return self._of_months("any", axis)

    def argmax(self, axis: int) -> Symbol:
        """The latest month in which a condition is true, in months ago; 0 if it never is."""
        return self._of_months("first", axis)

    def sum(self, axis: int) -> Symbol:
        """The number of months in which a condition is true."""
        return self._of_months("count", axis)

    def astype(self, dtype: object) -> Symbol:
        """A condition as 1.0 and 0.0, a number as it is."""
        if dtype is not np.float64:
            raise TraceError(f"astype({dtype!r}) has no compiled form; expected np.float64")
        return Symbol(self.window, self.position, self.months, is_condition=False)

    def _of_months(
        self,
        verb: str,
        axis: int,
    ) -> Symbol:
        if not (self.step.is_column and self.is_condition and axis == 0):
            raise TraceError(
                f"{verb} over axis {axis!r} has no compiled form; expected that of a condition "
                "over the months, axis 0"
            )
        months = math.inf if self.months is None else self.months
        return self.window.write(verb, self, number=months)


def bits_of(products: Collection[str]) -> int:
    """Some products as a number with a bit for each, in the order of ``PRODUCTS``."""
    bits = 0
    for place, name in enumerate(PRODUCTS):
        if name in products:
            bits |= 1 << place
    return bits


def _elementwise(operation: str, operands: list[Symbol]) -> Symbol:
    """The operation month by month if an operand has months, else account by account."""
    window = operands[0].window
    columns = [operand for operand in operands if operand.step.is_column]
    if not columns:
        return window.write(operation, *operands)
    months = {column.months for column in columns}
    if len(months) > 1:
        raise TraceError(f"{operation} of columns of different months: {[*months]}")
    spread = [_spread(operand) for operand in operands]
    result = window.write(operation, *spread, is_column=True)
    return Symbol(window, result.position, months.pop())


def _spread(operand: Symbol) -> Symbol:
    """A value as a column, the same in each month; constants fit both."""
    if operand.step.is_column or operand.step.operation == "constant":
        return operand
    return operand.window.write("spread", operand, is_column=True)


def _check_kinds(
    name: str,
    operation: str,
    operands: list[Symbol],
) -> None:
    """Conditions are for logic and numbers for arithmetic."""
    wants_conditions = operation in _OF_CONDITIONS
    if any(operand.is_condition != wants_conditions for operand in operands):
        expected = "conditions such as x > 0" if wants_conditions else "numbers, by astype"
        raise TraceError(f"np.{name}: expected {expected}")


def _whole(
    verb: str,
    months: object,
    least: int,
) -> int:
    if not isinstance(months, int | np.integer) or months < least:
        raise TraceError(f"{verb}: expected a whole number of months from {least}, got {months!r}")
    return int(months)
