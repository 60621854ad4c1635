"""Account numbers that a spreadsheet has changed.

A spreadsheet reads an account number as a number: it drops leading zeros, writes 19 digits as
``6.22202E+18`` and keeps 15 of them.  Two accounts then have one name, or one has two.  What the
names were cannot be told from the file.
"""

from __future__ import annotations

import polars as pl

_EXACT_DIGITS = 15  # that a spreadsheet keeps of a number
_LONG = f"^[0-9]{{{_EXACT_DIGITS + 1},}}$"
# A float's text, with or without exponent; a formula that holds a text; a date; an error or "####".
_MANGLED = "|".join(
    [
        r"^[+-]?[0-9]+\.[0-9]*[eE]\+?[0-9]+$",
        r"^[+-]?[0-9]+[eE]\+[0-9]+$",
        r"^[+-]?[0-9]+\.0*$",
        r"^=",
        r"^[0-9]{1,2}-(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)$",
        r"^(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-[0-9]{2}$",
        r"^#",
    ]
)
EXPECTED = (
    "account numbers as text, which no spreadsheet has changed "
    "(export them again with this column as text)"
)


def find_mangled(names: pl.Series) -> pl.Series:
    """Return which names a spreadsheet has changed: Boolean, false for null.

    >>> find_mangled(pl.Series(["6.22202E+18", "12345.0", '="007"', "12345", "A-12.5"])).to_list()
    [True, True, True, False, False]
    """
    return names.str.contains(_MANGLED).fill_null(False)


def find_lost_zeros(names: pl.Series) -> pl.Series:
    """Return which names are digits that differ from another name in leading zeros alone.

    >>> find_lost_zeros(pl.Series(["0012345", "12345", "12345", "77", None])).to_list()
    [True, True, True, False, False]
    """
    is_number = names.str.contains("^[0-9]+$")
    digits = names.str.strip_chars_start("0")
    table = pl.DataFrame({"name": names, "digits": digits})
    forms = table.select(pl.col("name").n_unique().over("digits")).to_series()
    return (is_number & (forms > 1)).fill_null(False)


def count_rounded_names(names: pl.Series) -> int:
    """Return the number of names of more than 15 digits, if all of them end in zeros from there on.

    A spreadsheet makes such names, and so does a bank whose names end in "0000".  0 where any such
    name has another digit there.

    >>> count_rounded_names(pl.Series(["6222021234567890000", "6222021234567910000"]))
    2
    """
    distinct = names.drop_nulls().unique()
    long = distinct.filter(distinct.str.contains(_LONG))
    ends = long.str.slice(_EXACT_DIGITS).str.strip_chars("0")
    return len(long) if (ends == "").all() else 0
