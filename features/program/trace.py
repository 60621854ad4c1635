"""From features to a program: each expression is called once, with symbols.

:class:`Program` is what the machine runs; :func:`listing` shows it to a reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from features.catalogue.feature import Feature
from features.program.symbols import Step, TracedWindow, TraceError, bits_of
from features.schema import PRODUCTS
from features.window import STORED_COLUMNS, Window

# More months than any window has: "all".
ALL_MONTHS = 1 << 30
WHOLE_COLUMN = frozenset(["carried_on", "last_known", "months_since"])
OVER_MONTHS = frozenset(["total", "mean", "max", "min", "any", "first", "count"])


@dataclass(frozen=True, slots=True)
class Output:
    """A feature's value: its step, and what is done to it when it is stored.

    Attributes:
        name: Of the feature.
        position: Of the step.
        products: The products that have it, a bit each in the order of ``PRODUCTS``.
        whole, parts: Its step is whole / parts, both whole numbers; 0 parts = it is not rounded.
    """

    name: str
    position: int
    products: int
    whole: float
    parts: float


@dataclass(frozen=True, slots=True)
class Program:
    """The steps of some features, and where their values are.

    Attributes:
        steps: In an order in which each reads only earlier ones.
        months: For each step, of how many of the latest months its result is needed.
        outputs: One a feature, in order; each follows its step.
    """

    steps: tuple[Step, ...]
    months: tuple[int, ...]
    outputs: tuple[Output, ...]

    def months_covered(self, position: int) -> int:
        """The latest months that a step's loop runs over."""
        step = self.steps[position]
        if step.operation in WHOLE_COLUMN:
            return ALL_MONTHS
        if step.operation in OVER_MONTHS:
            return int(min(step.number, ALL_MONTHS))
        return self.months[position]


def trace(features: Sequence[Feature]) -> Program:
    """The program of some features.

    Raises:
        TraceError: An expression does what has no compiled form.
    """
    window = TracedWindow()
    outputs = tuple(_trace_feature(feature, window) for feature in features)
    steps = tuple(window.steps)
    return Program(steps, _needed_months(steps, outputs), outputs)


def listing(features: Sequence[Feature]) -> str:
    """The program of some features as text, a line a step.

    A line has the step's number, what it computes from which steps, and the months of which its
    result is needed, where it has one a month.

    >>> from features.catalogue import BY_NAME
    >>> print(listing([BY_NAME["utilization_rise_6"], BY_NAME["limit_requests_3"]]))
      0  load balance                       7 months
      1  constant 0
      2  maximum 0 1                        7 months
      3  load credit_limit                 13 months
      4  earlier 3: 1                       7 months
      5  fmax 3 4                           7 months
      6  earlier 3: 2                       7 months
      7  fmax 5 6                           7 months
      8  earlier 3: 3                       7 months
      9  fmax 7 8                           7 months
     10  earlier 3: 4                       7 months
     11  fmax 9 10                          7 months
     12  earlier 3: 5                       7 months
     13  fmax 11 12                         7 months
     14  earlier 3: 6                       7 months
     15  fmax 13 14                         7 months
     16  constant 10
     17  greater_equal 15 16                7 months
     18  constant 1
     19  where 17 15 18                     7 months
     20  divide 2 19                        7 months
     21  constant nan
     22  where 17 20 21                     7 months
     23  ago 22: 0
     24  ago 22: 6
     25  subtract 23 24
         utilization_rise_6 = 25, in steps of 1/100
     26  load limit_requests                3 months
     27  total 26: 3
         limit_requests_3 = 27
    """
    program = trace(features)
    lines = []
    for position, step in enumerate(program.steps):
        months = program.months[position]
        needed = "all" if months >= ALL_MONTHS else f"{months}"
        note = f"{needed:>6} months" if step.is_column else ""
        lines.append(f"{position:3}  {_text(step):30}{note}".rstrip())
        lines += [
            f"     {output.name} = {position}{_ending(output)}"
            for output in program.outputs
            if output.position == position
        ]
    return "\n".join(lines)


def _trace_feature(feature: Feature, window: TracedWindow) -> Output:
    try:
        result: object = feature.expression(cast(Window, window))
        value = window.symbol(result)
    except TraceError as error:
        raise TraceError(f"feature {feature.name!r}: {error}") from None
    if value.step.is_column:
        raise TraceError(
            f"feature {feature.name!r}: expected one value an account, got a column of months"
        )
    whole = max(feature.step, 1.0)
    parts = float(round(whole / feature.step)) if feature.step else 0.0
    return Output(
        name=feature.name,
        position=value.position,
        products=bits_of(feature.products or PRODUCTS),
        whole=whole,
        parts=parts,
    )


def _needed_months(steps: Sequence[Step], outputs: Sequence[Output]) -> tuple[int, ...]:
    """Of how many of the latest months each step's result is read.

    Later months are all that most features look at, so half of the work on columns is saved.
    """
    needed = [0] * len(steps)
    for output in outputs:
        needed[output.position] = 1
    for position in reversed(range(len(steps))):
        step = steps[position]
        for operand in step.operands:
            needed[operand] = max(needed[operand], _months_read(step, needed[position]))
    return tuple(needed)


def _months_read(step: Step, months: int) -> int:
    """Of how many months a step reads its operands, for a result of ``months``."""
    if step.operation in WHOLE_COLUMN:
        return ALL_MONTHS
    if step.operation in OVER_MONTHS:
        return int(min(step.number, ALL_MONTHS))
    if step.operation in ("earlier", "ago"):
        return months + int(step.number)
    return 1 if step.operation == "spread" else months


def _text(step: Step) -> str:
    operands = "".join(f" {operand}" for operand in step.operands)
    if step.operation == "load":
        return f"load {STORED_COLUMNS[int(step.number)]}"
    if step.operation == "constant":
        return f"constant {step.number:g}"
    if step.operation == "is_product":
        bits = int(step.number)
        chosen = [name for place, name in enumerate(PRODUCTS) if bits >> place & 1]
        return f"is_product {' '.join(chosen)}"
    has_number = step.operation in OVER_MONTHS or step.operation in ("earlier", "ago")
    return f"{step.operation}{operands}" + (f": {step.number:g}" if has_number else "")


def _ending(output: Output) -> str:
    if not output.parts:
        return ""
    return f", in steps of {output.whole:g}/{output.parts:g}"
