"""Accounts that the lender cut within the outcome window: their label is not that of doing nothing.

A cut is a statement with a lower limit than the one before.  The statements do not say who made the
cut; in the simulation the regulator's cap is among the cuts.  If the same statement shows a cut and
a default, the cut came first, because limits change before the month's purchases.
There are four ways to treat such rows:

``keep``
    Keep them with the observed outcome.  Biased as far as cuts prevent or cause defaults.
``drop``
    Leave them out.  Biased as far as cut accounts differ from uncut ones with the same features.
``censor``
    Follow them up to the cut: a default before it is a 1, no default a 0.  Biased low, because
    defaults after the cut are not seen.
``reweight``
    Keep the rows that defaulted before a cut or were not cut at all, each with weight 1 / (the
    probability that it was not cut while it was watched): they represent the cut ones too (inverse
    probability of censoring weights: Robins and Finkelstein 2000, Biometrics 56).  Unbiased if cuts
    depend on the features and no account is certain to be cut.

That probability is a product over months.  A cut depends on the statement of the month before, so
each month's probability is predicted from the features of that month.  With the features of as_of
for all months, accounts that got worse and were cut would be represented by accounts that did not
get worse.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.build import Features
from features.types import Mask, Matrix, Vector

TREATED = ("keep", "drop", "censor", "reweight")
MOST_WEIGHT = 20.0  # above it, single rows of rare cases would decide the fit
_FOLDS = 3  # of accounts: a chance is predicted by a model that did not see the account
_TREES = 60
# Small trees with many rows a leaf: a chance near 1 of a rare case would be a huge weight.
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
    """The first events of each row after its as_of, in months; inf = not within the horizon."""

    cut: Vector  # from as_of to the first statement with a lower limit
    default: Vector  # from as_of to the first statement in default
    # Months in which a cut could have come: up to a default, the last statement or the horizon.
    watched: Vector


def observe_outcomes(
    statements: pl.DataFrame,
    accounts: pl.DataFrame,
    horizon_months: int,
    default_days: int,
) -> ObservedOutcomes:
    """Return the months to the first cut and the first default of each row within the horizon.

    ``statements`` are sorted by account and month; ``accounts`` has ``account_id`` and ``as_of``.
    """
    is_default = statements["days_past_due"] >= default_days
    history = _with_cuts(statements).with_columns(default=is_default)
    # Numbered, because an account may be in several rows, one an as_of.
    rows = accounts.select(
        "account_id",
        as_of=_number("as_of"),
    ).with_row_index("row")

    last_number = pl.col("number").max()
    last = history.group_by("account_id").agg(last=last_number)
    seen = rows.join(
        last,
        on="account_id",
        how="left",
        maintain_order="left",
    )
    months_seen = (seen["last"] - seen["as_of"]).cast(pl.Float64)

    # Filtered before the join, which would have a row for each pair of as_of and statement.
    events = history.filter(pl.col("cut") | pl.col("default"))
    months_after = pl.col("number") - pl.col("as_of")
    pairs = rows.join(events, on="account_id")
    later = pairs.with_columns(after=months_after.cast(pl.Float64))
    within = later.filter(pl.col("after").is_between(1, horizon_months))
    cut = _first_event(within.filter("cut"), rows.height)
    default = _first_event(within.filter("default"), rows.height)

    until_default = np.minimum(default, months_seen.to_numpy())
    watched = np.minimum(until_default, horizon_months)
    return ObservedOutcomes(cut, default, watched)


def select_rows(way: str, outcomes: ObservedOutcomes) -> tuple[Mask, Vector]:
    """Return (the rows that a way of :data:`TREATED` selects, the label it gives each row)."""
    uncut = np.isinf(outcomes.cut)
    default_first = outcomes.default < outcomes.cut
    everyone = np.ones(len(uncut), dtype=np.bool_)
    observed = np.isfinite(outcomes.default).astype(np.float64)
    if way == "keep":
        return everyone, observed
    if way == "drop":
        return uncut, observed
    if way == "censor":
        return everyone, default_first.astype(np.float64)
    if way == "reweight":
        return uncut | default_first, observed
    raise ValueError(f"treated: expected one of {TREATED}, got {way!r}")


def follow_amounts(
    statements: pl.DataFrame,
    accounts: pl.DataFrame,
    horizon_months: int,
    default_days: int,
) -> pl.DataFrame:
    """Return what each row owed, drew and left unpaid within the horizon; one row each, in order.

    ``statements`` are sorted by account and month; ``accounts`` has ``account_id``, ``product`` and
    ``as_of``.  Columns, amounts in CNY:

    - ``account_id``, ``product`` (str) and ``as_of``
    - ``credit_limit`` and ``balance`` at as_of
    - ``cut`` and ``default``: months from as_of to the first one, as in :class:`ObservedOutcomes`;
      null = none within the horizon
    - ``balance_at_default``: on the first statement in default; null without one
    - ``unpaid``, ``shortfall`` and ``cash``: sums over the months of the horizon of the part of the
      last balance that was not paid, of that of the minimum due, and of the cash drawn.  They are
      what the lender charges for
    """
    outcomes = observe_outcomes(statements, accounts, horizon_months, default_days)
    rows = accounts.select(
        "account_id",
        pl.col("product").cast(pl.String),
        "as_of",
        number=_number("as_of"),
        cut=pl.Series(outcomes.cut),
        default=pl.Series(outcomes.default),
    )
    for name in ("cut", "default"):
        is_seen = pl.col(name).is_finite()
        rows = rows.with_columns(pl.when(is_seen).then(name))
    numbered = statements.with_columns(number=_number("month"))
    followed = _add_balances(rows, numbered)
    sums = _sum_charged(rows, numbered, horizon_months)
    followed = _join_left(followed, sums, ("account_id", "number"))
    amounts = [pl.col(name).fill_null(0.0) for name in ("unpaid", "shortfall", "cash")]
    return followed.select(
        "account_id",
        "product",
        "as_of",
        "credit_limit",
        "balance",
        "cut",
        "default",
        "balance_at_default",
        *amounts,
    )


def _add_balances(rows: pl.DataFrame, numbered: pl.DataFrame) -> pl.DataFrame:
    """Add limit and balance at as_of, and the balance at the default."""
    default_number = pl.col("number") + pl.col("default").cast(pl.Int32)
    at_default = numbered.select(
        "account_id",
        default_number="number",
        balance_at_default="balance",
    )
    at_as_of = numbered.select("account_id", "number", "credit_limit", "balance")
    with_default = rows.with_columns(default_number=default_number)
    added = _join_left(with_default, at_as_of, ("account_id", "number"))
    return _join_left(added, at_default, ("account_id", "default_number"))


def _sum_charged(rows: pl.DataFrame, numbered: pl.DataFrame, months: int) -> pl.DataFrame:
    """Return ``account_id``, ``number`` and the sums over the months after each number."""
    charged = _charged_amounts(numbered)
    windows = []
    for number in rows["number"].unique().to_list():
        after = pl.col("number") - number
        within = charged.filter(after.is_between(1, months))
        sums = within.group_by("account_id").agg(pl.exclude("number").sum())
        windows.append(sums.with_columns(number=pl.lit(number, pl.Int32)))
    return pl.concat(windows)


def _charged_amounts(numbered: pl.DataFrame) -> pl.DataFrame:
    """Return what the lender charges for on each statement but an account's first."""

    def rest(column: str) -> pl.Expr:
        owed = pl.col(column).shift(1).over("account_id")
        return (owed - pl.col("payment")).clip(0.0)

    return numbered.select(
        "account_id",
        "number",
        unpaid=rest("balance"),
        shortfall=rest("minimum_due"),
        cash=pl.col("cash_advance"),
    )


def _join_left(left: pl.DataFrame, right: pl.DataFrame, on: tuple[str, ...]) -> pl.DataFrame:
    return left.join(right, on=on, how="left", maintain_order="left")


def censoring_weights(
    statements: pl.DataFrame,
    accounts: pl.DataFrame,
    outcomes: ObservedOutcomes,
    features_at: Callable[[datetime.date], Features],
) -> Vector:
    """Return 1 / (the probability that a row was not cut while watched), in [1, MOST_WEIGHT].

    One weight a row of ``accounts``; those of rows that :func:`select_rows` leaves out mean
    nothing.  ``features_at`` returns the features of all accounts with a statement of a month.
    """
    # A cut ends the watched months: later ones are months after a cut.
    until = np.minimum(outcomes.cut, outcomes.watched)
    rows = accounts.select(
        "account_id",
        "as_of",
        number=_number("as_of"),
        until=pl.Series(until),
    )
    months = int(outcomes.watched.max(initial=0.0))
    eves = [_eve(rows, month) for month in range(months)]
    if not eves:
        return np.ones(rows.height)
    at_risk = _at_risk(statements, eves, features_at)
    chances = _predict_chances(at_risk)
    # A sum of logarithms: log1p keeps the small chances that 1 - chance would round.
    log_uncut = np.zeros(rows.height)
    for eve in eves:
        joined = eve.join(
            chances,
            on=("account_id", "number"),
            how="left",
            maintain_order="left",
        )
        chance = joined["chance"].fill_null(0.0).to_numpy()
        is_watched = eve["watched"].to_numpy()
        log_uncut += np.where(is_watched, np.log1p(-chance), 0.0)
    weights = np.exp(-log_uncut)
    return np.minimum(weights, MOST_WEIGHT)


def _eve(rows: pl.DataFrame, months: int) -> pl.DataFrame:
    """Return each row ``months`` after its as_of, and whether a cut could come next month."""
    return rows.select(
        "account_id",
        month=pl.col("as_of").dt.offset_by(f"{months}mo"),
        number=pl.col("number") + months,
        watched=pl.col("until") > months,
    )


@dataclass(frozen=True, slots=True)
class _AtRisk:
    """Accounts at watched months, each once."""

    accounts: pl.DataFrame  # account_id, and number of the month
    features: Matrix
    cut: Vector  # 1 if the next month's statement shows a cut, else 0


def _at_risk(
    statements: pl.DataFrame,
    eves: list[pl.DataFrame],
    features_at: Callable[[datetime.date], Features],
) -> _AtRisk:
    # A month after a cut is no sample of the months before one, unless another row begins there.
    key = ("account_id", "number")
    watched = pl.concat(eves).filter("watched").unique(key)
    months = watched["month"].unique().sort().to_list()
    built = [features_at(month) for month in months]
    numbered = [
        features.accounts.select(
            "account_id",
            number=_number("as_of"),
        )
        for features in built
    ]
    known = pl.concat(numbered).with_row_index("place")
    accounts = known.join(
        watched,
        on=key,
        how="semi",
        maintain_order="left",
    )

    # The cut on a statement is the outcome of the month before it.
    cuts = _with_cuts(statements).select(
        "account_id",
        "cut",
        number=pl.col("number") - 1,
    )
    outcome = accounts.join(
        cuts,
        on=key,
        how="left",
        maintain_order="left",
    )
    # Null in a gap of the statements: no cut was seen.
    is_cut = outcome["cut"].fill_null(False)
    values = np.concatenate([features.values for features in built])
    places = accounts["place"].to_numpy()
    return _AtRisk(
        accounts=accounts.select(key),
        features=values[places],
        cut=is_cut.cast(pl.Float64).to_numpy(),
    )


def _predict_chances(at_risk: _AtRisk) -> pl.DataFrame:
    """Return ``account_id``, ``number`` and the ``chance`` of a cut in the next month.

    Each chance is from a model of other accounts.
    """
    # Here, because nothing else of training.data needs the library.
    from training.tracking.lightgbm_import import lgb

    values, cut = at_risk.features, at_risk.cut
    # By account and not by row: two months of an account are nearly the same row.
    account_number = at_risk.accounts["account_id"].rank("dense").to_numpy()
    fold = account_number % _FOLDS
    chance = np.zeros(len(cut))
    for number in range(_FOLDS):
        own = fold == number
        others = ~own
        if not cut[others].any():
            continue  # without any cut there is nothing to learn, and the chance is 0
        train = lgb.Dataset(values[others], cut[others])
        booster = lgb.train(_MODEL, train, _TREES)
        chance[own] = np.asarray(booster.predict(values[own]))
    return at_risk.accounts.with_columns(chance=pl.Series(chance))


def _with_cuts(statements: pl.DataFrame) -> pl.DataFrame:
    """Return ``account_id``, ``number`` of the month, and ``cut``: the limit was lowered."""
    before = pl.col("credit_limit").shift(1).over("account_id")
    is_lower = pl.col("credit_limit") < before
    return statements.select(
        "account_id",
        number=_number("month"),
        cut=is_lower.fill_null(False),  # null on an account's first statement
    )


def _first_event(events: pl.DataFrame, count: int) -> Vector:
    """Return the months to each row's first event; inf if it has none."""
    first = events.group_by("row").agg(pl.col("after").min())
    rows = first["row"].to_numpy()
    months = np.full(count, np.inf)
    months[rows] = first["after"].to_numpy()
    return months


def _number(column: str) -> pl.Expr:
    """Return an expression for the number of a month, which differs by 1 from month to month."""
    # Int32, because dt.month() is an Int8 and twelve times a year is not.
    year = pl.col(column).dt.year().cast(pl.Int32)
    month = pl.col(column).dt.month()
    return year * 12 + month
