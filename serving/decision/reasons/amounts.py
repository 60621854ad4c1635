"""The amounts that sentences state, evaluated when the first sentence needs one.

The sentences of one account need about eight of some fifty amounts.  One program of all of them
takes less than eight programs of one.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from features.build import values_of
from features.catalogue.amounts import AMOUNTS, AS_OF
from features.months import month_index
from features.statements import Statements
from features.window import Window
from serving.decision.reasons.ranking import Evidence

_NAMES = (*(amount.name for amount in AMOUNTS), AS_OF)


class WindowAmounts:
    """The amounts of a window's accounts, evaluated once, for all accounts together."""

    def __init__(self, window: Window, as_of: Sequence[datetime.date]) -> None:
        self._window = window
        self._months = [float(month_index(month)) for month in as_of]

    @cached_property
    def rows(self) -> list[dict[str, float]]:
        """The amounts of each account by name, NaN = unknown."""
        values = values_of(self._window, AMOUNTS).tolist()
        return [
            dict(zip(_NAMES, (*own, month), strict=True))
            for own, month in zip(values, self._months, strict=True)
        ]


class Amounts(Mapping[str, float]):
    """The amounts of one account by name, NaN = unknown."""

    def __init__(self, of_window: WindowAmounts, account: int) -> None:
        self._of_window = of_window
        self._account = account

    def __getitem__(self, name: str) -> float:
        return self._of_window.rows[self._account][name]

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


def add_amounts(
    statements: Statements,
    evidence: list[Evidence],
    cut: Sequence[int],
) -> list[Evidence]:
    """The evidence of all accounts, with the amounts for those at the positions ``cut``.

    No other account gets sentences of the model.
    """
    if not cut:
        return evidence
    window = statements.window
    # The window itself where all are cut: it has what the features were made from.
    cut_window = window if len(cut) == len(evidence) else window.take(np.array(cut))
    of_cut = WindowAmounts(cut_window, [statements.as_of[account] for account in cut])
    completed = list(evidence)
    for place, account in enumerate(cut):
        completed[account] = replace(evidence[account], amounts=Amounts(of_cut, place))
    return completed
