"""Accounts that the lender cut within the outcome window: their outcome is not that of doing
nothing.

A cut is seen as a lender sees it: a statement shows a lower limit than the one before.  Whose cut
it was is not seen; in the simulation the regulator's cap is among them.  A default shown by the
statement of the cut itself came after it, for limits change before the month's purchases.  The ways
to take such rows:

``keep``      with the outcome as observed.  Biased as far as cuts prevent defaults, or bring them about
``drop``      not at all.  Biased as far as those who are cut differ from those with the same features who are not
``censor``    followed up to the cut: a default before it is a 1, none by then a 0.  Biased low: after the cut nobody is watched
``reweight``  those who defaulted before a cut or were not cut at all, each counting 1 / (the probability that it was not cut
              while it was watched): they stand for those who were (inverse probability of censoring weights: Robins and
              Finkelstein 2000, Biometrics 56).  Unbiased where cuts depend on what features show, and nobody's is certain

That probability is a product over months.  A cut follows the statement before it and not the one of
as_of, so each month's chance is predicted from the features of its own eve; from those of as_of
alone, accounts that went downhill and were cut would be replaced by such as did not.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.build import Features
from features.types import Matrix, Vector

TREATED = ("keep", "drop", "censor", "reweight")
# a row that stands for more than this many is a rare case's luck, and not information
MOST_WEIGHT = 20.0
_FOLDS = 3  # of accounts: a chance is predicted by a model that did not see the account
_TREES = 60
_MODEL = {
    "objective": "binary",
    "num_leaves": 8,
    "learning_rate": 0.1,
    "min_data_in_leaf": 200,
    "lambda_l2": 10.0,
    "seed": 0,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


@dataclass(frozen=True, slots=True)
class ObservedOutcomes:
    """What is seen of rows after their as_of: float64, one entry a row; inf where it does not come
    within the horizon.

    ``cut`` and ``default``: months from as_of to the first statement that shows it.  ``watched``:
    months in which a cut could have come before anything else ended the watch: up to a default, the
    last statement or the horizon.
    """

    cut: Vector
    default: Vector
    watched: Vector


def observe_outcomes(
    statements: pl.DataFrame, accounts: pl.DataFrame, horizon_months: int, default_days: int
) -> ObservedOutcomes:
    """What is seen within the horizon of accounts at their as_of: ``accounts`` has ``account_id``
    and ``as_of``.

    ``statements`` are in canonical form: sorted by account and month.
    """
    shown = _cuts(statements).with_columns(default=statements["days_past_due"] >= default_days)
    rows = accounts.select("account_id", as_of=_number("as_of")).with_row_index("row")
    last = shown.group_by("account_id").agg(last=pl.col("number").max())
    last_seen = rows.join(last, on="account_id", how="left", maintain_order="left")
    seen = (last_seen["last"] - last_seen["as_of"]).cast(pl.Float64).to_numpy()
    events = shown.filter(pl.col("cut") | pl.col("default"))
    after = rows.join(events, on="account_id").with_columns(
        after=(pl.col("number") - pl.col("as_of")).cast(pl.Float64)
    )
    within = after.filter(pl.col("after").is_between(1, horizon_months))
    cut, default = (_first(within.filter(pl.col(name)), rows.height) for name in ("cut", "default"))
    return ObservedOutcomes(cut, default, np.minimum(np.minimum(default, seen), horizon_months))


def select_rows(way: str, followed: ObservedOutcomes) -> tuple[NDArray[np.bool_], Vector]:
    """(which rows a way takes, the label that it gives each)."""
    uncut, before = np.isinf(followed.cut), followed.default < followed.cut
    everyone = np.ones(len(uncut), dtype=np.bool_)
    observed = np.isfinite(followed.default).astype(np.float64)
    if way == "keep":
        return everyone, observed
    if way == "drop":
        return uncut, observed
    if way == "censor":
        return everyone, before.astype(np.float64)
    if way == "reweight":
        return uncut | before, observed
    raise ValueError(f"treated: expected one of {TREATED}, got {way!r}")


def censoring_weights(
    statements: pl.DataFrame,
    accounts: pl.DataFrame,
    followed: ObservedOutcomes,
    features_at: Callable[[datetime.date], Features],
) -> Vector:
    """1 / (the probability that a row was not cut while watched), float64 in [1, MOST_WEIGHT], for
    rows of ``accounts``.

    For those that :func:`select_rows` leaves out there is no such number, and what stands in their
    place means nothing. ``features_at`` gives the features of all accounts that have a statement of
    a month.
    """
    until = pl.Series(np.minimum(followed.cut, followed.watched))
    rows = accounts.select("account_id", "as_of", number=_number("as_of"), until=until)
    eves = [_eve(rows, month) for month in range(int(followed.watched.max(initial=0.0)))]
    if not eves:
        return np.ones(rows.height)
    chances = _chances(*_at_risk(statements, eves, features_at))
    log_uncut = np.zeros(rows.height)
    for eve in eves:
        chance = eve.join(chances, on=("account_id", "number"), how="left", maintain_order="left")[
            "chance"
        ]
        log_uncut += np.where(
            eve["watched"].to_numpy(), np.log1p(-chance.fill_null(0.0).to_numpy()), 0.0
        )
    return np.minimum(np.exp(-log_uncut), MOST_WEIGHT)


def _eve(rows: pl.DataFrame, month: int) -> pl.DataFrame:
    """Each row so many months after its as_of, and whether a cut may come in the next."""
    later = pl.col("as_of").dt.offset_by(f"{month}mo")
    return rows.select(
        "account_id", month=later, number=pl.col("number") + month, watched=pl.col("until") > month
    )


def _at_risk(
    statements: pl.DataFrame,
    eves: list[pl.DataFrame],
    features_at: Callable[[datetime.date], Features],
) -> tuple[pl.DataFrame, Matrix, Vector]:
    """Accounts at watched months, each once: their names and months, their features, and whether
    the next month cuts them.

    A month after a cut is no sample of what precedes one, unless another row begins there.
    """
    watched = pl.concat(eves).filter("watched").unique(["account_id", "number"])
    built = [features_at(month) for month in watched["month"].unique().sort().to_list()]
    known = pl.concat(
        [features.accounts.select("account_id", number=_number("as_of")) for features in built]
    )
    wanted = known.with_row_index("place").join(
        watched, on=("account_id", "number"), how="semi", maintain_order="left"
    )
    cuts = _cuts(statements).select("account_id", "cut", number=pl.col("number") - 1)
    cut = wanted.join(cuts, on=("account_id", "number"), how="left", maintain_order="left")[
        "cut"
    ].fill_null(False)
    values = np.concatenate([features.values for features in built])[wanted["place"].to_numpy()]
    return wanted.select("account_id", "number"), values, cut.cast(pl.Float64).to_numpy()


def _chances(accounts: pl.DataFrame, values: Matrix, cut: Vector) -> pl.DataFrame:
    """``account_id``, ``number`` of the month and ``chance`` of a cut in the next, each from a
    model of other accounts.
    """
    fold = accounts["account_id"].rank("dense").to_numpy() % _FOLDS
    chance = np.zeros(len(cut))
    for number in range(_FOLDS):
        mine, others = fold == number, fold != number
        if cut[others].any():  # where nobody is cut there is nothing to learn, and the chance is 0
            booster = lgb.train(_MODEL, lgb.Dataset(values[others], cut[others]), _TREES)
            chance[mine] = np.asarray(booster.predict(values[mine]))
    return accounts.with_columns(chance=pl.Series(chance))


def _cuts(statements: pl.DataFrame) -> pl.DataFrame:
    """``account_id``, ``number`` of the month and ``cut``: whether the limit is lower than on the
    statement before.
    """
    before = pl.col("credit_limit").shift(1).over("account_id")
    return statements.select(
        "account_id",
        number=_number("month"),
        cut=(pl.col("credit_limit") < before).fill_null(False),
    )


def _first(events: pl.DataFrame, count: int) -> Vector:
    """Months to each row's first event; inf where it has none."""
    first = events.group_by("row").agg(pl.col("after").min())
    found = np.full(count, np.inf)
    found[first["row"].to_numpy()] = first["after"].to_numpy()
    return found


def _number(column: str) -> pl.Expr:
    """A calendar month as a number that counts on over the years."""
    return pl.col(column).dt.year().cast(pl.Int32) * 12 + pl.col(column).dt.month()
