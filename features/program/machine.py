"""The machine: compiled loops that run a program over the accounts of a window.

Hazard: numba's cache identifies this file by its time and size and ignores everything that the file
imports.  So all constants and functions that these loops use are defined here.  The catalogue is
none of them: a program comes as arrays.

Conventions
-----------
The accounts are taken in blocks of at most ``WIDTH``.  *Memory* is one float64 array of *slots*,
each as large as a column of a block: (months, accounts), flat, row 0 = ``as_of``.  A value of each
account is the first row of a slot.  A condition is 1.0 or 0.0.

Each loop does one operation for a block, so its operations are in the same order for one account as
for many, and each result is rounded when it is stored: no compiler can contract a product and a sum
into one rounding.  All numbers that address memory are unsigned: numba would test each for the
negative indices of Python.

A line of ``code`` is a step: family and operation (:data:`features.program.memory.FAMILIES`), the
slots of the result and of three operands, the months that it covers, and its whole number.  A
window may have fewer months.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.program.numba_cache import compiled

# Accounts that are evaluated together.  Measured on 1 to 128: with fewer, each step's fixed cost
# shows; with more, the memory of a block outgrows the processor's second cache.
WIDTH = 64
_LOAD, _STORE = 0, 3
_ONE = np.uint64(1)


@compiled
def run(  # noqa: PLR0913  # numba takes plain arrays, not an object that holds them
    code: Any,
    constants: Any,
    outputs: Any,
    stored: Any,
    observed: Any,
    products: Any,
    memory: Any,
    out: Any,
) -> None:
    """Write the features of all accounts into ``out``, float64 (accounts, features).

    Args:
        code: uint64 (steps, 8).
        constants: float64 (n,); the first n slots hold them.
        outputs: float64 (features, 3): the products that have the feature as bits, then the whole
            number and the parts of its step; 0 parts = not rounded.
        stored: float64 (stored columns, months, accounts).
        observed: float64 (accounts,).
        products: int64 (accounts,).
        memory: float64 (slots, months * accounts of a block); the last slot is for the verbs.
        out: As above.
    """
    months, accounts = np.uint64(stored.shape[1]), np.uint64(out.shape[0])
    slot = np.uint64(memory.shape[1])
    for place in range(len(constants)):
        memory[place, :] = constants[place]
    flat = memory.reshape(memory.size)
    scratch = np.uint64(flat.size) - slot
    first = np.uint64(0)
    while first < accounts:
        width = min(slot // months, accounts - first)
        for step in range(code.shape[0]):
            line = (
                code[step, 0],
                code[step, 1],
                code[step, 7],
            )
            at = (
                code[step, 2] * slot,
                code[step, 3] * slot,
                code[step, 4] * slot,
                code[step, 5] * slot,
            )
            shape = (min(code[step, 6], months), width)
            if line[0] > 0:
                _compute(flat, line, at, shape, months, scratch)
            elif line[1] == _STORE:
                _store(flat, at[1], outputs, line[2], products, first, width, out)
            elif line[1] == _LOAD:
                _load(flat, at[0], stored, line[2], first, shape)
            else:
                _describe(flat, at[0], line, observed, products, first, width)
        first += width


@compiled
def _compute(
    memory: Any,
    line: Any,
    at: Any,
    shape: Any,
    months: Any,
    scratch: Any,
) -> None:
    """A step that reads slots and writes one."""
    family, name, number = line
    size = shape[0] * shape[1]
    if family == 1:
        _calculate(memory, name, at, size)
    elif family == 2:
        _choose(memory, name, at, size)
    elif family == 3:
        _compare(memory, name, at, size)
    elif family == 4:
        _combine(memory, name, at, size)
    elif family == 5:
        _move(memory, name, at, shape, number, months)
    elif family == 6:
        _accumulate(memory, name, at, shape, scratch)
    else:
        _search(memory, name, at, shape)


@compiled
def _load(
    memory: Any,
    to: Any,
    stored: Any,
    column: Any,
    first: Any,
    shape: Any,
) -> None:
    rows, width = shape
    for row in range(rows):
        for account in range(width):
            memory[to + row * width + account] = stored[column, row, first + account]


@compiled
def _describe(  # noqa: PLR0913
    memory: Any,
    to: Any,
    line: Any,
    observed: Any,
    products: Any,
    first: Any,
    width: Any,
) -> None:
    """The months observed, or whether the product is one of some, which are the number's bits."""
    _, name, bits = line
    for account in range(width):
        if name == 1:
            memory[to + account] = observed[first + account]
        else:
            memory[to + account] = (bits >> np.uint64(products[first + account])) & _ONE


@compiled
def _store(  # noqa: PLR0913
    memory: Any,
    a: Any,
    outputs: Any,
    feature: Any,
    products: Any,
    first: Any,
    width: Any,
    out: Any,
) -> None:
    """A feature, rounded to its step, a half to the even multiple; 0 for another product."""
    bits = np.uint64(outputs[feature, 0])
    # A step is whole / parts, both whole numbers: 0.01 is no binary fraction, and multiples of it
    # would not be the numbers that are printed, such as 0.35.
    whole, parts = outputs[feature, 1], outputs[feature, 2]
    for account in range(width):
        value = memory[a + account]
        if (bits >> np.uint64(products[first + account])) & _ONE == 0:
            value = 0.0
        if parts != 0.0:
            value = np.rint(value * parts / whole) * whole / parts
        # Turns -0.0 into 0.0, so that an answer never shows "-0.0".
        out[first + account, feature] = value + 0.0


@compiled
def _calculate(memory: Any, name: Any, at: Any, size: Any) -> None:
    """Arithmetic of two columns."""
    to, a, b, _ = at
    for i in range(size):
        x = memory[a + i]
        y = memory[b + i]
        if name == 0:  # add
            result = x + y
        elif name == 1:  # subtract
            result = x - y
        elif name == 2:  # multiply
            result = x * y
        elif name == 3:  # divide
            result = x / y
        else:  # negative
            result = -x
        memory[to + i] = result


@compiled
def _choose(
    memory: Any,
    name: Any,
    at: Any,
    size: Any,
) -> None:
    """The larger or smaller of two, or one of two by a condition."""
    to, a, b, c = at
    if name == 4:  # where
        for i in range(size):
            # Both are read first: the compiler takes no loop of several at once in which the
            # condition decides what is read.
            is_true = memory[a + i] != 0.0
            yes = memory[b + i]
            no = memory[c + i]
            memory[to + i] = yes if is_true else no
        return
    for i in range(size):
        one = memory[a + i]
        other = memory[b + i]
        if name == 0:  # maximum: unknown if either is
            takes_one = one >= other or one != one
        elif name == 1:  # minimum
            takes_one = one <= other or one != one
        elif name == 2:  # fmax: of what is known
            takes_one = one >= other or other != other
        else:  # fmin
            takes_one = one <= other or other != other
        memory[to + i] = one if takes_one else other


@compiled
def _compare(memory: Any, name: Any, at: Any, size: Any) -> None:
    """Whether a comparison holds; it does not with the unknown."""
    to, a, b, _ = at
    for i in range(size):
        x = memory[a + i]
        y = memory[b + i]
        if name == 0:  # greater
            result = x > y
        elif name == 1:  # greater_equal
            result = x >= y
        elif name == 2:  # less
            result = x < y
        elif name == 3:  # less_equal
            result = x <= y
        else:  # equal
            result = x == y
        memory[to + i] = result


@compiled
def _combine(memory: Any, name: Any, at: Any, size: Any) -> None:
    """Conditions, which are 1.0 or 0.0, and what is left."""
    to, a, b, _ = at
    for i in range(size):
        x = memory[a + i]
        y = memory[b + i]
        if name == 0:  # isnan
            result = 1.0 if x != x else 0.0
        elif name == 1:  # and
            result = x * y
        elif name == 2:  # or
            result = max(x, y)
        elif name == 3:  # not
            result = 1.0 - x
        else:  # absolute
            result = abs(x)
        memory[to + i] = result


@compiled
def _move(
    memory: Any,
    name: Any,
    at: Any,
    shape: Any,
    lag: Any,
    months: Any,
) -> None:
    """Months of a column to other months."""
    to, a = at[0], at[1]
    rows, width = shape
    size = rows * width
    if name == 0:  # spread
        for row in range(rows):
            for account in range(width):
                memory[to + row * width + account] = memory[a + account]
    elif name == 1:  # earlier, of one month too; the first ``lag`` months have none
        kept = min(rows, months - min(lag, months)) * width
        for i in range(kept):
            memory[to + i] = memory[a + lag * width + i]
        for i in range(kept, size):
            memory[to + i] = np.nan
    else:  # carried_on, from the first month to the latest
        for i in range(size):
            memory[to + i] = memory[a + i]
        for back in range(_ONE, rows):
            month = to + (rows - _ONE - back) * width
            for account in range(width):
                own = memory[month + account]
                earlier = memory[month + width + account]
                memory[month + account] = own if own == own else earlier


@compiled
def _accumulate(
    memory: Any,
    name: Any,
    at: Any,
    shape: Any,
    scratch: Any,
) -> None:
    """Over the known values of the latest months, from the newest back; NaN if none is known."""
    to, a = at[0], at[1]
    rows, width = shape
    if name >= 2:
        _reach(memory, name, at, shape)
        return
    for account in range(width):
        memory[to + account] = 0.0
        memory[scratch + account] = 0.0
    for row in range(rows):
        for account in range(width):
            value = memory[a + row * width + account]
            is_known = value == value
            memory[to + account] += value if is_known else 0.0
            memory[scratch + account] += is_known
    for account in range(width):
        count = memory[scratch + account]
        total = memory[to + account]
        divisor = max(count, 1.0) if name == 1 else 1.0
        memory[to + account] = total / divisor if count > 0.0 else np.nan


@compiled
def _reach(
    memory: Any,
    name: Any,
    at: Any,
    shape: Any,
) -> None:
    """The largest or smallest known value of the latest months."""
    to, a = at[0], at[1]
    rows, width = shape
    for account in range(width):
        memory[to + account] = memory[a + account]
    for row in range(_ONE, rows):
        for account in range(width):
            value = memory[a + row * width + account]
            reached = memory[to + account]
            is_further = value > reached if name == 2 else value < reached
            memory[to + account] = value if is_further or reached != reached else reached


@compiled
def _search(
    memory: Any,
    name: Any,
    at: Any,
    shape: Any,
) -> None:
    """What the latest months hold, from the earliest on: a later month replaces it."""
    to, a, b, _ = at
    rows, width = shape
    for account in range(width):
        if name == 0:  # last_known
            memory[to + account] = np.nan
        elif name == 1:  # months_since: as many as there are if it never was
            memory[to + account] = memory[b + account]
        else:
            memory[to + account] = 0.0
    for back in range(rows):
        row = rows - _ONE - back
        for account in range(width):
            value = memory[a + row * width + account]
            known = memory[to + account]
            if name == 0:
                memory[to + account] = value if value == value else known
            elif name == 4:  # count
                memory[to + account] = known + value
            else:  # months_since, first, any
                found = 1.0 if name == 3 else float(row)
                memory[to + account] = found if value == 1.0 else known
