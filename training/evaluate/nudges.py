"""Knife edges: how far small changes of the amounts on the statements move the log-odds.

Each amount of the statement is nudged by itself, up and down, in all months and in the last month
alone.  A model that a fen can move decides by chance: an amount is known to the fen, but nobody
pays, spends or owes to the fen on purpose.  Read :func:`measure_nudges` first.

Conventions
-----------
An account is *near* if its log-odds are at most :data:`NEAR` from the cut-off: only there can a
nudge decide.  It is *moved* if one of a column's nudges changes its log-odds by more than
:data:`MOVED`.  A cut is the model's own, before hard rules and human review.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.build import build_from_window, latest_accounts, values_of
from features.catalogue import BY_NAME, CATALOGUE
from features.limits import SMALLEST_AMOUNT
from features.schema import COLUMNS, PRODUCTS, Column
from features.types import Mask, Vector
from features.window import Window, lay_out
from serving.decision.bundle import Bundle
from serving.decision.policy.limit import (
    USUAL_SPEND,
    cut_off_log_odds_of,
    limit_by_model,
    lines_of,
    next_balance_of,
)
from serving.decision.scoring.score import log_odds_of, probability_of
from training.evaluate.metrics import wilson

NEAR = 1.0  # log-odds on either side of the cut-off
MOVED = 0.1  # log-odds: a change that a customer, or a second look, would notice
AMOUNTS: tuple[Column, ...] = tuple(column for column in COLUMNS if column.kind == "amount")
ANY = "any"  # the row of all columns together
# Rows of a window.
_EVERY_MONTH = slice(None)
_LAST_MONTH = slice(1)

_SCHEMA = {
    "nudge": pl.String,
    "column": pl.String,
    "accounts": pl.Int64,
    "largest": pl.Float64,
    "moved": pl.Float64,
    "moved_low": pl.Float64,
    "moved_high": pl.Float64,
    "new_cuts": pl.Int64,
    "undone_cuts": pl.Int64,
}


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a nudge: an amount in CNY, or a share of the amount on the statement."""

    name: str
    amount: float = 0.0
    share: float = 0.0


# A thousandth is the size that the gate holds: rounding, interest and fees differ by as much.
THOUSANDTH = Size("0.1 %", share=0.001)
SIZES: tuple[Size, ...] = (
    Size("0.01 CNY", amount=SMALLEST_AMOUNT),
    Size("1 CNY", amount=1.0),
    THOUSANDTH,
    Size("1 %", share=0.01),
)


def measure_nudges(
    window: Window,
    log_odds: Vector,
    bundle: Bundle,
    sizes: Sequence[Size] = SIZES,
) -> pl.DataFrame:
    """Return one row for each size and column of amounts, and one for any column of a size.

    ``log_odds`` (accounts,) are the bundle's; they tell which accounts are near.  Columns:

    - ``nudge`` and ``column``; ``accounts`` near the cut-off
    - ``largest``: the largest change of log-odds; null if no account is near
    - ``moved``: the share of the near accounts that are moved, with ``moved_low`` and
      ``moved_high``; null if no account is near
    - ``new_cuts`` and ``undone_cuts``: how many near accounts the model cuts after one of the
      nudges and not before, or before and not after
    """
    distance = np.abs(log_odds - cut_off_log_odds_of(_products(window), bundle.policy))
    near = np.flatnonzero(distance <= NEAR)
    accounts = _find_accounts(window.take(near), bundle)
    rows = []
    for size in sizes:
        of_any = accounts.unmoved()
        for column in AMOUNTS:
            moves = accounts.nudge(column, size)
            of_any = _combine(of_any, moves)
            rows.append(_row(size, column.name, moves))
        rows.append(_row(size, ANY, of_any))
    return pl.DataFrame(rows, _SCHEMA)


def measure_nudges_of(statements: pl.DataFrame, bundle: Bundle) -> pl.DataFrame:
    """Return the table of :func:`measure_nudges`, in all sizes, of accounts that are not scored.

    ``statements`` are as :func:`features.schema.check` returns them.
    """
    window = lay_out(statements)
    features = build_from_window(window, latest_accounts(statements, window))
    log_odds = log_odds_of(features.matrix(bundle.features), bundle.scorer)
    return measure_nudges(window, log_odds, bundle)


def nudge_column(window: Window, column: Column, change: Size, sign: int, months: slice) -> Window:
    """Return the window with one column's amounts nudged in these months (rows of the window).

    Amounts stay whole fen within the range of the column; an unknown amount stays unknown.
    """
    before = window[column.name]
    by_share = change.share * np.abs(before)
    step = change.amount + by_share
    lowest = column.low
    if lowest is None:
        lowest = SMALLEST_AMOUNT
    moved = np.round(before + sign * step, 2)
    moved = np.clip(moved, lowest, column.high)
    after = before.copy()
    after[months] = moved[months]
    return window.replace(column.name, after)


@dataclass(frozen=True, slots=True)
class _Moves:
    """What nudges do to each account: the largest change of log-odds, and cuts made and undone."""

    change: Vector
    made: Mask
    undone: Mask


@dataclass(frozen=True, slots=True)
class _Accounts:
    """The accounts near the cut-off."""

    window: Window
    log_odds: Vector
    is_cut: Mask
    bundle: Bundle

    def unmoved(self) -> _Moves:
        """No moves at all."""
        nobody = np.zeros(len(self.log_odds), dtype=np.bool_)
        return _Moves(
            change=np.zeros(len(self.log_odds)),
            made=nobody,
            undone=nobody,
        )

    def nudge(self, column: Column, size: Size) -> _Moves:
        """The largest effects of the nudges of that size, up and down, of all months or one."""
        moves = self.unmoved()
        for sign in (1, -1):
            for months in (_EVERY_MONTH, _LAST_MONTH):
                nudged = nudge_column(self.window, column, size, sign, months)
                moves = _combine(moves, self._compare(nudged))
        return moves

    def _compare(self, nudged: Window) -> _Moves:
        log_odds = _score(nudged, self.bundle)
        is_cut = _is_cut(nudged, log_odds, self.bundle)
        change = log_odds - self.log_odds
        return _Moves(
            change=np.abs(change),
            made=is_cut & ~self.is_cut,
            undone=self.is_cut & ~is_cut,
        )


def _find_accounts(window: Window, bundle: Bundle) -> _Accounts:
    log_odds = _score(window, bundle)
    return _Accounts(
        window=window,
        log_odds=log_odds,
        is_cut=_is_cut(window, log_odds, bundle),
        bundle=bundle,
    )


def _combine(first: _Moves, second: _Moves) -> _Moves:
    return _Moves(
        change=np.maximum(first.change, second.change),
        made=first.made | second.made,
        undone=first.undone | second.undone,
    )


def _products(window: Window) -> list[str]:
    return [PRODUCTS[product] for product in window.products.tolist()]


def _score(window: Window, bundle: Bundle) -> Vector:
    names = [feature.name for feature in CATALOGUE]
    places = [names.index(name) for name in bundle.features]
    values = values_of(window)
    if not len(values):
        # LightGBM refuses a matrix without rows.
        return np.zeros(0)
    matrix = np.ascontiguousarray(values[:, places])
    return log_odds_of(matrix, bundle.scorer)


def _is_cut(window: Window, log_odds: Vector, bundle: Bundle) -> Mask:
    """Whether the model alone cuts or suspends."""
    policy = bundle.policy
    probability = probability_of(log_odds)
    limit = window.now("credit_limit")
    balance = window.now("balance")
    spend = BY_NAME[USUAL_SPEND].expression(window)
    next_balance = next_balance_of(balance, spend, policy)
    lines = lines_of(_products(window), limit, balance, next_balance, policy)
    new_limit = limit_by_model(probability, lines, policy)
    is_lower = new_limit < limit
    suspended = probability >= policy.suspend.probability
    is_cut: Mask = is_lower | suspended
    return is_cut


def _row(size: Size, column: str, moves: _Moves) -> dict[str, object]:
    accounts = len(moves.change)
    row: dict[str, object] = dict.fromkeys(_SCHEMA)
    row |= {
        "nudge": size.name,
        "column": column,
        "accounts": accounts,
        "new_cuts": moves.made.sum(),
        "undone_cuts": moves.undone.sum(),
    }
    if accounts:
        moved = float(np.mean(moves.change > MOVED))
        low, high = wilson(moved, accounts)
        row["largest"] = moves.change.max()
        row["moved"] = moved
        row["moved_low"] = low
        row["moved_high"] = high
    return row
