"""A program's steps in the machine's memory: which slot each result has, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.program.symbols import Step, TraceError
from features.program.trace import OVER_MONTHS, Program
from features.types import Matrix, Vector

# operation -> (family, position in the family) of the machine's loops.
FAMILIES: tuple[tuple[str, ...], ...] = (
    (
        "load",
        "months_observed",
        "is_product",
        "store",
    ),
    (
        "add",
        "subtract",
        "multiply",
        "divide",
        "negative",
    ),
    (
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "where",
    ),
    (
        "greater",
        "greater_equal",
        "less",
        "less_equal",
        "equal",
    ),
    (
        "isnan",
        "and",
        "or",
        "not",
        "absolute",
    ),
    (
        "spread",
        "earlier",
        "carried_on",
    ),
    (
        "total",
        "mean",
        "max",
        "min",
    ),
    (
        "last_known",
        "months_since",
        "first",
        "any",
        "count",
    ),
)
CODES: Mapping[str, tuple[int, int]] = {
    name: (family, position)
    for family, names in enumerate(FAMILIES)
    for position, name in enumerate(names)
} | {"ago": (5, 1)}  # a month of a value is that of a column


@dataclass(frozen=True, slots=True)
class Layout:
    """A program as the machine reads it.

    Attributes:
        code: uint64 (steps, 8), see :mod:`features.program.machine`.
        constants: float64 (n,), the contents of the first slots.
        outputs: float64 (features, 3), see :func:`features.program.machine.run`.
        slots: How many columns the machine needs at once.
    """

    code: NDArray[np.uint64]
    constants: Vector
    outputs: Matrix
    slots: int


def lay_out_memory(program: Program) -> Layout:
    """The program as the machine reads it.

    Raises:
        TraceError: The machine has no loop for an operation.
    """
    constants = [step.number for step in program.steps if step.operation == "constant"]
    slots = _Slots(program, len(constants))
    lines: list[list[int]] = []
    for position, step in enumerate(program.steps):
        if step.operation == "constant":
            slots.keep_constant(position)
        else:
            lines.append(_line(step, position, program, slots))
        lines += [
            [*CODES["store"], 0, slots.of[position], 0, 0, 1, feature]
            for feature, output in enumerate(program.outputs)
            if output.position == position
        ]
        slots.release(position)
    outputs = [[output.products, output.whole, output.parts] for output in program.outputs]
    return Layout(
        code=np.array(lines, dtype=np.uint64).reshape(-1, 8),
        constants=np.array(constants, dtype=np.float64),
        outputs=np.array(outputs, dtype=np.float64).reshape(-1, 3),
        slots=slots.count + 1,  # and one for the verbs
    )


class _Slots:
    """Slots that are used again once the last reader of a result has run."""

    def __init__(
        self,
        program: Program,
        constants: int,
    ) -> None:
        self.of: dict[int, int] = {}
        self.count = constants
        self._constants = 0
        self._free: list[int] = []
        self._ending: dict[int, list[int]] = {}
        last_read = {position: position for position in range(len(program.steps))}
        for position, step in enumerate(program.steps):
            last_read |= dict.fromkeys(step.operands, position)
        for position, last in last_read.items():
            if program.steps[position].operation != "constant":
                self._ending.setdefault(last, []).append(position)

    def keep_constant(self, position: int) -> None:
        """Give a constant the next of the first slots, for good."""
        self.of[position] = self._constants
        self._constants += 1

    def take(self, position: int) -> int:
        """A slot for the result of a step; not one of its operands'."""
        if not self._free:
            self._free.append(self.count)
            self.count += 1
        self.of[position] = self._free.pop()
        return self.of[position]

    def release(self, position: int) -> None:
        """Free what no later step than this one reads."""
        self._free += [self.of[ended] for ended in self._ending.get(position, [])]


def _line(
    step: Step,
    position: int,
    program: Program,
    slots: _Slots,
) -> list[int]:
    if step.operation not in CODES:
        raise TraceError(f"{step.operation} has no compiled form; expected one of {sorted(CODES)}")
    operands = [slots.of[operand] for operand in step.operands]
    operands += [0] * (3 - len(operands))
    to = slots.take(position)
    number = 0 if step.operation in OVER_MONTHS else int(step.number)
    return [*CODES[step.operation], to, *operands, program.months_covered(position), number]
