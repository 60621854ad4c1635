"""Would another fit, another reference or slightly other statements give the same reasons?

Only accounts that both cut are compared: reasons are stated for cuts alone.  Groups of nearly equal
weight change places easily, so two questions are put: is the other first reason *the same*, and is
it *among* our first and its equals (``leaders``), of which a letter says "mainly".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from features.limits import LARGEST_AMOUNT, SMALLEST_AMOUNT
from features.schema import COLUMNS
from features.types import Matrix, Vector
from training.evaluate.metrics import wilson
from training.fit.reason_quality.stated import CutReasons, StatedReasons, reasons_by_other

SHARES = ("same_first", "among_equals", "same_set")
_ENDS = ("", "_low", "_high")
SCHEMA = {
    "against": pl.String,
    "others": pl.Int64,
    "accounts": pl.Int64,
    "cut_too": pl.Float64,
    **{f"{share}{end}": pl.Float64 for share in SHARES for end in _ENDS},
    "least_among": pl.Float64,
}
# What the other differs in.
REFERENCE, NUDGE = "reference_sample", "nudge"
SEED, REDRAWN = "another_seed", "redrawn_accounts"
NUDGED_BY = 0.001  # share of an amount


def stability_row(
    against: str,
    ours: Sequence[StatedReasons],
    others: Sequence[Sequence[StatedReasons | None]],
) -> dict[str, object]:
    """Compare our reasons with those of others; None in ``others`` = that one does not cut.

    Keys, as in :data:`SCHEMA`: ``against``; ``others``, how many; ``accounts``, those that some
    other cuts too; ``cut_too``, the share of ours that an other cuts; ``same_first``,
    ``among_equals`` (the other's first is our first or its equal) and ``same_set``, shares of the
    cuts of both with 95 % intervals that count accounts; ``least_among``, the least
    ``among_equals`` of one other.  Shares are null where no account is cut by both.
    """
    # (others, accounts, shares)
    compared = np.array([_compare(ours, other) for other in others])
    is_both = ~np.isnan(compared[:, :, 0])
    accounts = int(is_both.any(axis=0).sum())
    row: dict[str, object] = {
        "against": against,
        "others": len(others),
        "accounts": accounts,
        "cut_too": float(is_both.mean()),
    }
    for place, share in enumerate(SHARES):
        row |= _share_columns(share, compared[:, :, place][is_both], accounts)
    row["least_among"] = _least(compared[:, :, SHARES.index("among_equals")])
    return row


def stability_under_nudges(cuts: CutReasons) -> dict[str, object]:
    """Compare with the reasons after one amount is 0.1 % higher, or lower, on all statements.

    Returns the row of :func:`stability_row`; each amount and direction is another one.
    """
    others = []
    for column in COLUMNS:
        if column.kind != "amount":
            continue
        for sign in (1, -1):
            nudged = nudge(cuts.statements, column.name, sign * NUDGED_BY)
            others.append(reasons_by_other(cuts, cuts.bundle, nudged))
    return stability_row(NUDGE, cuts.stated, others)


def nudge(statements: pl.DataFrame, name: str, share: float) -> pl.DataFrame:
    """Return the statements with an amount higher by a share of its size, in whole fen."""
    amount = pl.col(name)
    changed = (amount + share * amount.abs()).round(2)
    # A fen at least where there was something: an income or a limit of 0 is refused.
    low, high = SMALLEST_AMOUNT, LARGEST_AMOUNT
    bounded = pl.when(amount > 0).then(changed.clip(low, high)).otherwise(changed)
    return statements.with_columns(bounded.alias(name))


def _compare(
    ours: Sequence[StatedReasons],
    other: Sequence[StatedReasons | None],
) -> Matrix:
    """Each of SHARES, 0 or 1, float64 (accounts, shares); NaN where the other does not cut."""
    rows = []
    for own, theirs in zip(ours, other, strict=True):
        if theirs is None:
            rows.append((np.nan, np.nan, np.nan))
            continue
        same_first = own.first == theirs.first
        among = same_first or theirs.first in own.leaders
        same_set = set(own.groups) == set(theirs.groups)
        rows.append((float(same_first), float(among), float(same_set)))
    return np.array(rows).reshape(len(rows), len(SHARES))


def _share_columns(
    name: str,
    hits: Vector,
    accounts: int,
) -> dict[str, float | None]:
    keys = tuple(f"{name}{end}" for end in _ENDS)
    if accounts == 0:
        return dict.fromkeys(keys)
    share = float(hits.mean())
    # Several others of one account are no further accounts.
    low, high = wilson(share, accounts)
    return dict(zip(keys, (share, low, high), strict=True))


def _least(among: Matrix) -> float | None:
    by_other = [float(np.nanmean(own)) for own in among if not np.isnan(own).all()]
    return min(by_other, default=None)
