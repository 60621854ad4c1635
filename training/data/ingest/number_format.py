"""How the numbers of a file are written, and their cells as numbers.

Without a format in the mapping a point is a decimal point, and a column in which every point could
separate thousands (``1.900``, ``12.500``) is ambiguous: 12.5 and 12500 are both amounts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

_SIGN = "[+-]?"
_BLANKS = "[ \u00a0]*"
_MARK = "[.,'¥$€ \u00a0]"
_EXPONENT = "([eE][+-]?[0-9]+)?"
_GROUPED_BY_POINT = r"^[+-]?[1-9][0-9]{0,2}\.[0-9]{3}$"


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How numbers are written.

    >>> cells = pl.Series(["-1.234,50", "¥ 7", "1.23", "1,234.50"])
    >>> NumberFormat(decimal=",", thousands=".", currency_sign="¥").parse(cells).to_list()
    [-1234.5, 7.0, None, None]
    """

    decimal: str = "."
    thousands: str = ""  # between groups of three digits; "" = not separated
    currency_sign: str = ""  # before or behind the number; "" = none
    is_declared: bool = True  # False: the mapping does not say, and these are the defaults

    def __str__(self) -> str:
        text = f"a number with the decimal mark {self.decimal!r}"
        if self.thousands:
            text += f" and thousands separated by {self.thousands!r}"
        if self.currency_sign:
            text += f" and the sign {self.currency_sign!r}"
        return text if self.is_declared else "a number"

    def parse(self, cells: pl.Series) -> pl.Series:
        """Return the cells as Float64; null for null, and for what is not such a number."""
        text = self._without_sign(cells)
        plain = self._plain_pattern()
        is_number = text.str.contains(plain)
        if self.thousands:
            grouped = self._grouped_pattern()
            is_number |= text.str.contains(grouped)
            text = text.str.replace_all(self.thousands, "", literal=True)
        # null for null, and then neither true nor false
        is_wrong = ~is_number.fill_null(False)
        numbers = text.str.replace(self.decimal, ".", literal=True)
        numbers = numbers.set(is_wrong, None)
        return numbers.cast(pl.Float64, strict=False)

    def find_ambiguous(self, cells: pl.Series) -> pl.Series:
        """Return which cells have a point that may be a decimal mark or separate thousands.

        None if the mapping declares the format, or if another cell of the column shows that its
        points are decimal marks: one such as 12.5, 0.125 or 1234.567.
        """
        is_ambiguous = cells.str.contains(_GROUPED_BY_POINT)
        has_point = cells.str.contains(".", literal=True)
        has_decimal_point = has_point & ~is_ambiguous
        if self.is_declared or has_decimal_point.any():
            return pl.repeat(False, len(cells), eager=True)
        return is_ambiguous.fill_null(False)

    def explain(self, cell: str) -> str:
        """Return what may be wrong with a cell that is no number; "" if nothing is known."""
        has_mark = re.search(_MARK, cell)
        has_digit = re.search("[0-9]", cell)
        if self.is_declared or not has_mark or not has_digit:
            return ""
        return "[numbers] in the mapping says decimal, thousands and currency_sign"

    def _plain_pattern(self) -> str:
        mark = re.escape(self.decimal)
        whole = f"[0-9]+({mark}[0-9]*)?"
        fraction = f"{mark}[0-9]+"
        return f"^{_SIGN}({whole}|{fraction}){_EXPONENT}$"

    def _grouped_pattern(self) -> str:
        mark = re.escape(self.decimal)
        group = re.escape(self.thousands)
        # No group of 0: the "0,125" of a decimal comma would become 125.
        groups = f"[1-9][0-9]{{0,2}}({group}[0-9]{{3}})+"
        return f"^{_SIGN}{groups}({mark}[0-9]*)?$"

    def _without_sign(self, cells: pl.Series) -> pl.Series:
        if not self.currency_sign:
            return cells
        sign = re.escape(self.currency_sign)
        before = f"^({_SIGN}){_BLANKS}{sign}{_BLANKS}({_SIGN}[0-9.,])"
        behind = f"([0-9]){_BLANKS}{sign}$"
        without = cells.str.replace(before, "$1$2")
        has_sign_before = without != cells
        # A sign on both sides is not removed, so such a cell is no number.
        without_behind = cells.str.replace(behind, "$1")
        return without.zip_with(has_sign_before, without_behind)
