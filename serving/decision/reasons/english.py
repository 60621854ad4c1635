"""What plain counting gets wrong in an English sentence that was filled in."""

from __future__ import annotations

import re

# "1 months", but not "11 months" or "1.1 months".  The digit comes first, and what may not stand
# before it after it: a pattern that begins with a character is searched for that much faster.
_ONE_OF_MANY = re.compile(r"1(?<![\d.,]1) (day|month|time|percentage point)s\b")
_AT_MOST_ONCE = re.compile(r"1(?<![\d.,]1) time or less\b")
_TWICE = re.compile(r"2(?<![\d.,]2) times\b")
_ALL_OF_TWO = re.compile(r"\btwice( in the last [\w ]+), all in\b")
_LAST_MONTH = re.compile(r"\blast 1 month\b")
_LESS_OR_LESS = re.compile(
    r"(\bless than [\d.]+%?(?: times)?(?: of their \w+| of theirs)?) or less\b"
)


def polish(text: str) -> str:
    """The sentence as a person would write it.

    >>> polish("You applied 2 times in the last 3 months, all in May 2026.")
    'You applied twice in the last 3 months, both in May 2026.'
    >>> polish("Half of them applied 1 times or less in the last 1 months.")
    'Half of them applied once or not at all in the last month.'
    >>> polish("Half of them used less than 1% or less.")
    'Half of them used less than 1%.'
    """
    # Most sentences have none of these, and to search for a pattern takes ten times as long.
    if "1 " in text:
        text = _ONE_OF_MANY.sub(r"1 \1", text)
        if "1 time or less" in text:
            text = _AT_MOST_ONCE.sub("once or not at all", text)
        if "last 1 month" in text:
            text = _LAST_MONTH.sub("last month", text)
    if "2 times" in text:
        text = _ALL_OF_TWO.sub(r"twice\1, both in", _TWICE.sub("twice", text))
    if "less than" in text:
        text = _LESS_OR_LESS.sub(r"\1", text)
    return text
