"""The amounts that sentences state, evaluated for the accounts that get sentences.

The sentences of one account need about eight of some fifty amounts.  One program of all of them
takes less than eight programs of one.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np

from features.build import values_of
from features.catalogue.amounts import AMOUNTS, AS_OF
from features.months import month_index
from features.statements import Statements
from features.window import Window
from serving.decision.reasons.ranking import Evidence

_NAMES = (*(amount.name for amount in AMOUNTS), AS_OF)


def amounts_of(window: Window, as_of: Sequence[datetime.date]) -> list[dict[str, float]]:
    """The amounts of each account of a window by name, NaN = unknown.

    ``as_of`` is the month of the last statement of each account.
    """
    amounts = values_of(window, AMOUNTS).tolist()
    for own, month in zip(amounts, as_of, strict=True):
        own.append(float(month_index(month)))
    return [dict(zip(_NAMES, own, strict=True)) for own in amounts]


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
    amounts = amounts_of(cut_window, [statements.as_of[account] for account in cut])
    completed = list(evidence)
    for account, own in zip(cut, amounts, strict=True):
        before = evidence[account]
        completed[account] = Evidence(
            before.contributions,
            before.values,
            before.comparison,
            before.excess,
            own,
        )
    return completed
