"""The compiled loop that writes statements as Python does: the text that decisions' ids are from.

Hazard: numba's cache identifies this file by its time and size and ignores everything that the file
imports.  So all constants and functions that the loop uses are defined here.

A whole number of fen below 10^13 CNY has at most 15 digits, so no other decimal of
as few digits is the same float, and ``repr`` writes just these digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.program.numba_cache import compiled

MOST_OF_A_NUMBER = 20  # characters, with the two between numbers
_MOST_FEN = 1e15
_ZERO, _POINT, _MINUS = 48, 46, 45
_COMMA, _SPACE, _BRACKET = 44, 32, 41


@compiled
def write_rows(  # numba takes plain arrays, not an object that holds them
    stored: Any,
    last_month: int,
    head: Any,
    middle: Any,
    is_whole: Any,
    out: Any,
) -> int:
    """Write the rows of one account into ``out``, the earliest first; return how many bytes.

    It returns -1 for a number that it cannot write exactly as Python does.

    Args:
        stored: float64 (stored columns, months, 1), the latest month first; NaN = None.
        last_month: The index of the latest month, as in :mod:`features.months`.
        head: uint8, the text before each row's year.
        middle: uint8, the text between each row's month and its numbers.
        is_whole: bool (stored columns,): whether the column holds whole numbers.
        out: uint8, long enough.
    """
    columns, months = stored.shape[0], stored.shape[1]
    # 0, but not as a literal: numba would compile what is called for the literal and for a number.
    at: int = months - months
    for ago in range(months - 1, -1, -1):
        month = last_month - ago
        at = _put_text(out, at, head)
        at = _put_whole(out, at, month // 12)
        out[at], out[at + 1] = _COMMA, _SPACE
        at = _put_whole(out, at + 2, month % 12 + 1)
        at = _put_text(out, at, middle)
        for column in range(columns):
            if column:
                out[at], out[at + 1] = _COMMA, _SPACE
                at += 2
            value = stored[column, ago, 0]
            if value != value:
                at = _put_none(out, at)
            elif is_whole[column]:
                at = _put_whole(out, at, int(value))
            else:
                at = _put_amount(out, at, value)
            if at < 0:
                return -1
        out[at] = _BRACKET
        at += 1
    return at


@compiled
def _put_text(out: Any, at: int, text: Any) -> int:
    for place in range(len(text)):
        out[at + place] = text[place]
    return at + len(text)


@compiled
def _put_none(out: Any, at: int) -> int:
    out[at] = 78
    out[at + 1] = 111
    out[at + 2] = 110
    out[at + 3] = 101
    return at + 4


@compiled
def _put_whole(out: Any, at: int, number: int) -> int:
    if number < 0:
        out[at] = _MINUS
        at += 1
        number = -number
    digits = 1
    power = 10
    while number >= power:
        digits += 1
        power *= 10
    for place in range(digits - 1, -1, -1):
        out[at + place] = _ZERO + number % 10
        number //= 10
    return at + digits


@compiled
def _put_amount(out: Any, at: int, amount: float) -> int:
    """-1 for fractions of a fen, -0.0, and what is too large."""
    fen = np.rint(amount * 100.0)
    is_negative_zero = amount == 0.0 and np.copysign(1.0, amount) < 0.0
    if fen / 100.0 != amount or abs(fen) >= _MOST_FEN or is_negative_zero:
        return -1
    whole = int(abs(fen))
    if fen < 0:
        out[at] = _MINUS
        at += 1
    at = _put_whole(out, at, whole // 100)
    tenths, hundredths = whole // 10 % 10, whole % 10
    out[at] = _POINT
    out[at + 1] = _ZERO + tenths
    out[at + 2] = _ZERO + hundredths
    return at + 3 if hundredths else at + 2
