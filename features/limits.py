"""The limits of ids, months and amounts, of the training data and of the API."""

from __future__ import annotations

import datetime
import re

LONGEST_ACCOUNT_ID = 64  # characters
ACCOUNT_ID_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._:-]*$"
# The patterns in words, for messages.
ACCOUNT_ID_FORM = (
    f"1 to {LONGEST_ACCOUNT_ID} of the characters A-Z a-z 0-9 . _ : -, "
    "the first a letter or a digit"
)
ACCOUNT_RULE = f"account_id has {ACCOUNT_ID_FORM}"
_ACCOUNT_ID = re.compile(ACCOUNT_ID_PATTERN)
FIRST_MONTH = datetime.date(1900, 1, 1)
LAST_MONTH = datetime.date(2099, 12, 1)
MONTH_PATTERN = "^(19|20)[0-9]{2}-(0[1-9]|1[0-2])$"  # FIRST_MONTH to LAST_MONTH as text
MONTHS = frozenset(  # all that the pattern matches
    f"{year}-{month:02d}"
    for year in range(FIRST_MONTH.year, LAST_MONTH.year + 1)
    for month in range(1, 13)
)
MONTH_FORM = f"a month as YYYY-MM, from {FIRST_MONTH:%Y-%m} to {LAST_MONTH:%Y-%m}"
LARGEST_AMOUNT = 1e9
# One fen, the unit of an amount.  Whatever brings amounts in rounds them to it: a remainder of
# floating point such as 5.7e-14 would count as cash drawn, and a division by it may overflow.
SMALLEST_AMOUNT = 0.01
FEN = 100  # in 1 CNY


def is_account_id(name: str) -> bool:
    """Whether a name may be an ``account_id``, here and in the API.

    >>> [is_account_id(name) for name in ("0012345", "a/1", "", "x" * 65)]
    [True, False, False, False]
    """
    return len(name) <= LONGEST_ACCOUNT_ID and _ACCOUNT_ID.fullmatch(name) is not None


def round_amount(amount: float) -> float:
    """The amount rounded to whole fen, a half to the even one; never -0.0.

    >>> round_amount(5.7e-14), round_amount(-12.3449)
    (0.0, -12.34)
    """
    return round(amount * FEN) / FEN
